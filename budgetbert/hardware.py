"""What this machine computes on, and how fast its matrix products are."""

import contextlib
import statistics
import sys
import time

import keras
import numpy as np
from keras import ops

from budgetbert import gpus


def is_accelerated():
    """Returns whether the current backend computes on something else than a CPU."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.is_available()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def hide_gpus_from_tensorflow():
    """Leaves the GPU to JAX or torch where TensorFlow is in the same process: it would take all memory that is free.

    KerasHub imports it where it is installed, and a tokenizer starts it. Once started it keeps what it has.
    """
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow and keras.backend.backend() != "tensorflow" and gpus.are_there():
        with contextlib.suppress(RuntimeError):
            tensorflow.config.set_visible_devices([], "GPU")


def compiled(function):
    """Returns `function` of tensors, compiled by the current backend (torch: as it is)."""
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)
    return function


def median_seconds(function, *arguments, repeats=5):
    """Median wall-clock seconds of a call, after one that is not counted; the result is fetched to the host."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        ops.convert_to_numpy(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def measure_matmul_rate(dtype):
    """Measures the FLOP/s of matrix products, what the model FLOPs utilisation (MFU) is a share of.

    Measured is (4096, 1024) x (1024, 1024), and where those take less than a millisecond each, as on a GPU that they do
    not fill, (8192, 8192) x (8192, 8192). Each call measures anew, as a machine may be less busy now than before.

    Args:
        dtype: str. `"float32"`, `"bfloat16"` or `"float16"`.
    """
    rate = _measure_chain(4096, 1024, 4, dtype)
    return rate if rate < 2 * 4096 * 1024**2 / 1e-3 else _measure_chain(8192, 8192, 16, dtype)


def _measure_chain(rows, width, chain, dtype):
    generator = np.random.default_rng(0)
    left = ops.cast(generator.normal(size=(rows, width)).astype("float32"), dtype)
    right = ops.cast(generator.normal(size=(width, width)).astype("float32") / width**0.5, dtype)

    def products(left, right):
        for _ in range(chain):  # a chain, so that the fetch of the result does not count
            left = ops.matmul(left, right)
        return ops.cast(left[0, 0], "float32")

    return chain * 2 * rows * width * width / median_seconds(compiled(products), left, right, repeats=7)
