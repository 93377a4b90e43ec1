"""From token ids to the first hidden states, and back to logits through the same table."""

import keras
import numpy as np
from keras import ops

from budgetbert.layers.dropout import Dropout
from budgetbert.layers.norms import make_norm


@keras.saving.register_keras_serializable(package="budgetbert")
class EmbeddingTable(keras.layers.ReversibleEmbedding):
    """An embedding table that is gathered in float32, whatever the model computes in.

    Stock Keras gathers from the table's bfloat16 copy, so that the gradient of a token is summed in bfloat16: a token
    that occurs 8,192 times gets 256. In reverse the table is cast to the dtype of the inputs.

    Args:
        input_dim: int. Rows of the table.
        output_dim: int. Width of a row.
        initializer_range: float. Standard deviation of the normal initialiser. Defaults to `0.02`.
        **kwargs: as `keras.layers.ReversibleEmbedding`. `dtype` defaults to `"float32"`.

    Call arguments:
        inputs: int tensor of any shape; with `reverse=True` float tensor `[..., output_dim]`.
        reverse: bool. Multiply by the transposed table. Defaults to `False`.

    Returns:
        Float32 tensor `[..., output_dim]`; with `reverse=True` tensor `[..., input_dim]` of the inputs' dtype.

    Example:

    ```python
    table = EmbeddingTable(input_dim=100, output_dim=16)
    hidden = table(np.array([[1, 2, 3]]))  # [1, 3, 16]
    table(hidden, reverse=True)  # [1, 3, 100]
    ```
    """

    def __init__(self, input_dim, output_dim, initializer_range=0.02, **kwargs):
        kwargs.setdefault("embeddings_initializer", keras.initializers.RandomNormal(stddev=initializer_range))
        kwargs.setdefault("dtype", "float32")
        super().__init__(input_dim, output_dim, **kwargs)
        self.initializer_range = initializer_range

    def add_weight(self, *args, **kwargs):
        return super().add_weight(*args, autocast=False, **kwargs)

    def call(self, inputs, reverse=False):
        if not reverse:
            return super().call(inputs)
        return ops.matmul(inputs, ops.transpose(ops.cast(self.embeddings, inputs.dtype)))

    def get_config(self):
        return {**super().get_config(), "initializer_range": self.initializer_range}


POSITIONS = ("learned", "scaled_sinusoidal", "rotary")


def sinusoid(length, width):
    """Fixed positions: interleaved, `[p, 2i] = sin(p / 10000^(2i / width))`, `[p, 2i + 1] = cos` of the same.

    Returns:
        NumPy float32 array `[length, width]`.

    Source: Vaswani et al. 2017, section 3.5.
    """
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, width, 2) / width)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, -1)[:, :width].astype("float32")


@keras.saving.register_keras_serializable(package="budgetbert")
class EncoderEmbedding(keras.layers.Layer):
    """Token plus position plus segment embedding, then optional normalisation and dropout.

    Everything up to the normalisation is float32: the gradients of tables, positions and segments are sums over many
    rows, which bfloat16 cannot hold.

    Args:
        vocabulary_size: int.
        hidden_dim: int.
        max_sequence_length: int. Number of positions. Defaults to `512`.
        num_segments: int. Token types; `0` for none. Defaults to `2`.
        position: `"learned"` (BERT), `"scaled_sinusoidal"`, the fixed sinusoid times one learned scalar
            `position_scale` (Geiping & Goldstein 2022, section 4.2), or `"rotary"`, which adds nothing here: the
            attention rotates queries and keys.
        norm: `"layer_norm"`, `"rms_norm"` or `None`. Defaults to `"layer_norm"`.
        norm_epsilon: float. Defaults to `1e-12`.
        dropout: float. Defaults to `0.0`.
        initializer_range: float. Standard deviation of the tables' normal initialiser. Defaults to `0.02`.
        position_scale_start: float, or `None` (default) for the published `hidden_dim ** -0.5`. What `position_scale`
            starts at. The sinusoid has a standard deviation of 0.7 before it is scaled and the tokens have 0.02, so
            that from the published start positions have 62 % of the variance at a width of 768 and 91 % at 128.

    Call arguments:
        token_ids: int tensor `[batch, length]`.
        segment_ids: int tensor `[batch, length]`, or `None` for segment 0 throughout.

    Returns:
        Tensor `[batch, length, hidden_dim]` of the compute dtype. A length above `max_sequence_length` is a
        `ValueError`.

    Example:

    ```python
    layer = EncoderEmbedding(vocabulary_size=100, hidden_dim=16, max_sequence_length=32)
    layer(np.array([[1, 2, 3]]))  # [1, 3, 16]
    ```
    """

    def __init__(
        self,
        vocabulary_size,
        hidden_dim,
        max_sequence_length=512,
        num_segments=2,
        position="learned",
        norm="layer_norm",
        norm_epsilon=1e-12,
        dropout=0.0,
        initializer_range=0.02,
        position_scale_start=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if position not in POSITIONS:
            raise ValueError(f"`position` must be one of {POSITIONS}. Received: position={position!r}")
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.position = position
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.dropout = dropout
        self.initializer_range = initializer_range
        self.position_scale_start = position_scale_start

        def table(rows, name):
            return EmbeddingTable(rows, hidden_dim, initializer_range, name=name)

        self.token_table = table(vocabulary_size, "token")
        self.position_table = table(max_sequence_length, "position") if position == "learned" else None
        self.segment_table = table(num_segments, "segment") if num_segments else None
        self.norm_layer = make_norm(norm, norm_epsilon, self.dtype_policy, "norm") if norm else None
        self.dropout_layer = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    def build(self, input_shape):
        for table in (self.token_table, self.position_table, self.segment_table):
            if table is not None:
                table.build()
        if self.position == "scaled_sinusoidal":
            start = self.hidden_dim**-0.5 if self.position_scale_start is None else self.position_scale_start
            self.position_scale = self.add_weight(
                name="position_scale", shape=(), initializer=keras.initializers.Constant(start), autocast=False
            )
        if self.norm_layer is not None:
            self.norm_layer.build((*input_shape, self.hidden_dim))
        self.built = True

    def call(self, token_ids, segment_ids=None, training=None):
        length = token_ids.shape[1]
        if length is not None and length > self.max_sequence_length:
            raise ValueError(
                f"Rows of {length} tokens are longer than the model's {self.max_sequence_length} positions."
            )
        length = ops.shape(token_ids)[1]
        x = self.token_table(token_ids)
        if self.position_table is not None:
            x = x + self.position_table(ops.arange(length, dtype="int32"))
        elif self.position == "scaled_sinusoidal":
            table = ops.convert_to_tensor(sinusoid(self.max_sequence_length, self.hidden_dim))
            x = x + table[:length] * ops.convert_to_tensor(self.position_scale)
        if self.segment_table is not None:
            # One row, broadcast, where all segments are 0: its gradient is then a sum and not a scatter.
            x = x + self.segment_table(ops.zeros((1, 1), "int32") if segment_ids is None else segment_ids)
        if self.norm_layer is not None:
            x = self.norm_layer(x)
        return self.dropout_layer(ops.cast(x, self.compute_dtype), training=training)

    def compute_output_shape(self, token_ids_shape, segment_ids_shape=None):
        return (*token_ids_shape, self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "max_sequence_length": self.max_sequence_length,
            "num_segments": self.num_segments,
            "position": self.position,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "dropout": self.dropout,
            "initializer_range": self.initializer_range,
            "position_scale_start": self.position_scale_start,
        }
