"""The encoder of the three systems: BERT, 24hBERT and crammed-BERT."""

import keras
import keras_hub

from budgetbert.layers.embedding import EncoderEmbedding
from budgetbert.layers.encoder_block import EncoderBlock
from budgetbert.layers.normalization import make_norm
from budgetbert.models.presets import PRESETS, preset_config


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudget(keras_hub.models.Backbone):
    """A bidirectional transformer encoder.

    One config describes the encoders of BERT (the defaults), 24hBERT and crammed-BERT; `BertBudget.presets` names the
    published ones.

    The inputs are a dictionary of int tensors `[batch, length]`: `token_ids`, `padding_mask` (0 at padding) and
    `segment_ids`. The last two are optional: pass `None` for full rows and for segment 0 throughout, and neither enters
    the computation. The output is the sequence of hidden states `[batch, length, hidden_dim]` in the compute dtype.

    Args:
        vocabulary_size: int. Rows of the token table.
        num_layers: int. Encoder blocks.
        num_heads: int. Must divide `hidden_dim`.
        hidden_dim: int. Width of the hidden states.
        intermediate_dim: int. Width out of the first feed-forward kernel; gated, the second one sees half of it.
        max_sequence_length: int. Positions. Defaults to `512`.
        num_segments: int. Token types, `0` for none. Defaults to `2`.
        norm_placement: `"post"` (default, BERT) or `"pre"`.
        norm: `"layer_norm"` (default) or `"rms_norm"`.
        norm_epsilon: float. Defaults to `1e-12`.
        use_bias: bool. Biases of the dense layers. Defaults to `True`.
        activation: `"gelu"` (exact, default) or `"gelu_approximate"` (tanh).
        gated: bool. Gated feed-forward. Defaults to `False`.
        position: `"learned"` (default) or `"scaled_sinusoidal"`.
        embedding_norm: bool. Normalise after the embedding. Defaults to `True`.
        final_norm: bool. Normalise after the last block. Defaults to `False`.
        dropout: float. Dropout of the embedding, of each sub-layer's output and, unless `attention_dropout` says
            otherwise, of the attention probabilities. Defaults to `0.1`.
        attention_dropout: float, or `None` (default) for the value of `dropout`.
        initializer_range: float. Standard deviation of the normal initialiser of kernels and tables. Defaults to
            `0.02`.
        dtype: dtype policy of the computation. Defaults to the global one.

    Example:

    ```python
    encoder = BertBudget.from_preset("crammed_base", load_weights=False)
    encoder({"token_ids": np.ones((8, 128), "int32"), "padding_mask": None, "segment_ids": None})
    ```
    """

    presets = PRESETS

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        max_sequence_length=512,
        num_segments=2,
        norm_placement="post",
        norm="layer_norm",
        norm_epsilon=1e-12,
        use_bias=True,
        activation="gelu",
        gated=False,
        position="learned",
        embedding_norm=True,
        final_norm=False,
        dropout=0.1,
        attention_dropout=None,
        initializer_range=0.02,
        dtype=None,
        **kwargs,
    ):
        self.embeddings = EncoderEmbedding(
            vocabulary_size,
            hidden_dim,
            max_sequence_length,
            num_segments,
            position,
            norm if embedding_norm else None,
            norm_epsilon,
            dropout,
            initializer_range,
            dtype=dtype,
            name="embeddings",
        )
        self.token_embedding = self.embeddings.token_table
        self.transformer_layers = [
            EncoderBlock(
                hidden_dim,
                num_heads,
                intermediate_dim,
                norm_placement,
                norm,
                norm_epsilon,
                use_bias,
                activation,
                gated,
                dropout,
                dropout if attention_dropout is None else attention_dropout,
                initializer_range,
                dtype=dtype,
                name=f"block_{i}",
            )
            for i in range(num_layers)
        ]
        self.final_norm_layer = make_norm(norm, norm_epsilon, dtype, "final_norm") if final_norm else None

        token_ids = keras.Input((None,), dtype="int32", name="token_ids")
        padding_mask = keras.Input((None,), dtype="int32", name="padding_mask", optional=True)
        segment_ids = keras.Input((None,), dtype="int32", name="segment_ids", optional=True)
        x = self.embeddings(token_ids, segment_ids=segment_ids)
        for block in self.transformer_layers:
            x = block(x, padding_mask=padding_mask)
        if self.final_norm_layer is not None:
            x = self.final_norm_layer(x)
        super().__init__(
            inputs={"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": segment_ids},
            outputs=x,
            dtype=dtype,
            **kwargs,
        )

        self.vocabulary_size = vocabulary_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.hidden_dim = hidden_dim
        self.intermediate_dim = intermediate_dim
        self.max_sequence_length = max_sequence_length
        self.num_segments = num_segments
        self.norm_placement = norm_placement
        self.norm = norm
        self.norm_epsilon = norm_epsilon
        self.use_bias = use_bias
        self.activation = activation
        self.gated = gated
        self.position = position
        self.embedding_norm = embedding_norm
        self.final_norm = final_norm
        self.dropout = dropout
        self.attention_dropout = attention_dropout
        self.initializer_range = initializer_range

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A published architecture (`load_weights=False`), or a model from a preset directory or handle.

        Args:
            preset: string. A key of `BertBudget.presets`, or as `keras_hub.models.Backbone.from_preset`.
            load_weights: bool. Defaults to `True`, which is a `ValueError` for the keys of `presets`.
            **kwargs: override the preset's arguments, as `vocabulary_size`, `dropout`, `dtype`.
        """
        config = preset_config(preset, load_weights)
        if config is None:
            return super().from_preset(preset, load_weights=load_weights, **kwargs)
        return cls(**{**config["backbone"], **kwargs})

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "max_sequence_length": self.max_sequence_length,
            "num_segments": self.num_segments,
            "norm_placement": self.norm_placement,
            "norm": self.norm,
            "norm_epsilon": self.norm_epsilon,
            "use_bias": self.use_bias,
            "activation": self.activation,
            "gated": self.gated,
            "position": self.position,
            "embedding_norm": self.embedding_norm,
            "final_norm": self.final_norm,
            "dropout": self.dropout,
            "attention_dropout": self.attention_dropout,
            "initializer_range": self.initializer_range,
        }
