"""The position-wise feed-forward network, plain or gated."""

import math

import keras
from keras import ops

from budgetbert.layers import gpu, xla
from budgetbert.layers.dense import Dense

ACTIVATIONS = ("gelu", "gelu_approximate")


def activate(x, activation, factor=None):
    """GELU of `x`, times `factor` if there is one.

    `"gelu"` is the exact one (erf), `"gelu_approximate"` the tanh form.
    """
    factors = () if factor is None else (factor,)
    if activation == "gelu" and (keras.backend.backend() == "tensorflow" or gpu.uses("activation")):
        return _exact_gelu(x, *factors)
    x = ops.gelu(x, approximate=activation == "gelu_approximate")
    return x if factor is None else factor * x


@ops.custom_gradient
def _exact_gelu(x, *factors):
    """GELU in float32 with its closed derivative, for TensorFlow.

    Left to itself TensorFlow differentiates the formula operation by operation, in bfloat16: forward and backward over
    64 x 128 x 1,024 values take 45 ms on 2 cores, and 27 ms with the closed derivative. XLA makes one pass of that;
    forward it stays as it is, since that is what exports hold.
    """

    def gradient(upstream):
        with keras.name_scope("gelu_gradient"):  # it has none by itself, and tools/profile_step.py looks for it
            return _gelu_gradient(upstream, x, *factors)

    wide = ops.cast(x, "float32")
    gelu = ops.cast(0.5 * wide * (1 + ops.erf(wide * 2**-0.5)), x.dtype)
    return math.prod(factors, start=gelu), gradient


@xla.compiled
def _gelu_gradient(upstream, x, *factors):
    upstream, wide, *factors = (ops.cast(tensor, "float32") for tensor in (upstream, x, *factors))
    cumulative = 0.5 * (1 + ops.erf(wide * 2**-0.5))
    density = (2 * math.pi) ** -0.5 * ops.exp(-0.5 * wide * wide)
    for_x = math.prod(factors, start=upstream) * (cumulative + wide * density)
    return tuple(ops.cast(gradient, x.dtype) for gradient in (for_x, *(upstream * wide * cumulative for _ in factors)))


def check_activation(activation):
    """Raises a `ValueError` unless `activation` is known."""
    if activation not in ACTIVATIONS:
        raise ValueError(f"`activation` must be one of {ACTIVATIONS}. Received: activation={activation!r}")


@keras.saving.register_keras_serializable(package="budgetbert")
class FeedForward(keras.layers.Layer):
    """Dense, GELU, Dense; or gated, `u * GELU(g)` with u and g the first and second half of the inner width.

    Args:
        hidden_dim: int. The width of input and output.
        intermediate_dim: int. Width of the first kernel's output. Gated, the second kernel sees half of it (3,072 in
            and 1,536 out in crammed-BERT: gating halves the second kernel and is not paid back in width).
        activation: `"gelu"` (exact, default) or `"gelu_approximate"` (tanh).
        gated: bool. Defaults to `False`.
        use_bias: bool. Defaults to `True`.
        initializer_range: float. Standard deviation of the kernels' normal initialiser. Defaults to `0.02`.

    Call arguments:
        x: float tensor `[..., width]`.

    Returns:
        Float tensor `[..., width]`.

    Example:

    ```python
    layer = FeedForward(hidden_dim=16, intermediate_dim=64, gated=True)
    layer(np.ones((2, 5, 16), "float32"))  # [2, 5, 16]
    ```

    Source: Shazeer 2020 (GEGLU); Geiping & Goldstein 2022, section 4.2.
    """

    def __init__(
        self,
        hidden_dim,
        intermediate_dim,
        activation="gelu",
        gated=False,
        use_bias=True,
        initializer_range=0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_activation(activation)
        if gated and intermediate_dim % 2:
            raise ValueError(f"A gate needs two halves. Received: intermediate_dim={intermediate_dim}")
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.gated = gated
        self.use_bias = use_bias
        self.initializer_range = initializer_range
        options = {"use_bias": use_bias, "dtype": self.dtype_policy}
        # the name tells the optimizers that two kernels lie in one
        name = "gated_intermediate" if gated else "intermediate"
        self.intermediate = Dense(intermediate_dim, initializer_range, name=name, **options)
        self.output_projection = Dense(hidden_dim, initializer_range, name="output", **options)

    def build(self, input_shape):
        self.intermediate.build(input_shape)
        inner_dim = self.intermediate_dim // 2 if self.gated else self.intermediate_dim
        self.output_projection.build((*input_shape[:-1], inner_dim))
        self.built = True

    def call(self, x):
        x = self.intermediate(x)
        if self.gated:
            x, gate = ops.split(x, 2, axis=-1)
            x = activate(gate, self.activation, factor=x)
        else:
            x = activate(x, self.activation)
        return self.output_projection(x)

    def compute_output_shape(self, x_shape):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "activation": self.activation,
            "gated": self.gated,
            "use_bias": self.use_bias,
            "initializer_range": self.initializer_range,
        }
