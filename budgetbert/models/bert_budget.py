"""The encoder of the three systems: BERT, 24hBERT and crammed-BERT."""

import h5py
import keras
import keras_hub
import numpy as np

from budgetbert.layers.dense import Dense
from budgetbert.layers.embedding import EncoderEmbedding
from budgetbert.layers.encoder_block import EncoderBlock
from budgetbert.layers.norms import make_norm
from budgetbert.models.arguments import check_arguments, refuse_hdf5
from budgetbert.presets import PRESETS, preset_config

# The kernels of attention and feed-forward, whose two second projections have one name.
_LORA_LAYERS = ("qkv", "output", "intermediate", "gated_intermediate")


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
        position: `"learned"` (default), `"scaled_sinusoidal"` or `"rotary"`.
        embedding_norm: bool. Normalise after the embedding. Defaults to `True`.
        final_norm: bool. Normalise after the last block. Defaults to `False`.
        dropout: float. Dropout of the embedding, of each sub-layer's output and, unless `attention_dropout` says
            otherwise, of the attention probabilities. Defaults to `0.1`.
        attention_dropout: float, or `None` (default) for the value of `dropout`.
        initializer_range: float. Standard deviation of the normal initialiser of kernels and tables. Defaults to
            `0.02`.
        position_scale_start: float, or `None` (default) for `hidden_dim ** -0.5`. What the scale of
            `"scaled_sinusoidal"` positions starts at.
        rotary_base: float. The base of the wavelengths of `"rotary"` positions. Defaults to `10000.0`.
        dtype: dtype policy of the computation. Defaults to the global one.
        **kwargs: `name` and `trainable`, as of any Keras model. Anything else is a `ValueError`.

    Attributes:
        remat: bool. Whether each block is computed again in the backward pass, which takes a third more time and far
            less memory. Set it before `fit`; no file has it. Defaults to `False`.

    Example:

    ```python
    encoder = BertBudget.from_preset("mini_crammed", load_weights=False, vocabulary_size=512)
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
        position_scale_start=None,
        rotary_base=10000.0,
        dtype=None,
        **kwargs,
    ):
        check_arguments(type(self), kwargs, ("name", "trainable"))
        for name, value in (("vocabulary_size", vocabulary_size), ("num_layers", num_layers)):
            if not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"`{name}` must be an int of 1 or more. Received: {name}={value!r}")
        self.embeddings = EncoderEmbedding(
            vocabulary_size,
            hidden_dim,
            max_sequence_length=max_sequence_length,
            num_segments=num_segments,
            position=position,
            norm=norm if embedding_norm else None,
            norm_epsilon=norm_epsilon,
            dropout=dropout,
            initializer_range=initializer_range,
            position_scale_start=position_scale_start,
            dtype=dtype,
            name="embeddings",
        )
        self.token_embedding = self.embeddings.token_table
        self.transformer_layers = [
            EncoderBlock(
                hidden_dim,
                num_heads,
                intermediate_dim,
                norm_placement=norm_placement,
                norm=norm,
                norm_epsilon=norm_epsilon,
                use_bias=use_bias,
                activation=activation,
                gated=gated,
                dropout=dropout,
                attention_dropout=dropout if attention_dropout is None else attention_dropout,
                initializer_range=initializer_range,
                rotary_base=rotary_base if position == "rotary" else None,
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
        self.position_scale_start = position_scale_start
        self.rotary_base = rotary_base

    @classmethod
    def from_preset(cls, preset, load_weights=True, **kwargs):
        """A published architecture (`load_weights=False`), or a model from a preset directory or handle.

        Args:
            preset: string. A key of `BertBudget.presets`, or as `keras_hub.models.Backbone.from_preset`.
            load_weights: bool. Defaults to `True`, which is a `ValueError` for the keys of `presets`.
            **kwargs: override the preset's arguments, as `vocabulary_size`, `dropout`, `dtype`.
        """
        check_arguments(cls, kwargs, ("name", "trainable", "load_weights"))
        config = preset_config(preset, load_weights)
        if config is None:
            return super().from_preset(preset, load_weights=load_weights, **kwargs)
        return cls(**{**config["backbone"], **kwargs})

    @property
    def remat(self):
        return self.transformer_layers[0].remat

    @remat.setter
    def remat(self, value):
        for block in self.transformer_layers:
            block.remat = value

    def default_lora_layer_names(self):
        return list(_LORA_LAYERS)

    def enable_lora(self, rank, target_layer_names=None):
        """Freezes the encoder and adds trainable matrices of a low rank (LoRA) to kernels.

        Compile the model again afterwards. `save_lora_weights` writes the added matrices alone; a `.keras` file holds
        the sums of kernels and products, and loads as a model without LoRA, all of it trainable. Other than KerasHub's,
        this freezes the biases of these layers too, which `save_lora_weights` would not write.

        Args:
            rank: int. Of the added products.
            target_layer_names: list of names of layers, or `None` (default) for all kernels of attention and
                feed-forward: `"qkv"`, `"output"` (of both), `"intermediate"` and, gated, `"gated_intermediate"`.

        Raises:
            ValueError: if there is no layer of such a name, or LoRA is enabled already, with nothing changed.

        Source: Hu et al. 2021, LoRA.
        """
        if isinstance(rank, bool) or not isinstance(rank, int) or rank < 1:
            raise ValueError(f"`rank` must be an int of 1 or more. Received: rank={rank!r}")
        layers = [layer for layer in self._flatten_layers(include_self=False) if isinstance(layer, Dense)]
        if any(layer.lora_enabled for layer in layers):
            raise ValueError("LoRA is enabled already, which is possible once: load the model again for another rank.")
        known = {layer.name for layer in layers}
        missing = [name for name in target_layer_names or () if name not in known]
        if missing or target_layer_names == []:
            raise ValueError(f"There is no layer {missing} for LoRA in the encoder: it has {', '.join(sorted(known))}.")
        super().enable_lora(rank, target_layer_names)
        for layer in layers:
            if layer.lora_enabled and layer.bias is not None:
                layer.bias.trainable = False

    def load_lora_weights(self, filepath):
        """Reads what `save_lora_weights` wrote; enables LoRA on the same layers unless it is enabled.

        Raises:
            ValueError: if the file has no such weights, or LoRA is enabled with another rank or on other layers.
        """
        with h5py.File(filepath) as file:
            if "lora" not in file:
                raise ValueError(f"{filepath} has no LoRA weights: give a file of save_lora_weights().")
            written = {int(name) for name in file["lora"] if name.isdigit()}
            rank = int(file["lora/vars/rank"][()])
        layers = [layer for layer in self._flatten_layers(include_self=False) if layer.weights]
        if not getattr(self, "_lora_enabled_layers", None):
            self.enable_lora(rank, sorted({layers[index].name for index in written}))
        if written != set(self._lora_enabled_layers):
            raise ValueError(f"{filepath} has LoRA on other layers than this model: enable the same ones.")
        super().load_lora_weights(filepath)

    def save(self, filepath, *args, **kwargs):
        """As `keras.Model.save`; a path that ends in `.h5` or `.hdf5` is a `ValueError`."""
        refuse_hdf5(filepath)
        super().save(filepath, *args, **kwargs)

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
            "position_scale_start": self.position_scale_start,
            "rotary_base": self.rotary_base,
        }
