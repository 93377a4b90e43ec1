"""Filters: pure predicates of a document that say whether it is kept."""

import functools

from budgetbert.command_line import InputError

# The start of a document tells its language; more costs time (3 MB/s) and gains nothing.
_CHARACTERS_FOR_LANGUAGE = 1000


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
