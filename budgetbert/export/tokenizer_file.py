"""`tokenizer.json`, which makes the token ids for exports that have no strings in their graph."""

import os

from budgetbert.tokenization.vocabulary import standalone_tokenizer


def write_tokenizer(model, directory):
    """Writes `tokenizer.json` for the package `tokenizers`; it cuts at the model's positions."""
    tokenizer = model.preprocessor.tokenizer
    standalone = standalone_tokenizer(tokenizer.get_vocabulary(), tokenizer.normalizer)
    standalone.enable_truncation(model.backbone.max_sequence_length)
    standalone.save(os.path.join(directory, "tokenizer.json"))
