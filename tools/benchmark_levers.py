"""What each choice in our training step gives: the step as it is against itself with one of them taken back.

as it is          the defaults of this backend and device, without dropout
attention         the other way to attend: in parts where the backend's own is used (JAX, torch), and Keras's where
                  ours is in parts (TensorFlow)
loss              through logits in float32, their softmax and its gradient as the framework makes them
micro-batches     the same rows in two micro-batches
float32           products in float32
scan              JAX: one compiled block, scanned over the layers' stacked weights
copies            JAX: weights, moments and sums in new buffers, none donated

gelu, norm        TensorFlow: the framework's gradient of GELU and of the layer norm in place of ours

All are timed in turn, A B C A B C ..., in one run. Printed are medians, their ratio to the first, the seconds of the
first step, most of them compilation, and the norm of its gradient. Flags of XLA are tried from outside, as in
XLA_FLAGS=--xla_gpu_enable_latency_hiding_scheduler=true.

Run       python tools/benchmark_levers.py --backend jax --preset crammed_base --rows 256 --seconds 120
Time      8 minutes on a GPU, of them 6 for compilation; on 2 cores with mini_crammed, 64 rows and 90 s: 3 minutes
"""

import contextlib
import dataclasses
import statistics
import sys
import time
from unittest import mock

from absl import app, flags
from training_setup import make_step, make_update, masked_rows, setup_of, start
from turns import take_turns, write_json

flags.DEFINE_string("preset", "mini_crammed", "Architecture.")
flags.DEFINE_enum("backend", "jax", ["tensorflow", "jax", "torch"], "Keras backend.")
flags.DEFINE_integer("rows", 64, "Rows of a step, even.", 2)
flags.DEFINE_float("seconds", 90, "How long to measure, for all together.", 0.1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS


def attention_in_parts(query, key, value, mask=None):
    """`ops.dot_product_attention` of full rows `[batch, length, heads, width]`, as its formula is written."""
    from keras import ops

    scores = ops.cast(ops.einsum("bqhd,bkhd->bhqk", query, key), "float32") * query.shape[-1] ** -0.5
    return ops.einsum("bhqk,bkhd->bqhd", ops.cast(ops.softmax(scores, axis=-1), value.dtype), value)


def attention_of_keras(layer, x, mask, training):
    from keras import ops

    return ops.dot_product_attention(*ops.unstack(x, 3, axis=2), mask=mask)


def other_attention():
    """A context in which layers attend the other way."""
    from keras import ops

    from budgetbert.layers import SelfAttention

    if FLAGS.backend == "tensorflow":
        return mock.patch.object(SelfAttention, "_attend", attention_of_keras)
    return mock.patch.object(ops, "dot_product_attention", attention_in_parts)


def scan(blocks, hidden):
    """Returns what equal `blocks` make of `hidden`, one after another, by the first of them in a loop. On JAX."""
    import jax
    import jax.numpy as jnp
    import keras

    layers = zip(*(block.trainable_variables for block in blocks), strict=True)
    stacked = [jnp.stack([variable.value for variable in variables]) for variables in layers]

    def run(x, values):
        with keras.StatelessScope(list(zip(blocks[0].trainable_variables, values, strict=True))):
            return blocks[0](x), None

    return jax.lax.scan(run, hidden, stacked)[0]


def plain_activation(x, activation, factor=None):
    """`feed_forward.activate`, as the framework differentiates it."""
    from keras import ops

    x = ops.gelu(x, approximate=activation == "gelu_approximate")
    return x if factor is None else factor * x


@contextlib.contextmanager
def plain_gelu():
    """A context in which GELU's gradient is the framework's."""
    from budgetbert.layers import feed_forward, masked_lm_head

    with contextlib.ExitStack() as stack:
        for module in (feed_forward, masked_lm_head):
            stack.enter_context(mock.patch.object(module, "activate", plain_activation))
        yield


def plain_norm():
    """A context in which the layer norm is Keras's."""
    import keras

    from budgetbert.layers.normalization import LayerNormalization

    return mock.patch.object(LayerNormalization, "call", keras.layers.LayerNormalization.call)


def without_donation():
    """A context in which JAX's functions keep their arguments."""
    import jax

    compile_it = jax.jit
    return mock.patch.object(
        jax, "jit", lambda function, donate_argnums=None, **keywords: compile_it(function, **keywords)
    )


def make_levers(precision, setup, batch):
    """Returns a dict of functions that run a step: as it is, and with each choice taken back."""
    from keras import ops

    from budgetbert.training.losses import cross_entropy
    from budgetbert.training.objectives import MaskedLanguageModeling

    class ThroughLogits(MaskedLanguageModeling):
        def __call__(self, model, batch, training):
            logits, weights = model(self.inputs(batch), training=False), batch["weights"]
            return ops.sum(cross_entropy(batch["labels"], logits) * weights), ops.sum(weights), {}

    class Scanning(MaskedLanguageModeling):
        def encode(self, model, batch):
            encoder = model.backbone
            hidden = scan(encoder.transformer_layers, encoder.embeddings(batch["token_ids"]))
            return encoder.final_norm_layer(hidden) if encoder.final_norm_layer else hidden

    def lever(context=contextlib.nullcontext, precision=precision, micro_batches=1, objective=None):
        with context():
            step = make_step(make_update(FLAGS.preset, precision, setup, objective), batch, micro_batches)

        def within():
            with context():  # compilation is in the first call; torch, which does not compile, needs it in all
                return step()

        return within

    levers = {
        "as it is": lever(),
        "attention": lever(other_attention),
        "loss": lever(objective=ThroughLogits(False)),
        "micro-batches": lever(micro_batches=2),
    }
    if precision != "float32":
        levers["float32"] = lever(precision="float32")
    if FLAGS.backend == "jax":
        levers |= {"scan": lever(objective=Scanning(False)), "copies": lever(without_donation)}
    if FLAGS.backend == "tensorflow":
        levers |= {"gelu": lever(plain_gelu), "norm": lever(plain_norm)}
    return levers


def main(_):
    config = start(FLAGS.backend, FLAGS.preset)
    if FLAGS.rows % 2:
        sys.exit(f"--rows {FLAGS.rows} is odd, and one lever halves them: give an even number.")
    setup = dataclasses.replace(setup_of(FLAGS.preset), dropout=False)
    from budgetbert import flops
    from budgetbert.batches import predictions_per_row
    from budgetbert.training import devices

    precision, _ = devices.choose_precision("auto")
    batch = masked_rows(FLAGS.rows, config["vocabulary_size"], setup)
    levers = make_levers(precision, setup, batch)
    norms, first_steps = {}, {}
    for name, step in levers.items():
        began = time.perf_counter()
        norms[name] = float(step())  # of the first gradient: equal within rounding
        first_steps[name] = time.perf_counter() - began
    medians = {name: statistics.median(s) for name, s in take_turns(levers, FLAGS.seconds, least=3).items()}
    rate = flops.measure_matmul_rate(precision.removeprefix("mixed_"))
    predictions = predictions_per_row(setup.mask_rate, setup.sequence_length)
    tokens = batch["token_ids"].size
    work = tokens * flops.training_flops_per_token(config, setup.sequence_length, predictions)
    print(f"{FLAGS.preset}, {FLAGS.rows} rows of {setup.sequence_length}, {FLAGS.backend}, {precision}, "
          f"{devices.device_name()}, {rate / 1e9:,.0f} GFLOP/s of matrix products")  # fmt: skip
    figures = {}
    for name, seconds in medians.items():
        ratio = seconds / medians["as it is"]
        figures[name] = {"milliseconds": 1e3 * seconds, "ratio": ratio, "tokens_per_second": tokens / seconds}
        figures[name] |= {"share_of_matmul_rate": work / seconds / rate, "gradient_norm": norms[name]}
        figures[name]["first_step_seconds"] = first_steps[name]
        print(
            f"  {name:<13} {1e3 * seconds:9,.1f} ms {tokens / seconds:9,.0f} tokens/s, {work / seconds / rate:4.0%} of "
            f"products' rate, {ratio:5.2f} times the time; first step {first_steps[name]:5.1f} s, norm of its gradient "
            f"{norms[name]:.4f}"
        )
    result = {"device": devices.device_name(), "preset": FLAGS.preset, "backend": FLAGS.backend, "rows": FLAGS.rows}
    write_json(result | {"precision": precision, "levers": figures}, FLAGS.json)


if __name__ == "__main__":
    app.run(main)
