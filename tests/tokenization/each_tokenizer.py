"""The ids of a text by each tokenizer, and the code points that they treat differently behind the one normaliser."""

import itertools
import sys
import unicodedata

import numpy as np

from budgetbert.tokenization import normalizer as normalization
from budgetbert.tokenization.encoder import Encoder
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS

NORMALIZERS = [
    Normalizer(lowercase, strip_accents, kind)
    for kind in normalization.KINDS
    for lowercase in (True, False)
    for strip_accents in (True, False)
]
_FIRST_OF_MANY = 0x3400  # the start of Han, Hangul and scripts of which `every` takes a part


def code_points(every=1):
    """The code points (list of str) that are assigned or for private use, from U+3400 on every `every`-th."""
    numbers = [*range(1, _FIRST_OF_MANY), *range(_FIRST_OF_MANY, sys.maxunicode + 1, every)]
    return [point for point in map(chr, numbers) if unicodedata.category(point) not in ("Cn", "Cs")]


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
    import tensorflow_text as tf_text

    from budgetbert.models import BertBudgetTokenizer

    encoded = Encoder(vocabulary, normalizer, np.uint32)(texts)
    options = {"lowercase": normalizer.lowercase, "strip_accents": normalizer.strip_accents}
    model = BertBudgetTokenizer(vocabulary, normalizer=normalizer.kind, special_tokens_in_strings=False, **options)
    fast = tf_text.FastBertTokenizer(vocabulary, lower_case_nfd_strip_accents=False)
    strings = tf.constant(texts)
    python = {"KerasHub": [[int(token) for token in ids] for ids in model(texts)]} if in_python else {}
    return {
        "corpus": [ids.tolist() for ids in encoded],
        **python,
        "KerasHub in a graph": tf.function(model)(strings).to_list(),
        "TensorFlow Text": fast.tokenize(normalizer.in_graph(strings)).to_list(),
    }


def differing_code_points(normalizer, every=1):
    """Returns the code points (sorted list of int) whose ids are not the same with each tokenizer."""
    points = code_points(every)
    contexts = [f"ab{point}cd {point} e{point}" for point in points]
    characters = {character for text in contexts for character in normalizer(text) if not character.isspace()}
    vocabulary = [*SPECIAL_TOKENS, *sorted(characters), *(f"##{character}" for character in sorted(characters))]
    found = list(encode_with_each(vocabulary, normalizer, contexts).values())
    return [ord(point) for point, *ids in zip(points, *found, strict=True) if any(other != ids[0] for other in ids)]


def spans(numbers):
    """Returns sorted code points as text: "0600-0605 06DD"."""
    groups = itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0])
    ends = ([number for _, number in group] for _, group in groups)
    return " ".join(f"{run[0]:04X}" if len(run) == 1 else f"{run[0]:04X}-{run[-1]:04X}" for run in ends)
