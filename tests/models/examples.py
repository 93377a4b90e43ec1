"""A vocabulary, texts and models small enough for a test."""

import string

import numpy as np
from keras import ops

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.tokenizer import BertBudgetTokenizer

LETTERS = string.ascii_lowercase
WORDS = ["the", "cat", "sat", "on", "mat", "dog", "strasse", "cafe", "par", "##is"]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *("##" + c for c in LETTERS), *".,[]", *WORDS]
TEXTS = ["The cat sat on the mat.", "A dog, on the mat", "Paris", "the café on the Straße"] * 2
FAMILIES = ["tiny_bert", "tiny_24h", "tiny_crammed", "tiny_frontier"]
# Larger than the vocabulary, as a model's table that is padded to a multiple of 64.
VOCABULARY_SIZE = 128


# One layer of the tiny presets' two: XLA compiles each.
SIZE = {"vocabulary_size": VOCABULARY_SIZE, "num_layers": 1}


def tokenizer(**kwargs):
    return BertBudgetTokenizer(VOCABULARY, **kwargs)


def encoder(family="tiny_bert", **kwargs):
    return BertBudget.from_preset(family, load_weights=False, **{**SIZE, **kwargs})


def masked_lm(family="tiny_bert", **kwargs):
    preprocessor = BertBudgetMaskedLMPreprocessor(tokenizer(), sequence_length=16, mask_selection_length=4)
    kwargs = {**SIZE, "preprocessor": preprocessor, **kwargs}
    return BertBudgetMaskedLM.from_preset(family, load_weights=False, **kwargs)


def batch(rows=3, length=16, full=True):
    """Token ids without padding (`None` for mask and segments), or with both."""
    rng = np.random.default_rng(0)
    inputs = {"token_ids": rng.integers(5, len(VOCABULARY), (rows, length)).astype("int32")}
    if full:
        return {**inputs, "padding_mask": None, "segment_ids": None}
    mask = (np.arange(length) < rng.integers(length // 2, length, (rows, 1))).astype("int32")
    return {**inputs, "padding_mask": mask, "segment_ids": (np.arange(length) > 4) * mask}


def to_numpy(tensor):
    return ops.convert_to_numpy(ops.cast(tensor, "float32"))
