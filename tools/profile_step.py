"""Where the time of a training step goes: its parts in milliseconds, by the profiler of TensorFlow or JAX.

An operation belongs to the part whose layer it was made in, forward or backward; its time is its own, without that of
what it calls. The sum of the parts is compared with the step as it runs without the profiler. For a part with matrix
products the printed floor is its FLOPs at the measured rate of products, for the optimizer the bytes that it has to
move at the measured rate of memory; the difference is what could be saved.

On TensorFlow operations run one at a time here (--inter_op_threads 1), so that their times add up to the step.

Run       python tools/profile_step.py --preset mini_24h --rows 64 --operations 10
"""

import collections
import math
import re
import statistics
import time

import harness
from absl import app, flags

harness.define_flags(preset="mini_24h", rows=64, backends=("tensorflow", "jax"))
flags.DEFINE_integer("steps", 5, "How many are timed, and how many are profiled.", 1)
flags.DEFINE_integer("operations", 0, "How many kinds of operations are printed, the slowest of each part.", 0)
flags.DEFINE_integer("inter_op_threads", 1, "TensorFlow's; 0: as many as it takes by itself.", 0)
FLAGS = flags.FLAGS

# The first that is found in an operation's scopes (TensorFlow numbers them: block_0_1); "residual" is what blocks do
# outside of their layers, "head" holds the loss.
PARTS = {
    "embedding": r"/embeddings(_\d+)?/|/norm_gradient",
    "attention": r"/block_\d+(_\d+)?/attention|/attention(_norm)?_gradient",
    "feed_forward": r"/block_\d+(_\d+)?/feed_forward|/(gelu|feed_forward_norm)_gradient",
    "residual": r"/block_\d+",
    "head": r"/(masked_lm_head|(final|transform)_norm_gradient|final_norm|loss)(_\d+)?/",
}
SUMS = "sums"  # gradients that are added to those of other micro-batches and, of a tied table, to each other
SUMMING = {"AssignAddVariableOp", "ResourceScatterAdd", "AddN", "UnsortedSegmentSum"}
OPTIMIZER, OTHER = "optimizer", "other"
# AdamW reads sums, weights and two moments and writes all four, the sums as zeros; the norms of the gradient and of
# the weights, without which it cannot begin, read two of them once more.
OPTIMIZER_BYTES_PER_WEIGHT = 4 * (4 + 4 + 2)


def part_of(operation):
    """Returns the part of a step that an `Operation` of `accumulate` belongs to."""
    scopes = "/" + re.sub(r"[()]", "/", operation.name)  # JAX writes transpose(jvp(block_0))/attention
    unscoped = SUMS if operation.kind in SUMMING else OTHER
    return next((part for part, pattern in PARTS.items() if re.search(pattern, scopes)), unscoped)


def measure_memory_rate():
    """Returns the bytes per second that adding 1 to an array larger than any cache reads and writes."""
    import numpy as np
    from keras import ops

    from budgetbert import hardware

    zeros, add_one = np.zeros(2**27, "float32"), hardware.compiled(lambda x: x + 1.0)
    return 2 * zeros.nbytes / hardware.median_seconds(lambda x: add_one(x)[0], ops.convert_to_tensor(zeros))


def seconds_of(function):
    """Median seconds of a call, after one that is not counted."""
    taken = []
    for _ in range(FLAGS.steps + 1):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[1:])


def profile(step, batches, accumulate, apply):
    """Returns the seconds of a step by `Operation`, of `accumulate` and of `apply`."""
    import traces

    def repeated(function):
        for _ in range(FLAGS.steps):
            function()

    if FLAGS.backend == "tensorflow":
        traced = [traces.trace_tensorflow(lambda f=f: repeated(f)) for f in (accumulate, apply)]
    else:
        compiled = step.compile_accumulate(batches), step.compile_apply()
        traced = [
            traces.trace_jax(lambda f=f: repeated(f), c) for f, c in zip((accumulate, apply), compiled, strict=True)
        ]
    return [{operation: seconds / FLAGS.steps for operation, seconds in t.items()} for t in traced]


def main(_):
    config, setup = harness.start(FLAGS.backend, FLAGS.preset), harness.setup_of(FLAGS.preset)
    if FLAGS.backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_inter_op_parallelism_threads(FLAGS.inter_op_threads)
    from budgetbert import flops, hardware
    from budgetbert.batches import predictions_per_row, stack
    from budgetbert.training.plan import device as devices

    precision, _ = devices.choose_precision(FLAGS.precision)
    matmul_rate, memory_rate = hardware.measure_matmul_rate(precision.removeprefix("mixed_")), measure_memory_rate()
    step = harness.make_step(FLAGS.preset, precision, setup)
    rows = harness.make_rows(FLAGS.rows, config["vocabulary_size"], setup)
    masking = harness.make_masking(config["vocabulary_size"], setup)
    batches = stack([masking(rows, 0)], 1)

    def accumulate():
        float(step.accumulate(batches, 1, 0))

    def apply():
        float(step.apply(harness.LEARNING_RATE)["gradient_norm"])

    walls = {"accumulate": seconds_of(accumulate), "apply": seconds_of(apply)}
    input_seconds = seconds_of(lambda: stack([masking(rows, 0)], 1))
    accumulated, applied = profile(step, batches, accumulate, apply)

    by_part = {part: collections.Counter() for part in (*PARTS, SUMS, OTHER, OPTIMIZER)}
    for operation, seconds in accumulated.items():
        by_part[part_of(operation)][operation.kind] += seconds
    for operation, seconds in applied.items():
        by_part[OPTIMIZER][operation.kind] += seconds
    per_token = flops.training_flops_by_part(
        config, setup.sequence_length, predictions_per_row(setup.mask_rate, setup.sequence_length)
    )
    floors = {part: rows.size * count / matmul_rate for part, count in per_token.items()}
    weights = sum(math.prod(variable.shape) for variable in step.variables)
    floors[OPTIMIZER] = OPTIMIZER_BYTES_PER_WEIGHT * weights / memory_rate
    parts = {}
    for part, kinds in by_part.items():
        parts[part] = {"milliseconds": 1e3 * kinds.total()}
        if part in floors:
            parts[part]["floor_milliseconds"] = 1e3 * floors[part]
        if part in per_token:
            parts[part]["flops_per_second"] = rows.size * per_token[part] / max(kinds.total(), 1e-9)
        parts[part]["operations"] = {kind: 1e3 * seconds for kind, seconds in kinds.most_common(FLAGS.operations)}
    result = {
        "device": devices.device_name(),
        "preset": FLAGS.preset,
        "backend": FLAGS.backend,
        "precision": precision,
        "rows": FLAGS.rows,
        "milliseconds": {name: 1e3 * seconds for name, seconds in walls.items()},
        "input_milliseconds": 1e3 * input_seconds,
        "parts": parts,
        "matmul_flops_per_second": matmul_rate,
        "memory_bytes_per_second": memory_rate,
    }
    report(result)
    harness.write_json(result, FLAGS.json)


def report(result):
    """Prints the figures."""
    parts, walls = result["parts"], result["milliseconds"]
    step, total = sum(walls.values()), sum(figures["milliseconds"] for figures in parts.values())
    print(
        f"{result['preset']}, {result['rows']} rows, {result['backend']}, {result['precision']}, {result['device']}: "
        f"{result['matmul_flops_per_second'] / 1e9:,.0f} GFLOP/s of matrix products, "
        f"{result['memory_bytes_per_second'] / 1e9:,.1f} GB/s of memory"
    )
    print(f"  {'part':14} {'ms':>8} {'share':>6} {'floor, ms':>10} {'GFLOP/s':>8}")
    for part, figures in parts.items():
        milliseconds, floor = figures["milliseconds"], figures.get("floor_milliseconds")
        numbers = "" if floor is None else f"{floor:10.1f}"
        if rate := figures.get("flops_per_second"):
            numbers += f" {rate / 1e9:8,.0f}"
        print(f"  {part:14} {milliseconds:8.1f} {milliseconds / total:6.1%} {numbers}")
        for kind, milliseconds in figures["operations"].items():
            print(f"    {kind:32} {milliseconds:8.1f}")
    named = ", ".join(f"{name} {milliseconds:,.1f}" for name, milliseconds in walls.items())
    print(
        f"  sum            {total:8.1f}, {total / step:.0%} of the step without the profiler, {step:,.1f} ms ({named})"
    )
    print(
        f"  input          {result['input_milliseconds']:8.1f} masking and stacking, by the loader's threads meanwhile"
    )


if __name__ == "__main__":
    app.run(main)
