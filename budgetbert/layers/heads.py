"""The heads of pretraining: masked tokens and next sentences."""

import keras
from keras import ops

from budgetbert.layers.dense import Dense, float32_unless_quantized
from budgetbert.layers.embedding import EncoderEmbedding
from budgetbert.layers.feed_forward import activate, check_activation
from budgetbert.layers.norms import make_norm


@keras.saving.register_keras_serializable(package="budgetbert")
class MaskedLMHead(keras.layers.Layer):
    """Gathers the k masked positions first, so that the rest costs k and not `length` columns per row; then an optional
    transform (Dense, GELU, norm) and the token table in reverse.

    Args:
        token_embedding: `EmbeddingTable`, shared with the encoder (tied decoder), or the config of one. Then the head
            shares the table of the encoder that it is called on.
        transform: bool. Dense, activation and norm before the decoder (BERT, 24hBERT). Defaults to `True`.
        output_bias: bool. A bias per vocabulary entry (BERT). Defaults to `True`.
        use_bias: bool. Bias of the transform. Defaults to `True`.
        activation: `"gelu"` (exact, default) or `"gelu_approximate"`.
        norm: `"layer_norm"` (default) or `"rms_norm"`.
        norm_epsilon: float. Defaults to `1e-12`.
        initializer_range: float. Defaults to `0.02`.

    Call arguments:
        x: float tensor `[batch, length, width]`.
        mask_positions: int tensor `[batch, k]`, each in [0, length).

    Returns:
        Float32 tensor `[batch, k, vocabulary_size]`.

    Example:

    ```python
    head = MaskedLMHead(EmbeddingTable(input_dim=100, output_dim=16))
    head(np.ones((2, 5, 16), "float32"), np.array([[1], [3]]))  # [2, 1, 100]
    ```
    """

    def __init__(
        self,
        token_embedding,
        transform=True,
        output_bias=True,
        use_bias=True,
        activation="gelu",
        norm="layer_norm",
        norm_epsilon=1e-12,
        initializer_range=0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_activation(activation)
        self.transform = transform
        self.output_bias = output_bias
        self.use_bias = use_bias
        self.activation = activation
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.initializer_range = initializer_range
        self._table_config = token_embedding if isinstance(token_embedding, dict) else None
        if self._table_config is None:
            self._make_layers(token_embedding)

    def _make_layers(self, token_embedding):
        self.token_embedding = token_embedding
        if self.transform:
            self.transform_dense = Dense(
                token_embedding.output_dim,
                self.initializer_range,
                use_bias=self.use_bias,
                dtype=self.dtype_policy,
                name="transform",
            )
            self.transform_norm = make_norm(self.norm, self.norm_epsilon, self.dtype_policy, "transform_norm")

    def build(self, x_shape, mask_positions_shape=None):
        if self._table_config is not None:
            self._take_table()
        self.token_embedding.build()
        if self.transform:
            self.transform_dense.build(x_shape)
            self.transform_norm.build(x_shape)
        if self.output_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.token_embedding.input_dim,), initializer="zeros", autocast=False
            )
        self.built = True

    def __call__(self, x, mask_positions, **kwargs):
        if self._table_config is not None:
            self._take_table(x)
        return super().__call__(x, mask_positions, **kwargs)

    def _take_table(self, x=None):
        """Takes the table of the encoder that `x` comes from; if it comes from none, makes one.

        Keras makes the layers of a functional model one by one when it clones it, which would leave the decoder with a
        table of its own.
        """
        layers = getattr(x._keras_history.operation, "layers", ()) if isinstance(x, keras.KerasTensor) else ()
        tables = [layer.token_table for layer in layers if isinstance(layer, EncoderEmbedding)]
        self._make_layers(tables[0] if tables else keras.layers.deserialize(self._table_config))
        self._table_config = None

    def features(self, x, mask_positions):
        """Returns what the decoder multiplies, `[batch, k, width]`."""
        x = ops.take_along_axis(x, mask_positions[:, :, None], axis=1)
        if self.transform:
            x = self.transform_norm(activate(self.transform_dense(x), self.activation))
        return x

    def call(self, x, mask_positions):
        x = self.features(x, mask_positions)
        logits = ops.cast(self.token_embedding(x, reverse=True), "float32")
        if self.output_bias:
            logits = logits + ops.convert_to_tensor(self.bias)
        return logits

    def compute_output_spec(self, x, mask_positions):
        shape = (*mask_positions.shape, self.token_embedding.input_dim)
        return keras.KerasTensor(shape, dtype="float32")

    def get_config(self):
        return {
            **super().get_config(),
            "token_embedding": self._table_config or keras.layers.serialize(self.token_embedding),
            "transform": self.transform,
            "output_bias": self.output_bias,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "initializer_range": self.initializer_range,
        }


@keras.saving.register_keras_serializable(package="budgetbert")
class NextSentenceHead(keras.layers.Layer):
    """BERT's pooler (Dense and tanh over the first token) and two logits.

    Args:
        initializer_range: float. Defaults to `0.02`.

    Call arguments:
        x: float tensor `[batch, length, width]`.

    Returns:
        Float32 tensor `[batch, 2]`: class 0 is the segment that followed, class 1 another document's, as in the
        labels of `pairs` rows.

    Example:

    ```python
    head = NextSentenceHead()
    head(np.ones((2, 5, 16), "float32"))  # [2, 2]
    ```
    """

    def __init__(self, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.initializer_range = initializer_range
        policy = float32_unless_quantized(self.dtype_policy, f"{self.name}/logits")
        self.logits = Dense(2, initializer_range, dtype=policy, name="logits")

    def build(self, x_shape):
        shape = (x_shape[0], x_shape[-1])
        self.pooler = Dense(
            x_shape[-1], self.initializer_range, activation="tanh", dtype=self.dtype_policy, name="pooler"
        )
        self.pooler.build(shape)
        self.logits.build(shape)
        self.built = True

    def call(self, x):
        return self.logits(self.pooler(x[:, 0, :]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 2), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "initializer_range": self.initializer_range}
