"""A dense layer whose bias gradient is summed in float32."""

import keras
from keras import ops

from budgetbert.layers import gpu


def add_bias(x, bias):
    """`x + bias` whose gradient for `bias` is summed in float32, since bfloat16 cannot count past 256.

    TensorFlow: `ops.add` becomes `BiasAdd`, whose gradient over 8,192 rows is 9 to 10 % off on a CPU; a plain broadcast
    add gives 0.17 %, rounding alone, at the same speed. JAX: on a CPU the plain add is 3 % off over as many rows; the
    casts cost nothing, as XLA fuses them.
    """
    if gpu.uses("bias"):
        return _add_bias_on_gpu(x, ops.convert_to_tensor(bias))
    if keras.backend.backend() == "jax":
        return ops.cast(ops.cast(x, "float32") + ops.cast(bias, "float32"), x.dtype)
    return x + ops.convert_to_tensor(bias)


@ops.custom_gradient
def _add_bias_on_gpu(x, bias):
    """The bias and its gradient, on JAX.

    Left to itself XLA takes the gradient's way through bfloat16 for an excess and writes it to memory in float32, for
    the products and for this sum. Behind the barrier it stays narrow, and is widened inside the kernel that sums it.
    """
    import jax

    def gradient(upstream):
        narrow = ops.cast(jax.lax.optimization_barrier(upstream), "float32")
        return upstream, ops.cast(ops.sum(narrow, axis=tuple(range(narrow.ndim - 1))), bias.dtype)

    return ops.cast(ops.cast(x, "float32") + ops.cast(bias, "float32"), x.dtype), gradient


def float32_unless_quantized(policy, path):
    """Returns the policy of a layer whose outputs are float32, or the map of policies that says how it is quantized.

    Args:
        policy: dtype policy of the model.
        path: str, of the layer.
    """
    quantized = isinstance(policy, keras.dtype_policies.DTypePolicyMap) and path in policy
    return policy if quantized else "float32"


@keras.saving.register_keras_serializable(package="budgetbert")
class Dense(keras.layers.Dense):
    """`keras.layers.Dense` with N(0, `initializer_range`) kernels and a bias whose gradient is summed in float32.

    Args:
        units: int. Width of the output.
        initializer_range: float. Standard deviation of the kernel's normal initialiser. Defaults to `0.02`, BERT's.
        **kwargs: as `keras.layers.Dense`.

    Call arguments:
        inputs: float tensor `[..., width]`.

    Returns:
        Float tensor `[..., units]`.

    Example:

    ```python
    layer = Dense(8)
    layer(np.ones((2, 4), "float32"))  # [2, 8]
    ```
    """

    def __init__(self, units, initializer_range=0.02, **kwargs):
        kwargs.setdefault("kernel_initializer", keras.initializers.RandomNormal(stddev=initializer_range))
        super().__init__(units, **kwargs)
        self.initializer_range = initializer_range

    @property
    def dtype_policy(self):
        # Keras 3.15 saves a quantized kernel without its scale where the layer was made with a map of policies.
        policy = super().dtype_policy
        return policy[self.path] if isinstance(policy, keras.dtype_policies.DTypePolicyMap) and self.path else policy

    @dtype_policy.setter
    def dtype_policy(self, value):
        keras.layers.Dense.dtype_policy.fset(self, value)

    def call(self, inputs, training=None):
        outputs = ops.matmul(inputs, self.kernel)
        if self.bias is not None:
            outputs = add_bias(outputs, self.bias)
        if self.activation is not None:
            outputs = self.activation(outputs)
        return outputs

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras refuses subclasses, because it would bypass their `call`. Ours differs in the gradient alone.
        super().quantize(mode, type_check=False, config=config)

    def get_config(self):
        return {**super().get_config(), "initializer_range": self.initializer_range}
