"""Training speed of ours against a model in PyTorch, in one run: tokens per second, share of the matmul rate, memory.

Both train the same shape (--preset, --rows) on the same masked rows, with the settings of the preset's recipe, in turn,
A B A B ...; medians are printed. The peers:

hf        Hugging Face's `BertForMaskedLM` (post-norm presets and, for want of a nearer one, the gated ones) or
          `MegatronBertForMaskedLM` (24h presets), eager float32. As it is, it puts every token through its head.
          --peer_precision bfloat16 is autocast, --compile_mode default `torch.compile`.
compiled  crammed presets only: tools/peers/crammed_torch.py, which predicts the masked tokens alone as ours does,
          compiled, in bfloat16.

Run       python tools/benchmark_training.py --preset mini_24h --rows 64 --seconds 60 --json speed.json
GPU       pip install "jax[cuda13]" torch keras keras-hub grain tokenizers absl-py transformers
          python tools/benchmark_training.py --backend jax --preset crammed_base --rows 256 --peer compiled
          No TensorFlow is needed with --backend jax. Each of the two gets its half of the GPU's memory.
"""

import statistics
import sys

import harness
from absl import app, flags

harness.define_flags(preset="mini_24h", rows=64, seconds=60)
flags.DEFINE_enum("peer", "hf", ["hf", "compiled"], "See above.")
flags.DEFINE_enum("peer_precision", None, ["float32", "bfloat16"], "Defaults to hf: float32, compiled: bfloat16.")
flags.DEFINE_enum(
    "compile_mode",
    None,
    ["none", "default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"],
    "How PyTorch compiles the peer. Defaults to hf: none, compiled: default.",
)
FLAGS = flags.FLAGS


def make_peer(config, setup):
    """Returns the peer as a function without arguments that makes its step from a batch, and what it is."""
    import torch
    from peers import torch_step

    compiled = FLAGS.peer == "compiled"
    precision = FLAGS.peer_precision or ("bfloat16" if compiled else "float32")
    mode = FLAGS.compile_mode or ("default" if compiled else "none")
    if compiled:
        from peers.crammed_torch import CrammedBert

        model = CrammedBert(config, getattr(torch, precision))
        name = "tools/peers/crammed_torch.py"
    else:
        from peers.hugging_face import HuggingFaceMaskedLM

        model = HuggingFaceMaskedLM(config, setup.dropout)
        name = model.name

    def step(batch):
        return torch_step.make_step(
            model, batch, setup, harness.LEARNING_RATE, precision, None if mode == "none" else mode
        )

    how = "eager" if mode == "none" else "compiled" if mode == "default" else f"compiled ({mode})"
    return step, f"{name}, {how} PyTorch {torch.__version__}, {precision}"


def main(_):
    config, setup = harness.start(FLAGS.backend, FLAGS.preset), harness.setup_of(FLAGS.preset)
    if FLAGS.peer == "compiled" and not config.get("gated"):
        sys.exit(f"--peer compiled is a crammed-BERT: it has no --preset {FLAGS.preset}; take --peer hf.")
    from budgetbert import flops, hardware
    from budgetbert.batches import predictions_per_row
    from budgetbert.budget import utilization
    from budgetbert.training.plan import device as devices

    precision, reason = devices.choose_precision(FLAGS.precision)
    peak = hardware.measure_matmul_rate(precision.removeprefix("mixed_"))
    batch = harness.masked_rows(FLAGS.rows, config["vocabulary_size"], setup)
    memory, steps = {}, {}
    steps["ours"], memory["ours"] = harness.measure_memory(
        lambda: harness.make_runner(harness.make_step(FLAGS.preset, precision, setup), batch), FLAGS.backend
    )
    peer_step, peer_name = make_peer(config, setup)
    steps["peer"], memory["peer"] = harness.measure_memory(lambda: peer_step(batch), "torch")
    seconds = harness.take_turns(steps, FLAGS.seconds, least=3)

    predictions = predictions_per_row(setup.mask_rate, setup.sequence_length)
    per_token = flops.training_flops_per_token(config, setup.sequence_length, predictions)
    tokens = batch["token_ids"].size
    figures = {}
    for name, values in seconds.items():
        speed = tokens / statistics.median(values)
        figures[name] = {
            "tokens_per_second": speed,
            "milliseconds_per_step": 1e3 * statistics.median(values),
            "flops_per_second": speed * per_token,
            "share_of_matmul_rate": utilization(speed * per_token, peak),
            "memory_bytes": memory[name],
        }
    result = {
        "device": devices.device_name(),
        "preset": FLAGS.preset,
        "rows": FLAGS.rows,
        "sequence_length": setup.sequence_length,
        "predictions_per_row": predictions,
        "dropout": setup.dropout,
        "ours": {**figures["ours"], "backend": FLAGS.backend, "precision": precision, "precision_reason": reason},
        "peer": {**figures["peer"], "model": peer_name},
        "matmul_flops_per_second": peak,
        "turns": len(seconds["ours"]),
        "ratio": figures["ours"]["tokens_per_second"] / figures["peer"]["tokens_per_second"],
    }
    report(result)
    harness.write_json(result, FLAGS.json)


def share(value):
    """Returns a share as a phrase; `None` is above 1, where the matrix products were measured on a busy machine."""
    return "no share (products measured while busy)" if value is None else f"{value:.0%}"


def report(result):
    """Prints the figures."""
    shape = f"{result['rows']} rows of {result['sequence_length']}, {result['predictions_per_row']} predictions each"
    dropout = "dropout" if result["dropout"] else "no dropout"
    print(f"{result['preset']}, {shape}, {dropout}, {result['device']}, {result['turns']} turns each")
    print(f"  matrix products: {result['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s measured")
    for name in ("ours", "peer"):
        figures = result[name]
        print(
            f"  {name}  {figures['tokens_per_second']:9,.0f} tokens/s  {figures['milliseconds_per_step']:9,.1f} ms  "
            f"{figures['flops_per_second'] / 1e9:9,.0f} GFLOP/s, {share(figures['share_of_matmul_rate'])}  "
            f"{figures['memory_bytes'] / 1e6:8,.0f} MB"
        )
    ours = result["ours"]
    print(f"  ours: {ours['backend']}, {ours['precision']}: {ours['precision_reason']}")
    print(f"  peer: {result['peer']['model']}; its FLOP/s are counted as if it were ours")
    print(f"  ratio {result['ratio']:.2f}")


if __name__ == "__main__":
    app.run(main)
