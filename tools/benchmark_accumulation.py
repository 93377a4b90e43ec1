"""What gradient accumulation costs: our step in micro-batches against a plain step on all of its rows at once.

A plain step is one compiled function, forward, backward and AdamW, that knows no sums, norms or skipped steps. Both
train the same model on the same rows, in turn, A B A B ...; medians are printed. With --micro_batches 1 the ratio shows
the cost of the engine alone.

Run       python tools/benchmark_accumulation.py --preset mini_24h --rows 64 --micro_batches 4 --json accumulation.json
"""

import json
import os
import statistics
import sys
import time

from absl import app, flags

flags.DEFINE_string("preset", "mini_24h", "Architecture.")
flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax", "torch"], "Keras backend.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16", "mixed_float16"], "Of both.")
flags.DEFINE_integer("rows", 64, "Rows of 128 tokens in a micro-batch.", 1)
flags.DEFINE_integer("micro_batches", 4, "Of a step.", 1)
flags.DEFINE_float("seconds", 60, "How long to measure, for both together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

SEQUENCE_LENGTH, PREDICTIONS, FIRST_ID, LEARNING_RATE = 128, 19, 5, 1e-3


def synthetic_batch(rows, vocabulary_size):
    """Rows of words with natural (Zipf) frequencies."""
    import numpy as np

    generator = np.random.default_rng(0)

    def words(*shape):
        return (generator.zipf(1.3, shape) % (vocabulary_size - FIRST_ID) + FIRST_ID).astype("int32")

    return {
        "token_ids": words(rows, SEQUENCE_LENGTH),
        "mask_positions": np.argsort(generator.random((rows, SEQUENCE_LENGTH)))[:, :PREDICTIONS].astype("int32"),
        "labels": words(rows, PREDICTIONS),
        "weights": np.ones((rows, PREDICTIONS), "float32"),
    }


def make_update(precision):
    """Returns an `Update` of a fresh model."""
    import keras

    from budgetbert import BertBudgetMaskedLM
    from budgetbert.optimizers import exclude_from_weight_decay
    from budgetbert.training import update
    from budgetbert.training.objectives import MaskedLanguageModeling

    keras.utils.set_random_seed(0)
    model = BertBudgetMaskedLM.from_preset(FLAGS.preset, load_weights=False, dtype=precision)
    optimizer = keras.optimizers.AdamW(LEARNING_RATE, weight_decay=0.01)
    exclude_from_weight_decay(optimizer, model.trainable_variables)
    return update.make_update(model, optimizer, MaskedLanguageModeling())


def accumulating_step(precision, batch):
    """Returns a function that runs one step of ours on `batch`."""
    import numpy as np

    update = make_update(precision)
    batches = {name: array.reshape(FLAGS.micro_batches, FLAGS.rows, -1) for name, array in batch.items()}
    batches = {name: np.ascontiguousarray(array) for name, array in batches.items()}

    def step():
        update.accumulate(batches, FLAGS.micro_batches, 0)
        return float(update.apply(LEARNING_RATE)["gradient_norm"])

    return step


def plain_step(precision, batch):
    """Returns a function that runs one plain step on `batch`."""
    update = make_update(precision)
    model, optimizer, objective, variables = update.model, update.optimizer, update.objective, update.variables
    if FLAGS.backend == "tensorflow":
        import tensorflow as tf

        @tf.function(autograph=False)
        def train(batch):
            with tf.GradientTape() as tape:
                loss, weight, _ = objective(model, batch, training=True)
                loss = loss / weight
            optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
            return loss

        return lambda: float(train({name: tf.convert_to_tensor(array) for name, array in batch.items()}))
    if FLAGS.backend == "torch":
        import torch
        from keras import ops

        def train():
            loss, weight, _ = objective(
                model, {name: ops.convert_to_tensor(array) for name, array in batch.items()}, training=True
            )
            loss = loss / weight
            loss.backward()
            with torch.no_grad():
                optimizer.apply([v.value.grad for v in variables], variables)
            for variable in variables:
                variable.value.grad = None
            return float(loss)

        return train
    import jax
    import keras

    def train_traced(values, slots, batch):
        def loss_of(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
                loss, weight, _ = objective(model, batch, training=True)
            return loss / weight

        loss, gradients = jax.value_and_grad(loss_of)(values)
        return *optimizer.stateless_apply(slots, gradients, values), loss

    compiled = jax.jit(train_traced, donate_argnums=(0, 1))
    state = [[jax.numpy.array(v.value) for v in group] for group in (variables, optimizer.variables)]

    def train():
        *state[:], loss = compiled(*state, batch)
        return float(loss)

    return train


def main(_):
    os.environ["KERAS_BACKEND"] = FLAGS.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from budgetbert.models.presets import PRESETS
    from budgetbert.training import devices

    if FLAGS.preset not in PRESETS:
        sys.exit(f"--preset {FLAGS.preset} is unknown: take one of {', '.join(PRESETS)}.")
    precision, reason = devices.choose_precision(FLAGS.precision)
    rows = FLAGS.rows * FLAGS.micro_batches
    batch = synthetic_batch(rows, PRESETS[FLAGS.preset]["backbone"]["vocabulary_size"])
    steps = {"ours": accumulating_step(precision, batch), "peer": plain_step(precision, batch)}
    seconds = {name: [] for name in steps}
    for step in steps.values():
        step()
    start = time.perf_counter()
    while time.perf_counter() - start < FLAGS.seconds or len(seconds["ours"]) < 5:
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - began)

    tokens = rows * SEQUENCE_LENGTH
    median = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "device": devices.device_name(),
        "preset": FLAGS.preset,
        "backend": FLAGS.backend,
        "precision": precision,
        "precision_reason": reason,
        "ours": {
            "tokens_per_second": tokens / median["ours"],
            "seconds_per_step": median["ours"],
            "micro_batches": FLAGS.micro_batches,
            "rows_per_micro_batch": FLAGS.rows,
        },
        "peer": {
            "tokens_per_second": tokens / median["peer"],
            "seconds_per_step": median["peer"],
            "what": f"a plain step on {rows} rows at once",
        },
        "steps": len(seconds["ours"]),
        "overhead": median["ours"] / median["peer"] - 1,
        "ratio": median["peer"] / median["ours"],
    }
    print(f"{FLAGS.preset}, {FLAGS.backend}, {precision}, {result['device']}, {result['steps']} steps each")
    for name, what in (("ours", f"{FLAGS.micro_batches} x {FLAGS.rows} rows"), ("peer", f"{rows} rows, plain")):
        print(f"  {name}  {what:18} {median[name]:7.3f} s  {result[name]['tokens_per_second']:9,.0f} tokens/s")
    print(f"  ratio {result['ratio']:.3f} (overhead {result['overhead']:+.1%})")
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    app.run(main)
