"""`tokenizer.json`, which makes the token ids for exports that have no strings in their graph."""

import os

from budgetbert.models import BertBudgetTextEmbedder
from budgetbert.tokenization.vocabulary import standalone_tokenizer


def longest_row(model):
    """Returns at how many tokens (int) an export cuts texts: at the model's positions, but those of an embedder where
    it does, since a vector is held against those of an index."""
    if isinstance(model, BertBudgetTextEmbedder):
        return min(model.preprocessor.sequence_length, model.backbone.max_sequence_length)
    return model.backbone.max_sequence_length


def write_tokenizer(model, directory):
    """Writes `tokenizer.json` for the package `tokenizers`; it cuts at `longest_row`."""
    tokenizer = model.preprocessor.tokenizer
    standalone = standalone_tokenizer(tokenizer.get_vocabulary(), tokenizer.normalizer)
    standalone.enable_truncation(longest_row(model))
    standalone.save(os.path.join(directory, "tokenizer.json"))
