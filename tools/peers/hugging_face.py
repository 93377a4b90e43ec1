"""The model of Hugging Face that comes nearest to a preset."""

import torch
import transformers
from torch import nn

IGNORED_LABEL = -100


class HuggingFaceMaskedLM(nn.Module):
    """A masked-LM of Transformers with its loss, as it is: every token goes through its head.

    Post-norm presets get `BertForMaskedLM`, the pre-norm ones `MegatronBertForMaskedLM`. Transformers has no gated
    pre-norm encoder without biases: a crammed preset gets a `BertForMaskedLM` with its layers, widths and heads.

    Args:
        config: dict, the configuration of a preset.
        dropout: bool. Whether the preset's dropout is active.
    """

    def __init__(self, config, dropout):
        super().__init__()
        bert = config["norm_placement"] == "post" or config.get("gated")
        rate = config["dropout"] if dropout else 0.0
        config_class = transformers.BertConfig if bert else transformers.MegatronBertConfig
        model_class = transformers.BertForMaskedLM if bert else transformers.MegatronBertForMaskedLM
        self.model = model_class(
            config_class(
                vocab_size=config["vocabulary_size"],
                hidden_size=config["hidden_dim"],
                num_hidden_layers=config["num_layers"],
                num_attention_heads=config["num_heads"],
                intermediate_size=config["intermediate_dim"],
                max_position_embeddings=config["max_sequence_length"],
                hidden_dropout_prob=rate,
                attention_probs_dropout_prob=rate,
            )
        )
        self.name = f"transformers.{model_class.__name__}"

    def forward(self, token_ids, mask_positions, labels, weights):
        """Returns the mean cross-entropy over the masked tokens; arguments as `Masking` returns them."""
        dense = torch.full_like(token_ids, IGNORED_LABEL)
        dense = dense.scatter(1, mask_positions, labels.masked_fill(weights == 0, IGNORED_LABEL))
        return self.model(input_ids=token_ids, labels=dense).loss
