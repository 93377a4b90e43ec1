"""Cross-entropies, from logits and, without them, from what the decoder is multiplied by."""

import keras
from keras import ops

from budgetbert.layers.softmax import softmax

# The index of TensorFlow's operation in place is an int32.
MOST_PLACES = 2**31 - 1

# The least normal float32 and bfloat16: an impossible label costs 87 nats, and no infinity.
_LEAST_PROBABILITY = 1.2e-38


def cross_entropy(labels, logits):
    """Cross-entropy in nats of integer labels.

    Args:
        labels: int tensor (...).
        logits: float32 tensor (..., classes).

    Returns:
        float32 tensor (...).
    """
    label_logits = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1), -1)
    return ops.logsumexp(logits, axis=-1) - label_logits


def decoded_cross_entropy(features, kernel, bias, labels, weights):
    """`sum(weights * cross_entropy(labels, features @ kernel.T + bias))`, and its gradient in as few passes as can be.

    Over a vocabulary of 32,768 the logits are the largest tensor of a small model's step, and every pass over them
    counts (64 rows of 128 tokens, 32 predictions each: 134 MB in bfloat16). Here they become the softmax, less 1 at the
    label, at once; it is all that is kept for the backward pass, in the dtype of `features`. The weights and the
    upstream gradient enter the narrow side of its two products, not it.

    Args:
        features: float tensor (..., width), of the dtype that the model computes in.
        kernel: float32 tensor (classes, width).
        bias: float32 tensor (classes,), or `None`.
        labels: int tensor (...).
        weights: float32 tensor (...). No gradient flows to them.

    Returns:
        float32 scalar. In bfloat16 the probability of a label is rounded to 8 bits: 0.002 nats a label at most, either
        way.
    """
    with keras.name_scope("loss"):
        features = ops.reshape(features, (-1, features.shape[-1]))
        labels, weights = ops.reshape(labels, (-1,)), ops.cast(ops.reshape(weights, (-1,)), "float32")

        @ops.custom_gradient
        def loss(features, kernel, *bias):
            probabilities, errors = _label_errors(_softmax(features, kernel, *bias), labels)

            def gradients(*arguments, upstream=None):
                upstream = arguments[0] if upstream is None else upstream
                with keras.name_scope("loss"):
                    return _gradients(upstream, errors, features, kernel, bool(bias), weights)

            return _loss(probabilities, weights), gradients

        # A cast gives the value of a variable, of which a custom gradient of TensorFlow would want to know more.
        return loss(features, *(ops.cast(x, "float32") for x in (kernel, bias) if x is not None))


def _softmax(features, kernel, bias=None):
    """Returns the probabilities (n, classes) in the dtype of `features`; sums inside are float32 on all backends."""
    logits = ops.matmul(features, ops.transpose(ops.cast(kernel, features.dtype)))
    if bias is not None:
        logits = ops.cast(logits, "float32") + bias
    return softmax(logits, features.dtype)


def _loss(probabilities, weights):
    probabilities = ops.cast(probabilities, "float32")
    return -ops.sum(ops.log(ops.maximum(probabilities, _LEAST_PROBABILITY)) * weights)


def _gradients(upstream, errors, features, kernel, has_bias, weights):
    """Gradients of features, kernel and perhaps bias, given `errors`, the softmax less 1 at the label."""
    scale = (upstream * weights)[:, None]
    scaled = ops.cast(ops.cast(features, "float32") * scale, features.dtype)
    for_features = ops.cast(ops.matmul(errors, ops.cast(kernel, errors.dtype)), "float32") * scale
    for_kernel = ops.cast(ops.matmul(ops.transpose(errors), scaled), "float32")
    for_bias = (ops.sum(ops.cast(errors, "float32") * scale, axis=0),) if has_bias else ()
    return ops.cast(for_features, features.dtype), for_kernel, *for_bias


def _label_errors(softmax, labels):
    """Returns the probabilities of the labels, and the softmax less 1 at them.

    On JAX the compiler adds the subtraction to the softmax itself. TensorFlow and torch do it in the softmax's memory,
    since a copy takes 10 ms (134 MB).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _label_errors_on_tensorflow(softmax, labels)
    probabilities = ops.squeeze(ops.take_along_axis(softmax, labels[:, None], axis=1), 1)
    if backend == "torch":
        softmax[ops.arange(len(labels)), labels] -= 1
        return probabilities, softmax
    places = ops.equal(ops.arange(softmax.shape[1]), labels[:, None])
    return probabilities, softmax - ops.cast(places, softmax.dtype)


def _label_errors_on_tensorflow(softmax, labels):
    import tensorflow as tf

    rows, classes = softmax.shape
    places = tf.stack([tf.range(tf.size(labels)), tf.cast(labels, "int32")], axis=1)
    ones, probabilities = tf.ones(tf.shape(labels), softmax.dtype), tf.gather_nd(softmax, places)
    # Nobody else reads the softmax after the probabilities.
    with tf.control_dependencies([probabilities]):
        if rows is None or rows * classes > MOST_PLACES:
            return probabilities, tf.tensor_scatter_nd_sub(softmax, places, ones)
        flat, indices = tf.reshape(softmax, (-1, 1)), places[:, 0] * classes + places[:, 1]
        errors = tf.raw_ops.InplaceSub(x=flat, i=indices, v=ones[:, None])
        return probabilities, tf.reshape(errors, tf.shape(softmax))
