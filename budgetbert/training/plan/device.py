"""What this machine computes with, and in which precision it is fastest."""

import dataclasses
import functools
import platform
import resource
import sys

import keras
import numpy as np
from keras import ops

from budgetbert.budget import utilization
from budgetbert.errors import InputError
from budgetbert.hardware import compiled, is_accelerated, measure_matmul_rate, median_seconds

# bfloat16 loses 16 bits of the mantissa, so it must pay: on CPUs without its instructions it is several times slower.
_WORTHWHILE_SPEEDUP = 1.1


@dataclasses.dataclass(frozen=True)
class Device:
    """What a run computes on and how; several devices that share a batch are one of these.

    Args:
        name: str, as people name it.
        precision: str, the dtype policy.
        precision_reason: str, a phrase.
        matmul_rate: float. Measured FLOP/s of matrix products in that precision, of all devices together.
        backend: str. The Keras backend.
        count: int. Devices. Defaults to 1.
    """

    name: str
    precision: str
    precision_reason: str
    matmul_rate: float
    backend: str
    count: int = 1

    @classmethod
    def measure(cls, precision):
        """Measures this device in a precision, as for `choose_precision`."""
        precision, reason = choose_precision(precision)
        return cls(device_name(), precision, reason, matmul_rate(precision), keras.backend.backend())

    def together(self, devices):
        """Returns the `Device` that all `Devices` of a run are together, as the first process measured one of them."""
        first = Device(**devices.processes.broadcast(dataclasses.asdict(self)))
        name, rate = _name_together(first.name, devices), devices.count * first.matmul_rate
        return dataclasses.replace(first, name=name, matmul_rate=rate, count=devices.count)

    def measured_again(self, devices):
        """Returns this device with the higher of its rate of matrix products and a rate that is measured now."""
        rate = devices.processes.broadcast(self.count * measure_matmul_rate(self.precision.removeprefix("mixed_")))
        return dataclasses.replace(self, matmul_rate=max(self.matmul_rate, rate))

    def utilization(self, flops_per_second):
        """Returns the share of the rate of matrix products; see `budgetbert.budget.utilization`."""
        return utilization(flops_per_second, self.matmul_rate)

    def to_json(self):
        """Returns what `plan.json` says of it."""
        values = dataclasses.asdict(self)
        return {"device": values.pop("name"), "devices": values.pop("count"), **values}

    @classmethod
    def from_json(cls, values):
        """Returns the `Device` of a `plan.json`."""
        names = {field.name: field.name for field in dataclasses.fields(cls)} | {"name": "device", "count": "devices"}
        return cls(**{name: values[key] for name, key in names.items()})


@functools.cache
def matmul_rate(precision):
    """Returns the FLOP/s of matrix products in a precision, measured once in a process: 24 % of a run of 12 steps."""
    return measure_matmul_rate(precision.removeprefix("mixed_"))


def name_together(devices):
    """Returns what the `Devices` of a run compute on, as people name it: `2 x AMD EPYC 7763`."""
    return _name_together(devices.processes.broadcast(device_name()), devices)


def _name_together(name, devices):
    return f"{devices.count} x {name}" if devices.count > 1 else name


def device_name():
    """Returns the device that the current backend computes on, as people name it."""
    if keras.backend.backend() == "jax":
        import jax

        device = jax.devices()[0]
        if device.platform != "cpu":
            return device.device_kind
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.get_device_name()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
    return _cpu_name()


def peak_memory():
    """Returns the most bytes held so far: of the accelerator where there is one, else of this process."""
    if keras.backend.backend() == "jax":
        import jax

        if statistics := jax.local_devices()[0].memory_stats():
            return statistics["peak_bytes_in_use"]
    if keras.backend.backend() == "torch":
        import torch

        if torch.cuda.is_available():
            return torch.cuda.max_memory_allocated()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        if tf.config.list_physical_devices("GPU"):
            return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def reset_peak_memory():
    """Lets `peak_memory` start from what is held now, where the backend can: TensorFlow and torch on a GPU."""
    if not is_accelerated() or keras.backend.backend() == "jax":
        return
    if keras.backend.backend() == "torch":
        import torch

        torch.cuda.reset_peak_memory_stats()
    else:
        import tensorflow as tf

        tf.config.experimental.reset_memory_stats("GPU:0")


def choose_precision(precision):
    """Returns the dtype policy to train with, and why.

    Args:
        precision: `"float32"`, `"mixed_bfloat16"`, `"mixed_float16"`, or `"auto"`, which times a feed-forward block
            (two matrix products around a GELU, 4,096 rows, 512 to 2,048; on an accelerator, which that would keep for
            less than a call takes, 16,384 rows, 1,024 to 4,096) in float32 and bfloat16, and takes bfloat16
            where it is 1.1 times as fast.

    Returns:
        Tuple of the policy's name and a phrase.

    Raises:
        InputError: if this device cannot compute in it.
    """
    if precision == "mixed_float16" and keras.backend.backend() == "jax":
        import jax

        if jax.default_backend() == "cpu":
            raise InputError(
                "--precision mixed_float16 does not run on JAX on a CPU, which has no float16 attention: take "
                "mixed_bfloat16, or another KERAS_BACKEND."
            )
    if precision != "auto":
        return precision, "as asked for"
    speedup = _feed_forward_seconds("float32") / _feed_forward_seconds("bfloat16")
    policy = "mixed_bfloat16" if speedup >= _WORTHWHILE_SPEEDUP else "float32"
    return policy, f"bfloat16 runs a feed-forward block at {speedup:.1f} times the speed of float32 here"


def _feed_forward_seconds(dtype):
    generator = np.random.default_rng(0)
    rows, width = (16384, 1024) if is_accelerated() else (4096, 512)
    shapes = ((rows, width), (width, 4 * width), (4 * width, width))
    x, inner, outer = (ops.cast(generator.normal(size=shape).astype("float32") / 20, dtype) for shape in shapes)

    def block(x, inner, outer):
        for _ in range(4):  # so that the fetch of the result does not count
            x = ops.matmul(ops.gelu(ops.matmul(x, inner), approximate=False), outer)
        return ops.cast(x[0, 0], "float32")

    return median_seconds(compiled(block), x, inner, outer)


def _cpu_name():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
