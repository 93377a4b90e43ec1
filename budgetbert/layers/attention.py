"""Multi-head self-attention over one fused kernel."""

import math

import keras
import keras_hub
from keras import ops

from budgetbert.layers import gpu, xla
from budgetbert.layers.dense import Dense
from budgetbert.layers.dropout import Dropout
from budgetbert.layers.softmax import softmax


def attend(x, mask, kept):
    """Attention and its closed gradient.

    Args:
        x: float tensor `[batch, length, 3, heads, width of a head]`, queries, keys and values.
        mask: bool tensor that spreads to `[batch, heads, length, length]`, or `None`.
        kept: float tensor of that shape that the probabilities are multiplied by, which is dropout, or `None`.

    Returns:
        Float tensor `[batch, length, heads, width of a head]`, and the function from its gradient to that of `x`. The
        softmax's sum over the keys is taken over the width of the output, which is the same and smaller (Dao et al.
        2022, FlashAttention, equation 4 of appendix B.2).
    """
    query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3, axis=0)
    scale = ops.cast(query.shape[-1] ** -0.5, query.dtype)
    query = query * scale
    scores = ops.matmul(query, _swapped(key))
    if mask is not None:
        scores = ops.where(mask, scores, ops.cast(-3e4, scores.dtype))  # float16 has no -1e9
    probabilities = softmax(scores, value.dtype)
    weights = probabilities if kept is None else probabilities * kept
    attended = ops.matmul(weights, value)

    def gradient(upstream):
        with keras.name_scope("attention_gradient"):  # it has none by itself, and tools/profile_step.py looks for it
            upstream = ops.transpose(upstream, (0, 2, 1, 3))
            for_value = ops.matmul(_swapped(weights), upstream)
            for_weights = ops.matmul(upstream, _swapped(value))
            products = ops.cast(upstream, "float32") * ops.cast(attended, "float32")
            mean = ops.sum(products, axis=-1, keepdims=True)
            for_scores = _for_scores(for_weights, mean, probabilities, *(() if kept is None else (kept,)))
            for_query = ops.matmul(for_scores, key) * scale
            for_key = ops.matmul(_swapped(for_scores), query)
            return ops.transpose(ops.stack([for_query, for_key, for_value]), (1, 3, 0, 2, 4))

    return ops.transpose(attended, (0, 2, 1, 3)), gradient


@xla.compiled
def _for_scores(for_weights, mean, probabilities, *kept):
    for_probabilities = math.prod((ops.cast(x, "float32") for x in kept), start=ops.cast(for_weights, "float32"))
    return ops.cast((for_probabilities - mean) * ops.cast(probabilities, "float32"), probabilities.dtype)


def _swapped(x):
    return ops.transpose(x, (0, 1, 3, 2))


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
        rotary_base: float, or `None` (default) for no rotation. The wavelength, over 2 pi, towards which the slowest
            pair of values turns: queries and keys of a position are rotated by it, so that attention knows how far
            apart two tokens are. The width of a head must then be even. Source: Su et al. 2021, RoFormer.

    Call arguments:
        x: float tensor `[batch, length, width]`.
        padding_mask: bool or int tensor `[batch, length]`, 0 at padding; `None` (default) when all rows are full, so
            that no mask enters the computation.

    Returns:
        Float tensor `[batch, length, width]`.

    Example:

    ```python
    layer = SelfAttention(hidden_dim=16, num_heads=2)
    layer(np.ones((2, 5, 16), "float32"), padding_mask=np.array([[1, 1, 1, 1, 0]] * 2))  # [2, 5, 16]
    ```
    """

    def __init__(
        self, hidden_dim, num_heads, use_bias=True, dropout=0.0, initializer_range=0.02, rotary_base=None, **kwargs
    ):
        super().__init__(**kwargs)
        if hidden_dim % num_heads:
            raise ValueError(f"The width {hidden_dim} is not a multiple of num_heads={num_heads}.")
        if rotary_base is not None and hidden_dim // num_heads % 2:
            raise ValueError(f"Rotary positions need heads of an even width. Received: {hidden_dim // num_heads}")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.use_bias = use_bias
        self.dropout = dropout
        self.initializer_range = initializer_range
        self.rotary_base = rotary_base
        policy = self.dtype_policy
        self.qkv = Dense(3 * hidden_dim, initializer_range, use_bias=use_bias, dtype=policy, name="qkv")
        self.output_projection = Dense(hidden_dim, initializer_range, use_bias=use_bias, dtype=policy, name="output")
        self.dropout_layer = Dropout(dropout, dtype=policy, name="dropout")
        self.rotary_embedding = None
        if rotary_base is not None:
            self.rotary_embedding = keras_hub.layers.RotaryEmbedding(rotary_base, dtype=policy, name="rotary_embedding")

    def build(self, input_shape):
        self.qkv.build(input_shape)
        self.output_projection.build(input_shape)
        self.built = True

    def call(self, x, padding_mask=None, training=None):
        batch, length = ops.shape(x)[:2]
        x = ops.reshape(self.qkv(x), (batch, length, 3, self.num_heads, self.hidden_dim // self.num_heads))
        if self.rotary_embedding is not None:
            x = ops.concatenate([self.rotary_embedding(x[:, :, :2]), x[:, :, 2:]], axis=2)
        if gpu.uses("attention") and (attended := self._attend_on_gpu(x, padding_mask, training)) is not None:
            return self.output_projection(ops.reshape(attended, (batch, length, self.hidden_dim)))
        mask = None if padding_mask is None else ops.cast(padding_mask, "bool")[:, None, None, :]
        if keras.backend.backend() == "tensorflow" or (training and self.dropout):
            x = self._attend(x, mask, training)
        else:
            # On a GPU Keras would try cuDNN with a mask that it does not take, and log a stack trace for each layer.
            fused = False if gpu.is_there() else None
            x = ops.dot_product_attention(*ops.unstack(x, 3, axis=2), mask=mask, flash_attention=fused)
        return self.output_projection(ops.reshape(x, (batch, length, self.hidden_dim)))

    def _attend(self, x, mask, training):
        """`ops.dot_product_attention` in its parts: with dropout, which it has not, and faster on TensorFlow.

        There it consists of einsums, which transpose by themselves, and of a float32 softmax, differentiated operation
        by operation. One transpose of all three, a softmax that has float32 inside alone, and a closed gradient save
        43 of the 871 ms of a step of `mini_crammed` (64 rows of 128, bfloat16, 2 cores; docs/LOG.md, 2026-11-28).
        """
        kept = None
        if training and self.dropout:
            batch, length = ops.shape(x)[:2]
            kept = self.dropout_layer(ops.ones((batch, self.num_heads, length, length), x.dtype), training=True)

        if keras.backend.backend() == "tensorflow":
            return ops.custom_gradient(lambda x: attend(x, mask, kept))(x)
        return attend(x, mask, kept)[0]  # the others differentiate it by themselves

    def _attend_on_gpu(self, x, padding_mask, training):
        """Attention in one kernel, on JAX; `None` where there is none for it."""
        from budgetbert.layers import attention_kernel, hashed_bits

        length, width, dtype = x.shape[1], x.shape[-1], keras.backend.standardize_dtype(x.dtype)
        dropped = bool(training and self.dropout)
        padding_mask = None if padding_mask is None else ops.convert_to_tensor(padding_mask)
        if attention_kernel.fits(length, width, dtype):
            key = hashed_bits.key_of(self.dropout_layer.seed_generator.next()) if dropped else None
            return attention_kernel.attend(x, padding_mask, key, self.dropout if dropped else 0.0)
        if not dropped and attention_kernel.fits_cudnn(x, padding_mask):
            return attention_kernel.attend_by_cudnn(x, padding_mask)
        return None

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
            "rotary_base": self.rotary_base,
        }
