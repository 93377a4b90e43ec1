"""The two normalisations, with float32 statistics and float32 weights under every precision."""

import keras


@keras.saving.register_keras_serializable(package="budgetbert")
class RMSNormalization(keras.layers.RMSNormalization):
    """`keras.layers.RMSNormalization` whose `scale` stays in float32 under a mixed policy.

    Stock Keras rounds `scale` to bfloat16 before it is used, and sums its gradient there.
    """

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, autocast=False, **kwargs)


def make_norm(norm, epsilon, dtype, name):
    """A new normalisation layer over the last axis.

    Args:
        norm: `"layer_norm"` or `"rms_norm"`.
        epsilon: float, added to the variance (inside the root).
        dtype: dtype policy of the layer that owns it.
        name: string.
    """
    if norm == "layer_norm":
        return keras.layers.LayerNormalization(epsilon=epsilon, dtype=dtype, name=name)
    if norm == "rms_norm":
        return RMSNormalization(epsilon=epsilon, dtype=dtype, name=name)
    raise ValueError(f"`norm` must be 'layer_norm' or 'rms_norm'. Received: norm={norm!r}")
