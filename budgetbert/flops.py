"""Model FLOPs per token, the matrix-product rate of this device, and so the model FLOPs utilisation (MFU)."""

import statistics
import time

import keras
import numpy as np
from keras import ops


def block_weights(config):
    """Returns the number (int) of weights of the blocks' matrices: what computes, without embeddings and head.

    Args:
        config: dict, the configuration of a preset's backbone.
    """
    width, inner = config["hidden_dim"], config["intermediate_dim"]
    outer = inner // 2 if config.get("gated") else inner
    return config["num_layers"] * width * (4 * width + inner + outer)


def training_flops_per_token(config, sequence_length, predictions_per_row):
    """FLOPs of one training step (forward and backward) per token of the rows.

    6 N + 12 L s d + 6 p (d V + d^2): N are the weights of the blocks' matrices, L layers of width d, s the sequence
    length, p the share of positions that pass the masked-LM head, whose transform is the d^2.

    Args:
        config: dict, the configuration of a `BertBudgetMaskedLM` preset (see `budgetbert.models.presets`).
        sequence_length: int. Tokens per row.
        predictions_per_row: int. Positions per row that pass the masked-LM head.

    Source: Kaplan et al. 2020, section 2.1, with the attention products and the head written out.
    """
    width, layers = config["hidden_dim"], config["num_layers"]
    head = width * config["vocabulary_size"] + (width * width if config.get("head_transform", True) else 0)
    share = predictions_per_row / sequence_length
    return 6 * block_weights(config) + 12 * layers * sequence_length * width + 6 * share * head


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
    """Measures the FLOP/s of a (4096, 1024) x (1024, 1024) product, what MFU is a share of.

    Args:
        dtype: str. `"float32"`, `"bfloat16"` or `"float16"`.
    """
    generator = np.random.default_rng(0)
    rows, width, chain = 4096, 1024, 4
    left = ops.cast(generator.normal(size=(rows, width)).astype("float32"), dtype)
    right = ops.cast(generator.normal(size=(width, width)).astype("float32") / width**0.5, dtype)

    def products(left, right):
        for _ in range(chain):  # a chain, so that the fetch of the result does not count
            left = ops.matmul(left, right)
        return ops.cast(left[0, 0], "float32")

    return chain * 2 * rows * width * width / median_seconds(compiled(products), left, right, repeats=7)
