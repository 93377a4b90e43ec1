"""The softmax, in a narrow dtype where that loses nothing."""

import functools

import keras
import numpy as np
from keras import ops


def softmax(logits, dtype):
    """Softmax over the last axis, with exponentials and sums in float32 on all backends.

    torch widens bfloat16 inside its kernels. TensorFlow does so on a GPU, and on a CPU where oneDNN has a kernel for
    bfloat16 (with AVX-512): else sums are 1 % off. JAX does not, but fuses the casts; float16 is cast for its range.

    Args:
        logits: float tensor `[..., classes]`.
        dtype: of the result.
    """
    backend, found = keras.backend.backend(), keras.backend.standardize_dtype(logits.dtype)
    narrow = backend == "tensorflow" and found == "bfloat16" and not _tensorflow_widens()
    if found == "float16" or backend == "jax" or narrow:
        logits = ops.cast(logits, "float32")
    return ops.cast(ops.softmax(logits, axis=-1), dtype)


@functools.cache
def _tensorflow_widens():
    """Whether TensorFlow's softmax of bfloat16 is rounded but once, at its end, on this machine: tried, since neither
    the processor's flags nor the settings of oneDNN say it."""
    import tensorflow as tf

    values = 2 * np.random.default_rng(0).normal(size=(64, 500))
    with tf.init_scope():
        logits = tf.cast(values, tf.bfloat16)
        exact = tf.nn.softmax(tf.cast(logits, tf.float32)).numpy()
        found = tf.cast(tf.nn.softmax(logits), tf.float32).numpy()
    return bool((np.abs(found - exact) <= 2**-8 * exact).all())
