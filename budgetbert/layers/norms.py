"""The two normalisations, with float32 statistics and float32 weights under every precision."""

import keras
from keras import ops

from budgetbert.layers import xla


@keras.saving.register_keras_serializable(package="budgetbert")
class RMSNormalization(keras.layers.RMSNormalization):
    """`keras.layers.RMSNormalization` whose `scale` stays in float32 under a mixed policy.

    Stock Keras rounds `scale` to bfloat16 before it is used, and sums its gradient there.

    Example:

    ```python
    layer = RMSNormalization()
    layer(np.ones((2, 5, 16), "float32"))  # [2, 5, 16]
    ```
    """

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, autocast=False, **kwargs)


@keras.saving.register_keras_serializable(package="budgetbert")
class LayerNormalization(keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` over the last axis, with a closed gradient on TensorFlow.

    Without XLA TensorFlow differentiates the formula operation by operation. This saves 44 of the 873 ms of a step of
    `mini_crammed` (64 rows of 128, bfloat16, 2 cores; docs/LOG.md, 2026-11-28).

    Example:

    ```python
    layer = LayerNormalization(epsilon=1e-12)
    layer(np.ones((2, 5, 16), "float32"))  # [2, 5, 16]
    ```
    """

    def call(self, inputs):
        if keras.backend.backend() != "tensorflow":
            return super().call(inputs)

        @ops.custom_gradient
        def normalize(x, gamma, beta):
            centred = ops.cast(x, "float32")
            centred = centred - ops.mean(centred, axis=-1, keepdims=True)
            inverse = ops.rsqrt(ops.mean(ops.square(centred), axis=-1, keepdims=True) + self.epsilon)
            normalized = centred * inverse

            def gradient(upstream):
                with keras.name_scope(f"{self.name}_gradient"):  # it has none by itself (see tools/profile_step.py)
                    return _gradient(upstream, x, normalized, inverse, gamma)

            return ops.cast(normalized * gamma + beta, self.compute_dtype), gradient

        # casts: values, while what Keras takes for a tensor is the variable, of which a custom gradient wants to know
        return normalize(inputs, ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32"))


def _gradient(upstream, x, normalized, inverse, gamma):
    """Gradients of x, gamma and beta. Sums are products with ones and with gamma, which go through memory faster."""
    width = x.shape[-1]
    products = ops.reshape(ops.cast(upstream, "float32") * normalized, (-1, width))
    wide = ops.reshape(ops.cast(upstream, "float32"), (-1, width))
    ones, scale = ops.ones((1, ops.shape(wide)[0])), gamma[:, None] / width
    for_gamma, for_beta = (ops.matmul(ones, terms)[0] for terms in (products, wide))
    slope, mean = (ops.reshape(ops.matmul(terms, scale), ops.shape(inverse)) for terms in (products, wide))
    return _input_gradient(upstream, x, normalized, inverse, gamma, slope, mean), for_gamma, for_beta


@xla.compiled
def _input_gradient(upstream, x, normalized, inverse, gamma, slope, mean):
    return ops.cast((ops.cast(upstream, "float32") * gamma - mean - normalized * slope) * inverse, x.dtype)


def make_norm(norm, epsilon, dtype, name):
    """A new normalisation layer over the last axis.

    Args:
        norm: `"layer_norm"` or `"rms_norm"`.
        epsilon: float, added to the variance (inside the root).
        dtype: dtype policy of the layer that owns it.
        name: string.
    """
    if norm == "layer_norm":
        return LayerNormalization(epsilon=epsilon, dtype=dtype, name=name)
    if norm == "rms_norm":
        return RMSNormalization(epsilon=epsilon, dtype=dtype, name=name)
    raise ValueError(f"`norm` must be 'layer_norm' or 'rms_norm'. Received: norm={norm!r}")
