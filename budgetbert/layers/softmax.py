"""The softmax, in a narrow dtype where that loses nothing."""

import os

import keras
from keras import ops


def softmax(logits, dtype):
    """Softmax over the last axis, with exponentials and sums in float32 on all backends.

    TensorFlow and torch widen bfloat16 inside their kernels, TensorFlow on a CPU that of oneDNN alone: without it sums
    are 1 % off. JAX does not, but fuses the casts; float16 is cast for its range.

    Args:
        logits: float tensor `[..., classes]`.
        dtype: of the result.
    """
    backend, found = keras.backend.backend(), keras.backend.standardize_dtype(logits.dtype)
    without_onednn = backend == "tensorflow" and os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0"
    if found == "float16" or backend == "jax" or without_onednn:
        logits = ops.cast(logits, "float32")
    return ops.cast(ops.softmax(logits, axis=-1), dtype)
