"""From hidden states to logits at the masked positions alone."""

import keras
from keras import ops

from budgetbert.layers.dense import Dense
from budgetbert.layers.feed_forward import activate, check_activation
from budgetbert.layers.normalization import make_norm


@keras.saving.register_keras_serializable(package="budgetbert")
class MaskedLMHead(keras.layers.Layer):
    """Gathers the k masked positions first, so that the rest costs k and not `length` columns per row; then an optional
    transform (Dense, GELU, norm) and the token table in reverse.

    Args:
        token_embedding: `EmbeddingTable`, shared with the encoder (tied decoder).
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
        self.token_embedding = token_embedding
        self.transform = transform
        self.output_bias = output_bias
        self.use_bias = use_bias
        self.activation = activation
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.initializer_range = initializer_range
        if transform:
            self.transform_dense = Dense(
                token_embedding.output_dim,
                initializer_range,
                use_bias=use_bias,
                dtype=self.dtype_policy,
                name="transform",
            )
            self.transform_norm = make_norm(norm, norm_epsilon, self.dtype_policy, "transform_norm")

    def build(self, x_shape, mask_positions_shape=None):
        self.token_embedding.build()
        if self.transform:
            self.transform_dense.build(x_shape)
            self.transform_norm.build(x_shape)
        if self.output_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.token_embedding.input_dim,), initializer="zeros", autocast=False
            )
        self.built = True

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
            "token_embedding": keras.layers.serialize(self.token_embedding),
            "transform": self.transform,
            "output_bias": self.output_bias,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "initializer_range": self.initializer_range,
        }

    @classmethod
    def from_config(cls, config):
        config = {**config, "token_embedding": keras.layers.deserialize(config["token_embedding"])}
        return cls(**config)
