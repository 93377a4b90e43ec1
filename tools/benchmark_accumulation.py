"""What gradient accumulation costs: our step in micro-batches against a plain step on all of its rows at once.

A plain step is one compiled function, forward, backward and AdamW, that knows no sums, norms or skipped steps. Both
train the same model on the same rows, in turn, A B A B ...; medians are printed. With --micro_batches 1 the ratio shows
the cost of the engine alone.

Run       python tools/benchmark_accumulation.py --preset mini_24h --rows 64 --micro_batches 4 --json accumulation.json
"""

import statistics

from absl import app, flags
from training_setup import make_step, make_update, masked_rows, setup_of, start
from turns import take_turns, write_json

flags.DEFINE_string("preset", "mini_24h", "Architecture.")
flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax", "torch"], "Keras backend.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16", "mixed_float16"], "Of both.")
flags.DEFINE_integer("rows", 64, "Rows of 128 tokens in a micro-batch.", 1)
flags.DEFINE_integer("micro_batches", 4, "Of a step.", 1)
flags.DEFINE_float("seconds", 60, "How long to measure, for both together.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS


def plain_step(update, batch):
    """Returns a function that runs one plain step, with the model and the optimizer of an `Update`, on `batch`."""
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

        return lambda: train({name: tf.convert_to_tensor(array) for name, array in batch.items()})
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
            return loss.detach()

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
        return loss

    return train


def main(_):
    config, setup = start(FLAGS.backend, FLAGS.preset), setup_of(FLAGS.preset)
    from budgetbert.training import devices

    precision, reason = devices.choose_precision(FLAGS.precision)
    rows = FLAGS.rows * FLAGS.micro_batches
    batch = masked_rows(rows, config["vocabulary_size"], setup)
    ours, peer = (make_update(FLAGS.preset, precision, setup) for _ in range(2))
    steps = {"ours": make_step(ours, batch, FLAGS.micro_batches), "peer": plain_step(peer, batch)}
    seconds = take_turns(steps, FLAGS.seconds, least=5)

    tokens = batch["token_ids"].size
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
        "turns": len(seconds["ours"]),
        "overhead": median["ours"] / median["peer"] - 1,
        "ratio": median["peer"] / median["ours"],
    }
    print(f"{FLAGS.preset}, {FLAGS.backend}, {precision}, {result['device']}, {result['turns']} turns each")
    for name, what in (("ours", f"{FLAGS.micro_batches} x {FLAGS.rows} rows"), ("peer", f"{rows} rows, plain")):
        print(f"  {name}  {what:18} {median[name]:7.3f} s  {result[name]['tokens_per_second']:9,.0f} tokens/s")
    print(f"  ratio {result['ratio']:.3f} (overhead {result['overhead']:+.1%})")
    write_json(result, FLAGS.json)


if __name__ == "__main__":
    app.run(main)
