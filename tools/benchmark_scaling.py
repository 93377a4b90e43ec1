"""What a training step costs as the model and the batch grow: measured, fitted, and projected to several GPUs.

From a base shape (--preset, --rows) one size at a time is varied, the feed-forward in proportion and the heads as wide
as they are; each point is a model of its own, trained on one micro-batch of full rows without dropout, medians of
alternating steps of base and point, so that a machine that drifts meets both. The fit is of seconds per step, by
non-negative least squares with relative errors:

    start + FLOPs / rate + activations x seconds each + weights x seconds each

where activations are tokens x layers x (10 x width + 2 x feed-forward + heads x length), the elements that lie between
the products, and weights all that the optimizer moves. The projection adds to a GPU's own work the sum of gradients
over a ring, 2 (n - 1) / n x 4 bytes a weight at the published speed of the links, nothing hidden behind computation.

Run       python tools/benchmark_scaling.py --preset mini_24h --json scaling.json
Time      4 minutes on 2 cores
"""

import dataclasses
import gc
import statistics

import harness
from absl import app, flags, logging

harness.define_flags(preset="mini_24h", rows=32)
flags.DEFINE_list("factors", ["0.5", "2"], "What each size is multiplied by.")
flags.DEFINE_list(
    "sizes", ["rows", "layers", "width", "vocabulary", "length"], "Which are varied; length at equal tokens."
)
flags.DEFINE_integer("devices", 2, "Logical devices that share the base's rows, one number a run; not on torch.", 1)
flags.DEFINE_float("seconds", 8, "How long to measure a point and the base beside it.", 0.1)
FLAGS = flags.FLAGS

# A GPU's own tokens per second are those of 50 % of an H200's 790 TFLOP/s, at 128 tokens a row. Links, bytes per second
# in one direction: NVIDIA's data sheets (NVLink 4: 900 GB/s both ways; NDR InfiniBand: 400 Gb/s a GPU), PCI-SIG (3.0).
GPU_FLOPS = 395e12
LINKS = {"NVLink 4": 450e9, "InfiniBand NDR": 50e9, "PCIe 3.0 x16": 15.75e9}
# recipe: preset, published rows of 128 in a batch, tokens of the published run, predictions a row
PUBLISHED = {
    "24hBERT": ("bert_large_24h", 4_096, 12.1e9, 19),
    "Cramming": ("crammed_base", 8_192, 9.1e9, 32),
    "LAMB, phase 1": ("bert_large", 65_536, 7_038 * 65_536 * 128, 19),
}
# 8: one server; 64: eight of them, whose slowest link counts; 24hBERT's own cards hang on PCIe
CLUSTERS = ((8, "NVLink 4"), (8, "PCIe 3.0 x16"), (64, "InfiniBand NDR"))


SIZES = {
    "layers": ("num_layers",),
    "width": ("hidden_dim", "intermediate_dim", "num_heads"),
    "vocabulary": ("vocabulary_size",),
}


def scaled(value, factor):
    return max(1, round(value * factor))


@dataclasses.dataclass(frozen=True)
class Point:
    """A shape that is measured: the sizes of a model and of its micro-batch."""

    rows: int
    length: int
    config: dict

    def varied(self, size, factor):
        """This shape with one size multiplied."""
        if size == "rows":
            return dataclasses.replace(self, rows=scaled(self.rows, factor))
        if size == "length":
            return dataclasses.replace(self, length=scaled(self.length, factor), rows=scaled(self.rows, 1 / factor))
        changed = {name: scaled(self.config[name], factor) for name in SIZES[size]}
        return dataclasses.replace(self, config={**self.config, **changed})

    def costs(self, predictions):
        """FLOPs, activations between the products, and weights, of one step."""
        from budgetbert import flops

        config, tokens = self.config, self.rows * self.length
        width, inner = config["hidden_dim"], config["intermediate_dim"]
        wide = 10 * width + 2 * inner + config["num_heads"] * self.length
        return (
            tokens * flops.training_flops_per_token(config, self.length, predictions),
            tokens * config["num_layers"] * wide,
            weights_of(config),
        )


def weights_of(config):
    """Weights of the matrices and the tied table: all but a thousandth of what is trained."""
    from budgetbert import flops

    return flops.block_weights(config) + config["hidden_dim"] * config["vocabulary_size"]


def split_processor(count):
    """Makes so many logical devices of it, before the backend has looked at it."""
    if FLAGS.backend == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", count)
    else:
        import tensorflow as tf

        logical = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)


def step_of(point, setup, precision, devices=1):
    """Returns a function that runs a step of a fresh model of this shape, and the predictions in a row."""
    from budgetbert.training.step.devices import open_devices

    setup = dataclasses.replace(setup, sequence_length=point.length, dropout=False)
    sizes = {name: point.config[name] for names in SIZES.values() for name in names}
    batch = harness.masked_rows(point.rows, point.config["vocabulary_size"], setup)
    with open_devices(devices) as devices:
        step = harness.make_step(FLAGS.preset, precision, setup, devices=devices, **sizes)
    return harness.make_runner(step, batch), batch["labels"].shape[-1]


def measure(base, setup, precision):
    """Measures base and points in turn. Returns a list of dicts, the base first."""
    from budgetbert import hardware

    variants = [(size, float(f), base.varied(size, float(f))) for size in FLAGS.sizes for f in FLAGS.factors]
    variants += [("devices", float(FLAGS.devices), base)] if FLAGS.devices > 1 else []
    base_step, base_predictions = step_of(base, setup, precision)
    measured, beside = [], []
    for size, factor, point in variants:
        step, predictions = step_of(point, setup, precision, int(factor) if size == "devices" else 1)
        seconds = harness.take_turns({"base": base_step, "point": step}, FLAGS.seconds, least=3)
        beside.append(statistics.median(seconds["base"]))
        ratio = statistics.median(seconds["point"]) / beside[-1]
        measured.append({"size": size, "factor": factor, "ratio": ratio, "costs": point.costs(predictions)})
        print(f"  {size:<10} x {factor:<4g} {ratio:6.2f} of the base's time", flush=True)
        del step
        gc.collect()
    unit = statistics.median(beside)
    points = [{"size": "base", "factor": 1.0, "ratio": 1.0, "costs": base.costs(base_predictions)}, *measured]
    rate = hardware.measure_matmul_rate(precision.removeprefix("mixed_"))
    return [{**point, "seconds": unit * point["ratio"]} for point in points], rate


def fit(points):
    """Returns the coefficients (start, per FLOP, per activation, per weight) and each point's relative error."""
    import numpy as np
    from scipy.optimize import nnls

    costs = np.array([[1.0, *point["costs"]] for point in points])
    seconds = np.array([point["seconds"] for point in points])
    scale = costs.max(axis=0)
    found, _ = nnls(costs / scale / seconds[:, None], np.ones(len(points)))
    return found / scale, costs @ (found / scale) / seconds - 1


def project(presets):
    """Returns one dict for each recipe, at its published batch, and each cluster."""
    from budgetbert import flops

    rows_of = []
    for recipe, (preset, rows, tokens, predictions) in PUBLISHED.items():
        config = {**presets[preset]["backbone"], **presets[preset]["masked_lm"]}
        per_token = flops.training_flops_per_token(config, 128, predictions)
        for count, link in CLUSTERS:
            own = rows * 128 * per_token / (count * GPU_FLOPS)
            sums = 2 * (count - 1) / count * 4 * weights_of(config) / LINKS[link]
            hours = tokens / (rows * 128) * (own + sums) / 3600
            figures = {"step_seconds": own + sums, "communication": sums / (own + sums), "hours": hours}
            rows_of.append({"recipe": recipe, "preset": preset, "rows": rows, "gpus": count, "link": link, **figures})
    return rows_of


def main(_):
    config, setup = harness.start(FLAGS.backend, FLAGS.preset), harness.setup_of(FLAGS.preset)
    if FLAGS.backend == "torch":
        FLAGS.devices = 1  # a process of torch has no more
    elif FLAGS.devices > 1:
        split_processor(FLAGS.devices)
    logging.set_verbosity(logging.WARNING)  # what TensorFlow tells of several devices
    from budgetbert.presets import PRESETS
    from budgetbert.training.plan import device as devices

    if unknown := sorted(set(FLAGS.sizes) - {"rows", "length", *SIZES}):
        raise app.UsageError(f"--sizes {unknown[0]} is none of rows, length, {', '.join(SIZES)}.")
    precision, _ = devices.choose_precision(FLAGS.precision)
    print(f"{FLAGS.preset}, {FLAGS.rows} rows of 128, {FLAGS.backend}, {precision}, {devices.device_name()}")
    points, rate = measure(Point(FLAGS.rows, 128, config), setup, precision)
    fitted = [point for point in points if point["size"] != "devices"]
    coefficients, errors = fit(fitted)
    base = [c * x for c, x in zip(coefficients, (1.0, *points[0]["costs"]), strict=True)]
    print(f"  the base: {points[0]['seconds']:.3f} s, {points[0]['costs'][0] / points[0]['seconds'] / rate:.0%} of "
          f"{rate / 1e9:,.0f} GFLOP/s")  # fmt: skip
    for point, error in zip(fitted, errors, strict=True):
        print(f"  {point['size']:<10} x {point['factor']:<4g} {point['seconds']:7.3f} s, fitted {error:+.1%}")
    parts = zip(("start", "products", "activations", "weights"), base, strict=True)
    print("  the fit's share of the base: " + ", ".join(f"{name} {part / sum(base):.0%}" for name, part in parts))
    projected = project(PRESETS)
    print(f"Projected, every GPU at {GPU_FLOPS / 1e12:.0f} TFLOP/s of its own:")
    for row in projected:
        print(
            f"  {row['recipe']:<14} {row['gpus']:>3} GPUs, {row['link']:<14} {row['step_seconds']:7.3f} s a step of "
            f"{row['rows']:,} rows, of it {row['communication']:.1%} communication; {row['hours']:6.2f} h"
        )
    result = {"device": devices.device_name(), "preset": FLAGS.preset, "backend": FLAGS.backend, "precision": precision}
    result |= {"matmul_flops_per_second": rate, "points": points, "coefficients": list(coefficients)}
    harness.write_json(result | {"errors": list(errors), "projection": projected}, FLAGS.json)


if __name__ == "__main__":
    app.run(main)
