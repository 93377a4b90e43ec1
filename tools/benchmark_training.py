"""Training speed of ours against a model in PyTorch, in one run: tokens per second, share of the matmul rate, memory.

Both train the same shape on the same masked rows, with the settings of the preset's recipe, in turn, A B A B ...;
medians are printed. The peers:

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

from absl import app, flags
from memory_held import measure_memory
from training_setup import LEARNING_RATE, make_step, make_update, masked_rows, setup_of, start
from turns import take_turns, write_json

flags.DEFINE_string("preset", "mini_24h", "Architecture; the peer gets its layers, widths and heads.")
flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax", "torch"], "Of ours.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16"], "Of ours.")
flags.DEFINE_integer("rows", 64, "Rows in a batch, as long as in the preset's recipe.", 1)
flags.DEFINE_enum("peer", "hf", ["hf", "compiled"], "See above.")
flags.DEFINE_enum("peer_precision", None, ["float32", "bfloat16"], "Defaults to hf: float32, compiled: bfloat16.")
flags.DEFINE_enum(
    "compile_mode",
    None,
    ["none", "default", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune"],
    "How PyTorch compiles the peer. Defaults to hf: none, compiled: default.",
)
flags.DEFINE_float("seconds", 60, "How long to measure, for both together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
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
        return torch_step.make_step(model, batch, setup, LEARNING_RATE, precision, None if mode == "none" else mode)

    how = "eager" if mode == "none" else "compiled" if mode == "default" else f"compiled ({mode})"
    return step, f"{name}, {how} PyTorch {torch.__version__}, {precision}"


def main(_):
    config, setup = start(FLAGS.backend, FLAGS.preset), setup_of(FLAGS.preset)
    if FLAGS.peer == "compiled" and not config.get("gated"):
        sys.exit(f"--peer compiled is a crammed-BERT: it has no --preset {FLAGS.preset}; take --peer hf.")
    from budgetbert import flops
    from budgetbert.batches import predictions_per_row
    from budgetbert.training import devices

    precision, reason = devices.choose_precision(FLAGS.precision)
    peak = flops.measure_matmul_rate(precision.removeprefix("mixed_"))
    batch = masked_rows(FLAGS.rows, config["vocabulary_size"], setup)
    memory, steps = {}, {}
    steps["ours"], memory["ours"] = measure_memory(
        lambda: make_step(make_update(FLAGS.preset, precision, setup), batch), FLAGS.backend
    )
    peer_step, peer_name = make_peer(config, setup)
    steps["peer"], memory["peer"] = measure_memory(lambda: peer_step(batch), "torch")
    seconds = take_turns(steps, FLAGS.seconds, least=3)

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
            "share_of_matmul_rate": speed * per_token / peak,
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
    write_json(result, FLAGS.json)


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
            f"{figures['flops_per_second'] / 1e9:9,.0f} GFLOP/s, {figures['share_of_matmul_rate']:.0%}  "
            f"{figures['memory_bytes'] / 1e6:8,.0f} MB"
        )
    ours = result["ours"]
    print(f"  ours: {ours['backend']}, {ours['precision']}: {ours['precision_reason']}")
    print(f"  peer: {result['peer']['model']}; its FLOP/s are counted as if it were ours")
    print(f"  ratio {result['ratio']:.2f}")


if __name__ == "__main__":
    app.run(main)
