"""WordPiece tokenizers of Hugging Face, read as a vocabulary and a normaliser of ours.

What a tokenizer's normaliser does is tried on a few texts, since many descriptions do the same.
"""

import itertools
import json
import warnings

from tokenizers import Tokenizer

from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, plain_tokenizer, special_ids, standalone_tokenizer

# Case, accents, white space, punctuation, digits, quotation marks and Chinese characters.
_PROBES = (
    "The Film Is A Masterpiece",
    "Café ÉCLAIR naïve Ångström Zürich",
    "МОСКВА й ё Αθήνα",
    "one  two\tthree\nfour\u00a0five",
    "don't stop-it, (now)! 2 + 2 = 4; $5.00 #1 @x <b> a_b",
    "``so'' it said",
    "東京は",
)
# Rarer ones, on which our normalisers and BERT's differ.
_HARD_PROBES = (
    "Straße ΣΊΣΥΦΟΣ ½ ﬁ ２ µ İ",
    "so\u00adft a\u200bb a\x0bb c\x00d e\ufffdf g\ue000h \U0001f600",
    "\u0301a n\u0303 \u0430\u0306 \u1100\u1161",
    "a" * 101,
)


def read_tokenizer(hf_tokenizer):
    """Reads a fast WordPiece tokenizer of `transformers`.

    Args:
        hf_tokenizer: `transformers.PreTrainedTokenizerFast`.

    Returns:
        Tuple of the vocabulary (list of str) and the `Normalizer` with which the ids are the same. Where there is none,
        and one that differs on rare characters alone, it is that one, with a warning.

    Raises:
        ValueError: if its model, its normaliser, its added tokens or its ids have no equal here.
    """
    backend = getattr(hf_tokenizer, "backend_tokenizer", None)
    described = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    vocabulary = entries_of(backend, described)
    added = sorted(token for token in hf_tokenizer.get_added_vocab() if token not in SPECIAL_TOKENS)
    if added:
        raise ValueError(f"The tokenizer has added tokens ({', '.join(added[:5])}), which are not read here.")
    # Some carry the length to which their model was trained to pad.
    backend = Tokenizer.from_str(backend.to_str())
    backend.no_padding()
    backend.no_truncation()
    ids = special_ids(vocabulary)
    if backend.encode("", "").ids != [ids["[CLS]"], ids["[SEP]"], ids["[SEP]"]]:
        raise ValueError("The tokenizer does not write [CLS] text [SEP] text [SEP], as BERT's does.")
    return vocabulary, equal_normalizer(backend, described)


def entries_of(backend, described, other_names=()):
    """Returns the entries (list of str) of a WordPiece that splits text into words as BERT's does, each at its own id.

    Args:
        backend: `tokenizers.Tokenizer`.
        described: dict, its description.
        other_names: dict of what special tokens may be called to their names here, which they get where all of them are
            entries. Defaults to none.

    Raises:
        ValueError: if it is none, lacks special tokens, or its ids have no equal here.
    """
    model = described["model"]
    if model.get("type") != "WordPiece" or model.get("continuing_subword_prefix") != "##":
        raise ValueError(f"The tokenizer's model ({kind_of(model)}) is not BERT's WordPiece, which alone converts.")
    entries = backend.get_vocab()
    vocabulary = sorted(entries, key=entries.get)
    if [entries[token] for token in vocabulary] != list(range(len(vocabulary))):
        raise ValueError("The ids of the tokenizer have gaps or stand for two tokens.")
    if other_names and entries.keys() >= other_names.keys():
        vocabulary = [other_names.get(token, token) for token in vocabulary]
    if missing := [token for token in SPECIAL_TOKENS if token not in vocabulary]:
        raise ValueError(f"The tokenizer lacks {', '.join(missing)}, which BERT's has.")
    if backend.pre_tokenizer is None:
        raise ValueError("The tokenizer does not split text into words, as BERT's does.")
    return vocabulary


def equal_normalizer(backend, described):
    """Returns the `Normalizer` that makes the same words of the probes as a `tokenizers.Tokenizer`.

    Args:
        backend: `tokenizers.Tokenizer` of a WordPiece.
        described: dict, its description.

    Raises:
        ValueError: if there is none.
    """
    # A word of more characters is unknown to it.
    longest_word = described["model"]["max_input_chars_per_word"]
    checkpoints = [
        Normalizer(lowercase, strip_accents, "checkpoint", clean_text, handle_chinese_chars)
        for handle_chinese_chars, clean_text, lowercase, strip_accents in itertools.product((True, False), repeat=4)
    ]
    ours = [
        Normalizer(lowercase, strip_accents, kind)
        for kind in ("bert", "cramming")
        for lowercase, strip_accents in itertools.product((True, False), repeat=2)
    ]
    probes = (*_PROBES, *_HARD_PROBES)
    found = [_words_of(backend, probe) for probe in probes]
    for normalizer in checkpoints + ours:
        alone = standalone_tokenizer(SPECIAL_TOKENS, normalizer)
        exact = longest_word == normalizer.longest_word and [_words_of(alone, probe) for probe in probes] == found
        if exact:
            return normalizer
    plain = plain_tokenizer(SPECIAL_TOKENS)
    for normalizer in ours:
        if [_words_of(plain, normalizer(probe)) for probe in _PROBES] == found[: len(_PROBES)]:
            warnings.warn(
                f"The tokenizer ({kind_of(described['normalizer'])}, words of {longest_word} characters) "
                "reads rare characters or long words in a way of its own: their ids differ here.",
                stacklevel=4,
            )
            return normalizer
    raise ValueError(
        "The tokenizer normalises or splits text in a way of its own "
        f"({kind_of(described['normalizer'])}), which is neither BERT's nor ours: its ids would differ."
    )


def _words_of(tokenizer, text):
    """Returns the words (list of str) into which a `tokenizers.Tokenizer` splits a text."""
    text = text if tokenizer.normalizer is None else tokenizer.normalizer.normalize_str(text)
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def kind_of(step):
    """Returns what a part of tokenizer.json calls itself, or the parts of a sequence."""
    step = step or {}
    if "normalizers" in step:
        return ", ".join(dict.fromkeys(kind_of(part) for part in step["normalizers"]))
    return str(step.get("type"))
