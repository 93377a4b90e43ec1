"""The ids of a text by each tokenizer, and the code points that they treat differently behind the one normaliser."""

import itertools
import sys

import numpy as np

from budgetbert.tokenization.encoder import Encoder
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, standalone_tokenizer

# Those of ours; `test_checkpoint.py` holds the third kind to the tokenizer that it is taken from.
KINDS = ("bert", "cramming")
NORMALIZERS = [
    Normalizer(lowercase, strip_accents, kind)
    for kind in KINDS
    for lowercase in (True, False)
    for strip_accents in (True, False)
]
_FIRST_OF_MANY = 0x3400  # the start of Han, Hangul and scripts of which `every` takes a part


def code_points(every=1):
    """All code points (list of str) but surrogates, which UTF-8 cannot hold; from U+3400 on every `every`-th."""
    numbers = [*range(1, _FIRST_OF_MANY), *range(_FIRST_OF_MANY, sys.maxunicode + 1, every)]
    return [chr(number) for number in numbers if not 0xD800 <= number <= 0xDFFF]


def encode_with_each(vocabulary, normalizer, texts, in_python=True):
    """The ids of texts by each tokenizer.

    Args:
        vocabulary: list of str.
        normalizer: `Normalizer`.
        texts: list of str.
        in_python: bool. Whether to include KerasHub's in Python, the slowest. Defaults to `True`.

    Returns:
        Dict of name to list of lists of int; the first is that of the corpus.
    """
    import tensorflow as tf

    from budgetbert.models import BertBudgetTokenizer

    encoded = Encoder(vocabulary, normalizer, np.uint32)(texts)
    options = {"lowercase": normalizer.lowercase, "strip_accents": normalizer.strip_accents}
    model = BertBudgetTokenizer(vocabulary, normalizer=normalizer.kind, special_tokens_in_strings=False, **options)
    standalone = standalone_tokenizer(vocabulary, normalizer)
    standalone.encode_special_tokens = True  # [MASK] in a text is text, as in a corpus.
    python = {"KerasHub": [ids.tolist() for ids in map(in_plain_python(model), texts)]} if in_python else {}
    return {
        "corpus": [ids.tolist() for ids in encoded],
        **python,
        "KerasHub in a graph": tf.function(model)(tf.constant(texts)).to_list(),
        "tokenizer.json": [row.ids for row in standalone.encode_batch_fast(texts, add_special_tokens=False)],
    }


def in_plain_python(model):
    """Returns the function of a text that a `BertBudgetTokenizer` is where TensorFlow takes no part, as on JAX."""
    return lambda text: model._tokenize_python(model._normalize(text))


def differing_code_points(normalizer, every=1):
    """Returns a dict of the name of a tokenizer to the code points (set of int) whose ids are not the corpus's."""
    points = code_points(every)
    contexts = [f"ab{point}cd {point} e{point}" for point in points]
    characters = {character for text in contexts for character in normalizer(text) if not character.isspace()}
    vocabulary = [*SPECIAL_TOKENS, *sorted(characters), *(f"##{character}" for character in sorted(characters))]
    found = encode_with_each(vocabulary, normalizer, contexts)
    expected = found.pop("corpus")
    return {
        name: {ord(point) for point, mine, other in zip(points, expected, ids, strict=True) if mine != other}
        for name, ids in found.items()
    }


def spans(numbers):
    """Returns sorted code points as text: "0600-0605 06DD"."""
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ends = ([number for _, number in group] for _, group in groups)
    return " ".join(f"{run[0]:04X}" if len(run) == 1 else f"{run[0]:04X}-{run[-1]:04X}" for run in ends)
