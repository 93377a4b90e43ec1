"""Where a word ends, decided here for all tokenizers.

Each of them splits normalised text at white space, punctuation and Chinese characters, by tables of its own, and takes
what is too long for [UNK]. So spaces are put around what is a piece of its own, and into what is too long, before any
of them sees the text. White space separates pieces and is no token, so nothing else changes.
"""

import re

from tokenizers import Regex, pre_tokenizers

from budgetbert.tokenization import characters

# The most characters that stand together: of those from U+0800 on, which have three bytes or four, and of any. That is
# what KerasHub takes for a word: 100 bytes. Marks that follow stay with their base.
WIDE_CHARACTERS, CHARACTERS = 33, 100
ASCII_SPACES = b" \t\n\v\f\r"
# More bytes than any piece has.
LONGEST_PIECE = 1000
# The most bytes of an entry of TensorFlow Text's vocabulary.
LONGEST_ENTRY = 256

_APART = characters.PUNCTUATION + characters.HAN
# Chinese characters and punctuation have spaces around them by then. Private-use characters are no part of a text.
_WIDE = "\u0800-\ud7ff\uf900-\U000effff"
_LETTERS = "0-9A-Za-z\x80-\u07ff" + _WIDE


def _long(as_set):
    wide, letters, marks = map(as_set, (_WIDE, _LETTERS, characters.MARKS))
    return f"{wide}{{{WIDE_CHARACTERS}}}{marks}*|{letters}{{{CHARACTERS}}}{marks}*"


_APART_PYTHON = re.compile(f"[{_APART}]+")
_STRETCH_PYTHON = re.compile(f"[{_LETTERS}]{{{WIDE_CHARACTERS + 1},}}")
_LONG_PYTHON = re.compile(_long("[{}]".format))
_APART_RE2, _LONG_RE2 = characters.re2(_APART), _long(characters.re2)


def separate(text):
    """Puts spaces around Chinese characters and punctuation beyond ASCII, and into stretches without any.

    Args:
        text: str, normalised.

    Returns:
        str. None of its words has more than `LONGEST_PIECE` bytes.

    Example:

    >>> separate("去“北京”")
    ' 去 “ 北 京 ” '
    >>> len(separate("a" * 300).split())
    3
    """
    if not text.isascii():
        text = _APART_PYTHON.sub(lambda match: f" {' '.join(match[0])} ", text)
    if len(text) > WIDE_CHARACTERS:
        text = _STRETCH_PYTHON.sub(lambda match: _LONG_PYTHON.sub(r"\g<0> ", match[0]), text)
    return text


def separate_in_graph(strings):
    """The same as TensorFlow ops, but for the number of spaces.

    Args:
        strings: UTF-8 string tensor of any shape.

    Returns:
        String tensor of the same shape.
    """
    import tensorflow as tf

    strings = tf.strings.regex_replace(strings, _APART_RE2, r" \0 ")
    return tf.strings.regex_replace(strings, _LONG_RE2, r"\0 ")


def pre_tokenizer():
    """The same as a `tokenizers.pre_tokenizers.PreTokenizer`, which also splits at white space and punctuation."""
    # A second step for what is apart would take twice as long, so it is taken out of the sets of letters instead.
    long = _long(lambda letters: f"[{characters.re2(letters)[1:-1]}&&[^{_APART_RE2[1:]}]")
    split = pre_tokenizers.Split(Regex(f"{_APART_RE2}|{long}"), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.BertPreTokenizer()])


def split(text, special_tokens):
    """Cuts text that has been normalised and separated into words, as WordPiece takes them.

    Args:
        text: str, of `separate`.
        special_tokens: list of str that are words as they stand.

    Returns:
        List of str without spaces.

    Example:

    >>> split("don't [MASK].", ["[MASK]"])
    ['don', "'", 't', '[MASK]', '.']
    """
    return re.sub(_apart(special_tokens), r" \g<0> ", text).split()


def split_in_graph(strings, special_tokens):
    """The same as TensorFlow ops.

    Args:
        strings: string tensor `[batch]`, of `separate_in_graph`.
        special_tokens: as for `split`.

    Returns:
        Ragged string tensor `[batch, (words)]`.
    """
    import tensorflow as tf

    return tf.strings.split(tf.strings.regex_replace(strings, _apart(special_tokens), r" \0 "))


def _apart(special_tokens):
    return "|".join([*map(re.escape, special_tokens), r"[!-/:-@\[-`{-~]"])
