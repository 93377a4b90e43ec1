"""A model's table of tokens for a new vocabulary: the same with new entries, or that of another language.

The encoder stays as it is. The decoder is the table itself, and its bias follows.
"""

import numpy as np
from keras import ops

from budgetbert.errors import InputError
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.loading import check_vocabulary
from budgetbert.models.quantization import check_not_quantized
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.tokenization.extension import old_pieces

# A table has rows in multiples of this, as that of a run.
_MULTIPLE = 64


def extended(model, vocabulary):
    """Makes a model for its own vocabulary with new entries behind the old ones.

    A new row is the mean of those of the pieces into which the old vocabulary splits the entry, and so is its bias: the
    logit of a new word is at first the mean of the logits of its pieces. Old rows stay, so a text without new entries
    has the same hidden states, and its old tokens the same logits.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with a preprocessor.
        vocabulary: list of str, which begins with the model's own.

    Returns:
        A new model of the same class, with the vocabulary in its tokenizer and a table of its size, rounded up to a
        multiple of 64; rows that stand for no entry are the mean of all, with the lowest bias.

    Raises:
        InputError: if the model has no vocabulary, or the given one does not begin with it.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cardio", "##gram"])
    encoder = BertBudget.from_preset("tiny_bert", load_weights=False, vocabulary_size=64)
    model = BertBudgetMaskedLM(encoder, preprocessor=BertBudgetMaskedLMPreprocessor(tokenizer))
    # A corpus that was prepared with --vocabulary_from and --extend_vocabulary has such a `vocabulary`.
    model = extended(model, [*tokenizer.get_vocabulary(), "cardiogram"])
    ```
    """
    check_vocabulary(model)
    old = model.preprocessor.tokenizer.get_vocabulary()
    if vocabulary[: len(old)] != old:
        raise InputError(
            f"The vocabulary of {len(vocabulary):,} entries does not begin with the model's {len(old):,}: prepare the "
            "text with --vocabulary_from and the model, or take transferred() for another language."
        )
    places = {entry: index for index, entry in enumerate(old)}
    pieces = [[places[piece] for piece in old_pieces(entry, places)] for entry in vocabulary[len(old) :]]

    def extend(rows):
        new = [rows[ids].mean(axis=0) for ids in pieces]
        return np.concatenate([rows[: len(old)], np.array(new, rows.dtype).reshape(-1, *rows.shape[1:])])

    return _with_vocabulary(model, vocabulary, extend)


def transferred(model, vocabulary, normalizer=None, seed=0):
    """Makes a model for the vocabulary of another language.

    Rows of entries that both vocabularies have are copied, special tokens, digits, punctuation and names among them.
    The others are drawn from a normal distribution with the mean and the spread of the old rows in each dimension, so
    that they lie where the encoder expects tokens; their bias is the mean of the old ones, as nothing is known of how
    frequent they are.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with a preprocessor.
        vocabulary: list of str, with all special tokens.
        normalizer: `Normalizer` of the text that the vocabulary is for. Defaults to `None`: the model's.
        seed: int. Of the draws. Defaults to `0`.

    Returns:
        A new model of the same class; its table as of `extended`.

    Source: mean and spread as in Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models", there
    with the full covariance; overlapping tokens as in FOCUS (Dobler & de Melo 2023), which for the others mixes the
    overlapping rows by auxiliary embeddings instead of drawing.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "house", "in"])
    encoder = BertBudget.from_preset("tiny_bert", load_weights=False, vocabulary_size=64)
    model = BertBudgetMaskedLM(encoder, preprocessor=BertBudgetMaskedLMPreprocessor(tokenizer))
    # The `vocabulary` and the `normalizer` of a prepared corpus of the other language.
    german = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Haus", "in"]
    model = transferred(model, german, Normalizer(lowercase=False, strip_accents=False))
    ```
    """
    check_vocabulary(model)
    places = {entry: index for index, entry in enumerate(model.preprocessor.tokenizer.get_vocabulary())}
    shared = np.array([places.get(entry, -1) for entry in vocabulary])

    def transfer(rows):
        old = rows[: len(places)]
        spread = old.std(axis=0) if rows.ndim > 1 else 0.0
        drawn = np.random.default_rng(seed).normal(old.mean(axis=0), spread, (len(vocabulary), *rows.shape[1:]))
        known = shared.reshape(-1, *(1,) * (rows.ndim - 1)) >= 0
        return np.where(known, old[shared], drawn).astype(rows.dtype)

    return _with_vocabulary(model, vocabulary, transfer, normalizer)


def _with_vocabulary(model, vocabulary, change, normalizer=None):
    """Makes the same model for another vocabulary.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier`.
        vocabulary: list of str.
        change: function of the old rows of the table or of the bias (array [old rows, ...]) that returns those of the
            vocabulary.
        normalizer: `Normalizer` of the tokenizer, or `None`: the model's.
    """
    size = -(-len(vocabulary) // _MULTIPLE) * _MULTIPLE
    normalizer = normalizer or model.preprocessor.tokenizer.normalizer
    tokenizer = BertBudgetTokenizer.from_normalizer(vocabulary, normalizer)
    check_not_quantized(model)
    encoder = BertBudget.from_config(model.backbone.get_config() | {"vocabulary_size": size})
    of_preprocessor = model.preprocessor.get_config() | {"tokenizer": tokenizer}
    preprocessor = type(model.preprocessor).from_config(of_preprocessor)
    new = type(model)(**(model.get_config() | {"backbone": encoder, "preprocessor": preprocessor}))
    table = model.backbone.token_embedding.embeddings
    of_rows = [table, *([model.head.bias] if getattr(model, "output_bias", False) else [])]
    of_rows = {variable.path for variable in of_rows}
    for before, after in zip(model.weights, new.weights, strict=True):
        value = ops.convert_to_numpy(before.value)
        after.assign(_padded(change(value), size) if before.path in of_rows else value)
    return new


def _padded(rows, size):
    """Adds rows that stand for no entry: the mean of all, of a bias the lowest."""
    filling = rows.mean(axis=0) if rows.ndim > 1 else rows.min()
    missing = np.broadcast_to(filling, (size - len(rows), *rows.shape[1:]))
    return np.concatenate([rows, missing]).astype(rows.dtype)
