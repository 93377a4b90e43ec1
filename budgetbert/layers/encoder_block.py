"""One transformer encoder block."""

import keras
from keras import ops

from budgetbert.layers.attention import SelfAttention
from budgetbert.layers.dropout import Dropout
from budgetbert.layers.feed_forward import FeedForward
from budgetbert.layers.norms import make_norm
from budgetbert.layers.remat import recompute


@keras.saving.register_keras_serializable(package="budgetbert")
class EncoderBlock(keras.layers.Layer):
    """Self-attention and feed-forward, each with a residual connection, dropout and a normalisation.

    `norm_placement="post"` (BERT): `x = norm(x + dropout(f(x)))`; `"pre"` (24hBERT, crammed-BERT):
    `x = x + dropout(f(norm(x)))`.

    All kernels start from N(0, `initializer_range`), biases from 0, drawn anew for each block. The original 24hBERT
    differs by accident, and we do not follow: its initialiser misses the first feed-forward kernel, which keeps
    PyTorch's default U(-1/sqrt(fan_in), 1/sqrt(fan_in)) (a standard deviation of 0.018 at width 1,024, bias likewise),
    and its blocks are copies of one block, so that this kernel starts identical in all 24 layers.

    Args:
        hidden_dim: int. The width.
        num_heads: int. Must divide the width.
        intermediate_dim: int. Width into the activation or gate (see `FeedForward`).
        norm_placement: `"pre"` or `"post"`. Defaults to `"post"`.
        norm: `"layer_norm"` (default) or `"rms_norm"`.
        norm_epsilon: float. Defaults to `1e-12`.
        use_bias: bool. Biases of the dense layers. Defaults to `True`.
        activation: `"gelu"` (exact, default) or `"gelu_approximate"`.
        gated: bool. Gated feed-forward. Defaults to `False`.
        dropout: float. Dropout after attention and after feed-forward. Defaults to `0.0`.
        attention_dropout: float. Dropout of the attention probabilities. Defaults to `0.0`.
        initializer_range: float. Defaults to `0.02`.
        rotary_base: float, or `None` (default) for no rotation of queries and keys (see `SelfAttention`).

    Attributes:
        remat: bool. Whether what the block computes is computed again in the backward pass, and only its input kept
            until then. Of the process and not of the model: no file has it. Defaults to `False`.

    Call arguments:
        x: float tensor `[batch, length, width]`.
        padding_mask: bool or int tensor `[batch, length]`, 0 at padding, or `None` when all rows are full.

    Returns:
        Float tensor `[batch, length, width]`.

    Example:

    ```python
    block = EncoderBlock(hidden_dim=16, num_heads=2, intermediate_dim=64, norm_placement="pre")
    block(np.ones((2, 5, 16), "float32"))  # [2, 5, 16]
    ```
    """

    def __init__(
        self,
        hidden_dim,
        num_heads,
        intermediate_dim,
        norm_placement="post",
        norm="layer_norm",
        norm_epsilon=1e-12,
        use_bias=True,
        activation="gelu",
        gated=False,
        dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.02,
        rotary_base=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if norm_placement not in ("pre", "post"):
            raise ValueError(f"`norm_placement` must be 'pre' or 'post'. Received: norm_placement={norm_placement!r}")
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.intermediate_dim = intermediate_dim
        self.norm_placement = norm_placement
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.use_bias = use_bias
        self.activation = activation
        self.gated = gated
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range
        self.rotary_base = rotary_base
        policy = self.dtype_policy
        self.attention = SelfAttention(
            hidden_dim,
            num_heads,
            use_bias=use_bias,
            dropout=attention_dropout,
            initializer_range=initializer_range,
            rotary_base=rotary_base,
            dtype=policy,
            name="attention",
        )
        self.attention_norm = make_norm(norm, norm_epsilon, policy, "attention_norm")
        self.feed_forward = FeedForward(
            hidden_dim,
            intermediate_dim,
            activation=activation,
            gated=gated,
            use_bias=use_bias,
            initializer_range=initializer_range,
            dtype=policy,
            name="feed_forward",
        )
        self.feed_forward_norm = make_norm(norm, norm_epsilon, policy, "feed_forward_norm")
        self.attention_output_dropout = Dropout(dropout, dtype=policy, name="attention_output_dropout")
        self.feed_forward_dropout = Dropout(dropout, dtype=policy, name="feed_forward_dropout")
        self.remat = False

    @property
    def remat(self):
        return not self.autocast

    @remat.setter
    def remat(self, value):
        self.autocast = not value  # as `recompute` wants it

    def build(self, input_shape):
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(input_shape)
        self.built = True

    def call(self, x, padding_mask=None, training=None):
        def block(x):
            return self._block(x, padding_mask, training)

        return recompute(self, block, ops.cast(x, self.compute_dtype)) if self.remat else block(x)

    def _block(self, x, padding_mask, training):
        def attend(x):
            x = self.attention(x, padding_mask=padding_mask, training=training)
            return self.attention_output_dropout(x, training=training)

        def feed_forward(x):
            return self.feed_forward_dropout(self.feed_forward(x), training=training)

        if self.norm_placement == "pre":
            x = x + attend(self.attention_norm(x))
            return x + feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + attend(x))
        return self.feed_forward_norm(x + feed_forward(x))

    def compute_output_shape(self, x_shape, padding_mask_shape=None):
        return x_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "intermediate_dim": self.intermediate_dim,
            "norm_placement": self.norm_placement,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "gated": self.gated,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "initializer_range": self.initializer_range,
            "rotary_base": self.rotary_base,
        }
