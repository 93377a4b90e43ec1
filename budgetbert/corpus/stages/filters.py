"""Filters: pure predicates of a document that say whether it is kept; and how much of it a normaliser deletes."""

import functools
import re
import unicodedata

import numpy as np

from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.stages import parts, vocabulary
from budgetbert.errors import InputError
from budgetbert.tokenization import characters
from budgetbert.tokenization.encoder import Encoder

# The vocabulary of `compressible` decides nothing but a ratio: so much text is enough. The size is for a corpus to
# which a vocabulary is given.
_VOCABULARY_CHARACTERS, _ENTRIES = 2**26, 32_768

# The start of a document tells its language; more costs time (3 MB/s) and gains nothing.
_CHARACTERS_FOR_LANGUAGE = 1000
_NOT_ASCII = re.compile(f"[^\x00-\x7f{characters.SPACES}{characters.ACCENTS}]")
_DROPPED = re.compile(f"[{characters.DROPPED}{characters.RESERVED}]")
_DROPPED_AND_ACCENTS = re.compile(f"[{characters.DROPPED}{characters.RESERVED}{characters.ACCENTS}]")
# The first bytes in UTF-8 of all characters from U+0300 on, and the share of such characters that is looked at.
_FIRST_BYTES, _FEW = bytes(range(0xCC, 0xF5)), 0.02


def long_enough(text, minimum_characters):
    """Whether a document has at least `minimum_characters` (int) characters, white space at its ends not counted."""
    return len(text.strip()) >= minimum_characters


def in_language(text, language):
    """Whether the first 1,000 characters of a document are most probably in a language.

    Args:
        text: str.
        language: str, the code of ISO 639-1, such as "en": one of the 97 that `py3langid` knows.

    Raises:
        InputError: if the code is unknown, or `py3langid` is not installed.
    """
    classify, languages = _language_model()
    if language not in languages:
        raise InputError(f"the language {language!r} is unknown: give one of {', '.join(sorted(languages))}.")
    return classify(text[:_CHARACTERS_FOR_LANGUAGE])[0] == language


def compressible(characters, tokens, t):
    """Whether a document is cut into few enough tokens: fewer than t per character.

    Text unlike the rest (tables, code, other languages, noise) is cut into more. The tokens are those of a vocabulary
    trained on the unfiltered text.

    Args:
        characters: int. Of the document.
        tokens: int. Of the document.
        t: float. Geiping & Goldstein write 0.3; their published configurations say 0.25.

    Source: Geiping & Goldstein 2022, section 4.4.
    """
    return tokens < t * characters


@functools.cache
def _language_model():
    try:
        import py3langid
    except ImportError as error:
        raise InputError(
            "the language filter needs py3langid, which is not installed: pip install 'budgetbert[language]'."
        ) from error
    return py3langid.classify, frozenset(language for language, _ in py3langid.rank("text"))


def deleted_by_cramming(text, strip_accents):
    """The number of characters (int) of a document that the normaliser `cramming` deletes, accents not counted.

    Args:
        text: str.
        strip_accents: bool. Of the normaliser: whether é is left as e.
    """
    if text.isascii():
        return 0
    return len(_NOT_ASCII.findall(unicodedata.normalize("NFD" if strip_accents else "NFKC", text)))


def deleted_by_bert(text, strip_accents):
    """The number of characters (int) of a document in NFC that the normaliser `bert` deletes.

    They are taken for none in a document with few characters from U+0300 on, where most of them stand: they are counted
    by the first byte of each, in a hundredth of the time.

    Args:
        text: str.
        strip_accents: bool. Of the normaliser.
    """
    if text.isascii():
        return 0
    data = text.encode()
    if len(data) - len(data.translate(None, _FIRST_BYTES)) < _FEW * len(text):
        return 0
    return len(_DROPPED_AND_ACCENTS.findall(text) if strip_accents else _DROPPED.findall(text))


def without_incompressible(documents, options, staging):
    """Finds documents that `compressible` does not keep, by a vocabulary of the unfiltered text.

    Args:
        documents: `parts.Documents`.
        options: `Options`.
        staging: `Staging`.

    Returns:
        bool array over all documents, false also for those.
    """
    size, normalizer = options.vocabulary_size or _ENTRIES, options.make_normalizer()
    entries = vocabulary.train("filter", size, _VOCABULARY_CHARACTERS, documents, normalizer, staging)
    arguments = (normalizer, entries, options.filter_threshold)
    folder = staging.each("Filtering", "compressible", FilterCompressible, arguments, documents)
    return np.concatenate([np.load(folder / f"{index:06d}.npy") for (index,) in documents.singles()])


class FilterCompressible:
    """Writes which of the documents of a part that are kept pass the compressibility filter.

    Args:
        documents: `parts.Documents`.
        folder: `Path`, for what is written.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
        entries: list of str, the vocabulary.
        t: float, see `compressible`.

    A task is a list of the number of one part.
    """

    def __init__(self, documents, folder, normalizer, entries, t):
        self._documents, self._folder, self._t = documents, folder, t
        self._encode = Encoder(entries, normalizer, token_dtype(len(entries)))

    def __call__(self, group):
        (index,) = group
        selected, passed = self._documents.selected(index), []
        texts = self._documents.texts(index, selected)
        for batch in parts.batches(texts):
            encoded = self._encode(texts[batch])
            passed += [
                compressible(len(text), len(ids), self._t) for text, ids in zip(texts[batch], encoded, strict=True)
            ]
        selected[selected] = passed
        parts.write_array(self._folder / f"{index:06d}.npy", selected)
        parts.write_json(parts.record_path(self._folder, index), {})
