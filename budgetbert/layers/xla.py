"""XLA on TensorFlow, for the elementwise part of a gradient."""

import functools

import keras


def compiled(function):
    """`function` of tensors, on TensorFlow compiled by XLA when it is first called: one pass over memory.

    The rest of a step is left to oneDNN, whose products are faster on a CPU. Meant for gradients alone: exports hold
    forward passes, and must run where XLA is not.
    """

    @functools.cache
    def made():
        if keras.backend.backend() != "tensorflow":
            return function
        import tensorflow as tf

        return tf.function(function, jit_compile=True, autograph=False)

    return functools.wraps(function)(lambda *arguments: made()(*arguments))
