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
    return sum(_weights_by_part(config).values())


def _weights_by_part(config):
    layers, width, inner = config["num_layers"], config["hidden_dim"], config["intermediate_dim"]
    outer = inner // 2 if config.get("gated") else inner
    return {"attention": layers * 4 * width * width, "feed_forward": layers * width * (inner + outer)}


def training_flops_by_part(config, sequence_length, predictions_per_row):
    """`training_flops_per_token` as a dict of its parts: `attention`, `feed_forward` and `head`."""
    width, weights = config["hidden_dim"], _weights_by_part(config)
    head = width * config["vocabulary_size"] + (width * width if config.get("head_transform", True) else 0)
    return {
        "attention": 6 * weights["attention"] + 12 * config["num_layers"] * sequence_length * width,
        "feed_forward": 6 * weights["feed_forward"],
        "head": 6 * predictions_per_row / sequence_length * head,
    }


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
    return sum(training_flops_by_part(config, sequence_length, predictions_per_row).values())


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
    """Measures the FLOP/s of matrix products, what MFU is a share of: (4096, 1024) x (1024, 1024), and where those take
    less than a millisecond each, as on a GPU that they do not fill, (8192, 8192) x (8192, 8192).

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
