"""Cross-entropies, from logits and, without them, from what the decoder is multiplied by."""

import keras
from keras import ops

from budgetbert.layers.softmax import softmax

# that the index of TensorFlow's operation in place, an int32, can tell
_MOST_PLACES = 2**31 - 1

# of a normal float32 and bfloat16: an impossible label costs 87 nats, and no infinity
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
        kernel, bias = (None if x is None else ops.convert_to_tensor(x) for x in (kernel, bias))
        labels, weights = ops.reshape(labels, (-1,)), ops.cast(ops.reshape(weights, (-1,)), "float32")
        return _BACKENDS[keras.backend.backend()](features, kernel, bias, labels, weights)


def _softmax(features, kernel, bias):
    """Returns the probabilities (n, classes) in the dtype of `features`; sums inside are float32 on all backends."""
    logits = ops.matmul(features, ops.transpose(ops.cast(kernel, features.dtype)))
    if bias is not None:
        logits = ops.cast(logits, "float32") + bias
    return softmax(logits, features.dtype)


def _loss(probabilities, weights):
    probabilities = ops.cast(probabilities, "float32")
    return -ops.sum(ops.log(ops.maximum(probabilities, _LEAST_PROBABILITY)) * weights)


def _gradients(upstream, errors, features, kernel, has_bias, weights):
    """Gradients of features, kernel and bias, given `errors`, the softmax less 1 at the label."""
    scale = (upstream * weights)[:, None]
    scaled = ops.cast(ops.cast(features, "float32") * scale, features.dtype)
    for_features = ops.cast(ops.matmul(errors, ops.cast(kernel, errors.dtype)), "float32") * scale
    for_kernel = ops.cast(ops.matmul(ops.transpose(errors), scaled), "float32")
    for_bias = ops.sum(ops.cast(errors, "float32") * scale, axis=0) if has_bias else None
    return ops.cast(for_features, features.dtype), for_kernel, for_bias


def _less_one(x, places, labels):
    """Returns `x` (n, classes) less 1 at `places`, on TensorFlow: in `x` itself, since a copy takes 10 ms (134 MB)."""
    import tensorflow as tf

    ones, classes = tf.ones(tf.shape(labels), x.dtype), x.shape[-1]
    if x.shape[0] is None or x.shape[0] * classes > _MOST_PLACES:
        return tf.tensor_scatter_nd_sub(x, places, ones)
    flat = tf.raw_ops.InplaceSub(x=tf.reshape(x, (-1, 1)), i=places[:, 0] * classes + places[:, 1], v=ones[:, None])
    return tf.reshape(flat, tf.shape(x))


def _on_tensorflow(features, kernel, bias, labels, weights):
    import tensorflow as tf

    places = tf.stack([tf.range(tf.size(labels)), tf.cast(labels, "int32")], axis=1)

    @tf.custom_gradient
    def loss(features, kernel, *bias):
        softmax = _softmax(features, kernel, *(bias or [None]))
        probabilities = tf.gather_nd(softmax, places)
        with tf.control_dependencies([probabilities]):  # nobody else reads the softmax then
            errors = _less_one(softmax, places, labels)

        def gradient(upstream):
            with keras.name_scope("loss"):
                found = _gradients(upstream, errors, features, kernel, bool(bias), weights)
                return found if bias else found[:2]

        return _loss(probabilities, weights), gradient

    # values: what Keras takes for a tensor is the variable itself, of which a custom gradient wants to know more
    return loss(features, *(tf.convert_to_tensor(x) for x in (kernel, bias) if x is not None))


def _on_jax(features, kernel, bias, labels, weights):
    import jax
    import jax.numpy as jnp

    def forward(features, kernel, bias, labels, weights):
        softmax = _softmax(features, kernel, bias)
        probabilities = jnp.take_along_axis(softmax, labels[:, None], axis=1)[:, 0]
        errors = softmax - (jnp.arange(softmax.shape[1]) == labels[:, None]).astype(softmax.dtype)
        return _loss(probabilities, weights), (errors, features, kernel, bias, weights)

    def backward(kept, upstream):
        errors, features, kernel, bias, weights = kept
        with keras.name_scope("loss"):
            found = _gradients(upstream, errors, features, kernel, bias is not None, weights)
        return *found, None, None

    loss = jax.custom_vjp(lambda *arguments: forward(*arguments)[0])
    loss.defvjp(forward, backward)
    return loss(features, kernel, bias, labels, weights)


def _on_torch(features, kernel, bias, labels, weights):
    import torch

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(context, features, kernel, bias):
            errors, rows = _softmax(features, kernel, bias), torch.arange(len(labels), device=labels.device)
            probabilities = errors[rows, labels]
            errors[rows, labels] -= 1
            context.save_for_backward(errors, features, kernel)
            return _loss(probabilities, weights)

        @staticmethod
        def backward(context, upstream):
            return _gradients(upstream, *context.saved_tensors, bias is not None, weights)

    return Loss.apply(features, kernel, bias)


_BACKENDS = {"tensorflow": _on_tensorflow, "jax": _on_jax, "torch": _on_torch}
