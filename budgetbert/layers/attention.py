"""Multi-head self-attention over one fused kernel."""

import keras
from keras import ops

from budgetbert.layers.dense import Dense


@keras.saving.register_keras_serializable(package="budgetbert")
class SelfAttention(keras.layers.Layer):
    """Bidirectional self-attention.

    Queries, keys and values come from one kernel `[width, 3 * width]` laid out [q | k | v], each of them by heads: one
    larger matrix product in place of three.

    Args:
        hidden_dim: int. The width.
        num_heads: int. Must divide the width.
        use_bias: bool. Biases on the fused and on the output projection. Defaults to `True`.
        dropout: float. Dropout of the attention probabilities. Defaults to `0.0`, which leaves the probabilities to
            the fused attention of JAX and torch.
        initializer_range: float. Standard deviation of the kernels' normal initialiser. Defaults to `0.02`.

    Call arguments:
        x: float tensor `[batch, length, width]`.
        padding_mask: bool or int tensor `[batch, length]`, 0 at padding; `None` (default) when all rows are full, so
            that no mask enters the computation.

    Returns:
        Float tensor `[batch, length, width]`.
    """

    def __init__(self, hidden_dim, num_heads, use_bias=True, dropout=0.0, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"The width {hidden_dim} is not a multiple of num_heads={num_heads}.")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.dropout = dropout
        self.initializer_range = initializer_range
        policy = self.dtype_policy
        self.qkv = Dense(3 * hidden_dim, initializer_range, use_bias=use_bias, dtype=policy, name="qkv")
        self.output_projection = Dense(hidden_dim, initializer_range, use_bias=use_bias, dtype=policy, name="output")
        self.dropout_layer = keras.layers.Dropout(dropout, dtype=policy, name="dropout")

    def build(self, input_shape):
        self.qkv.build(input_shape)
        self.output_projection.build(input_shape)
        self.built = True

    def call(self, x, padding_mask=None, training=None):
        batch, length = ops.shape(x)[:2]
        x = ops.reshape(self.qkv(x), (batch, length, 3, self.num_heads, self.hidden_dim // self.num_heads))
        mask = None if padding_mask is None else ops.cast(padding_mask, "bool")[:, None, None, :]
        if keras.backend.backend() == "tensorflow" or (training and self.dropout):
            x = self._attend(x, mask, training)
        else:
            x = ops.dot_product_attention(*ops.unstack(x, 3, axis=2), mask=mask)
        return self.output_projection(ops.reshape(x, (batch, length, self.hidden_dim)))

    def _attend(self, x, mask, training):
        """`ops.dot_product_attention` in its parts: with dropout, which it has not, and faster on TensorFlow.

        There it consists of einsums, which transpose by themselves. One transpose of all three before the products
        takes 32 ms forward and backward in place of 39 (64 x 128 tokens of width 256 in bfloat16 on 2 cores).
        """
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3, axis=0)
        query = query * ops.cast(query.shape[-1] ** -0.5, query.dtype)
        scores = ops.cast(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), "float32")
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        probabilities = ops.cast(ops.softmax(scores, axis=-1), value.dtype)
        probabilities = self.dropout_layer(probabilities, training=training)
        return ops.transpose(ops.matmul(probabilities, value), (0, 2, 1, 3))

    def compute_output_shape(self, x_shape, padding_mask_shape=None):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "use_bias": self.use_bias,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
        }
