"""Training speed of ours against Hugging Face's `BertForMaskedLM` under eager float32 PyTorch, in one run.

Both train the same shape on the same rows with dropout 0.1 and AdamW, in turn, A B A B ...; medians are printed.
Ours predicts the masked tokens only, as published; the peer, as it is, puts every token through its head.

Run       python tools/benchmark_training.py --preset mini_24h --rows 64 --seconds 60 --json speed.json
"""

import json
import os
import statistics
import sys
import time

from absl import app, flags

flags.DEFINE_string("preset", "mini_24h", "Architecture; the peer gets its layers, widths and heads.")
flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax", "torch"], "Of ours.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16"], "Of ours; the peer is float32.")
flags.DEFINE_integer("rows", 64, "Rows of 128 tokens in a batch.", 1)
flags.DEFINE_float("seconds", 60, "How long to measure, for both together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

SEQUENCE_LENGTH, MASK_RATE, FIRST_ID = 128, 0.15, 5


def synthetic_batch(rows, vocabulary_size):
    """Masked rows of words with natural (Zipf) frequencies."""
    import numpy as np

    from budgetbert.batches import Masking

    tokens = np.random.default_rng(0).zipf(1.3, (rows, SEQUENCE_LENGTH)) % (vocabulary_size - FIRST_ID) + FIRST_ID
    special = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    vocabulary = [*special, *map(str, range(vocabulary_size - FIRST_ID))]
    return tokens, Masking(MASK_RATE, vocabulary, special, seed=0)(tokens, 0)


def our_step(batch, precision):
    """Returns a function that runs one optimizer step of ours."""
    import keras

    from budgetbert import BertBudgetMaskedLM
    from budgetbert.batches import stack
    from budgetbert.training.objectives import MaskedLanguageModeling
    from budgetbert.training.update import make_update

    keras.utils.set_random_seed(0)
    model = BertBudgetMaskedLM.from_preset(FLAGS.preset, load_weights=False, dtype=precision)
    update = make_update(model, keras.optimizers.AdamW(1e-3, weight_decay=0.01), MaskedLanguageModeling())
    batches = stack([batch], 1)

    def step():
        update.accumulate(batches, 1, 0)
        return float(update.apply(1e-3)["gradient_norm"])

    return step


def peer_step(config, tokens, batch):
    """Returns a function that runs one optimizer step of Hugging Face's model."""
    import numpy as np
    import torch
    import transformers

    model = transformers.BertForMaskedLM(
        transformers.BertConfig(
            vocab_size=config["vocabulary_size"],
            hidden_size=config["hidden_dim"],
            num_hidden_layers=config["num_layers"],
            num_attention_heads=config["num_heads"],
            intermediate_size=config["intermediate_dim"],
        )
    ).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.01)
    labels = np.full(tokens.shape, -100)
    np.put_along_axis(labels, batch["mask_positions"], batch["labels"], axis=1)
    inputs, labels = torch.tensor(batch["token_ids"], dtype=torch.long), torch.tensor(labels)

    def step():
        optimizer.zero_grad()
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        return float(loss)

    return step


def main(arguments):
    os.environ["KERAS_BACKEND"] = FLAGS.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from budgetbert import flops
    from budgetbert.batches import predictions_per_row
    from budgetbert.models.presets import PRESETS
    from budgetbert.training import devices

    if FLAGS.preset not in PRESETS:
        sys.exit(f"--preset {FLAGS.preset} is unknown: take one of {', '.join(PRESETS)}.")
    config = {**PRESETS[FLAGS.preset]["backbone"], **PRESETS[FLAGS.preset]["masked_lm"]}
    precision, reason = devices.choose_precision(FLAGS.precision)
    peak = flops.measure_matmul_rate("float32" if precision == "float32" else "bfloat16")
    tokens, batch = synthetic_batch(FLAGS.rows, config["vocabulary_size"])
    steps = {"ours": our_step(batch, precision), "peer": peer_step(config, tokens, batch)}
    seconds = {name: [] for name in steps}
    for step in steps.values():
        step()
    start = time.perf_counter()
    while time.perf_counter() - start < FLAGS.seconds or len(seconds["ours"]) < 3:
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)

    per_token = flops.training_flops_per_token(config, SEQUENCE_LENGTH, predictions_per_row(MASK_RATE, SEQUENCE_LENGTH))
    speed = {name: tokens.size / statistics.median(values) for name, values in seconds.items()}
    result = {
        "device": devices.device_name(),
        "preset": FLAGS.preset,
        "rows": FLAGS.rows,
        "ours": {
            "tokens_per_second": speed["ours"],
            "flops_per_second": speed["ours"] * per_token,
            "share_of_matmul_rate": speed["ours"] * per_token / peak,
            "backend": FLAGS.backend,
            "precision": precision,
            "precision_reason": reason,
        },
        "peer": {"tokens_per_second": speed["peer"], "model": "transformers.BertForMaskedLM, eager float32 PyTorch"},
        "matmul_flops_per_second": peak,
        "steps": len(seconds["ours"]),
        "ratio": speed["ours"] / speed["peer"],
    }
    ours = result["ours"]
    print(f"{FLAGS.preset}, {FLAGS.rows} rows of {SEQUENCE_LENGTH}, {result['device']}, {result['steps']} steps each")
    print(
        f"  ours  {speed['ours']:8,.0f} tokens/s  {ours['flops_per_second'] / 1e9:,.0f} GFLOP/s, "
        f"{ours['share_of_matmul_rate']:.0%} of the {peak / 1e9:,.0f} measured"
    )
    print(f"        ({FLAGS.backend}, {precision}: {reason})")
    print(f"  peer  {speed['peer']:8,.0f} tokens/s  ({result['peer']['model']})")
    print(f"  ratio {result['ratio']:.2f}")
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    app.run(main)
