"""BERT's own tokens: text as the tokenizers of published BERT checkpoints read it, in Python and as TensorFlow ops.

In Python this is Hugging Face's `BertNormalizer` and `BertPreTokenizer` themselves. TensorFlow lower-cases and
decomposes by other tables, so its graph looks up what these two make of each character.

Source: Devlin et al. 2019, `tokenization.py` of google-research/bert, as Hugging Face `tokenizers` has it.
"""

import functools
import re
import sys

import numpy as np
from tokenizers import normalizers, pre_tokenizers

from budgetbert.tokenization.characters import RESERVED

# A word of more characters is [UNK].
LONGEST_WORD = 100
ASCII_SPACES = b" \t\n\r"
_PRE_TOKENIZER = pre_tokenizers.BertPreTokenizer()
# In a row of the table: the character itself.
_ITSELF = -1
_NO_CHARACTER = 0xFFFF
_APART = (ord(" "), _ITSELF, ord(" "))
# No UTF-8 can hold them, so `tokenizers` cannot read them; BERT's own code drops them as it does control characters.
_SURROGATES = re.compile("[\ud800-\udfff]")
# Above are Chinese characters, tags, private-use and unassigned ones.
_PUNCTUATION_ENDS = 0x20000


@functools.cache
def berts_normalizer(lowercase, strip_accents, clean_text, handle_chinese_chars):
    """Returns the `tokenizers.normalizers.BertNormalizer` of four bools; the arguments have its own names."""
    return normalizers.BertNormalizer(
        lowercase=lowercase,
        strip_accents=strip_accents,
        clean_text=clean_text,
        handle_chinese_chars=handle_chinese_chars,
    )


def normalize(text, **flags):
    """Normalises a text (str); `flags` as the arguments of `berts_normalizer`."""
    if not text.isascii():
        text = _SURROGATES.sub("", text)
    return berts_normalizer(**flags).normalize_str(text)


def split(text):
    """Splits a normalised text (str) at white space and punctuation, and returns its words, a list of str."""
    return [word for word, _ in _PRE_TOKENIZER.pre_tokenize_str(text)]


def separate_in_graph(strings, **flags):
    """Normalises strings and puts spaces around each word, as TensorFlow ops.

    The characters of `characters.RESERVED` are words of their own, with which special tokens can be marked. Spacing
    marks that BERT keeps stay in the order in which they are written.

    Args:
        strings: UTF-8 string tensor of any shape.
        **flags: as the arguments of `berts_normalizer`.

    Returns:
        String tensor of the same shape.
    """
    import tensorflow as tf

    starts, rows = _table(**flags)
    written = tf.strings.unicode_decode(tf.reshape(strings, [-1]), "UTF-8")
    characters = written.flat_values
    places = tf.searchsorted(tf.constant(starts), characters, side="right") - 1
    read = tf.gather(tf.ragged.constant(rows, row_splits_dtype=tf.int64), places)
    values = tf.where(read.values == _ITSELF, tf.gather(characters, read.value_rowids()), read.values)
    read = tf.RaggedTensor.from_row_splits(values, tf.gather(read.row_splits, written.row_splits), validate=False)
    return tf.reshape(tf.strings.unicode_encode(read, "UTF-8"), tf.shape(strings))


@functools.cache
def _table(**flags):
    """What becomes of each code point.

    Returns:
        Tuple of the first code points of ranges (int32 array) that cover all of Unicode, and a list for each of the
        code points (int) that stand for one of it, with spaces around it where it is a word of its own.
    """
    # "|" keeps the characters apart: nothing becomes part of it.
    points = [chr(number) for number in range(sys.maxunicode + 1) if not 0xD800 <= number <= 0xDFFF and number != 0x7C]
    normalized = berts_normalizer(**flags).normalize_str("|".join(points)).split("|")
    apart, spaces = _punctuation_and_spaces(set("".join(normalized)))
    read = {
        ord(point): _row(point, text, apart, spaces)
        for point, text in zip(points, normalized, strict=True)
        if text != point or point in apart or point in spaces
    }
    # TensorFlow Text crashes on some control characters. No vocabulary has them, so the word is unknown all the same.
    read = dict.fromkeys(range(0x20), (_NO_CHARACTER,)) | read
    read |= dict.fromkeys([0x7C, *range(ord(RESERVED[0]), ord(RESERVED[-1]) + 1)], _APART)
    starts, rows = [0], [read.get(0, (_ITSELF,))]
    for number in sorted({*read, *(number + 1 for number in read)}):
        row = read.get(number, (_ITSELF,))
        if row != rows[-1]:
            starts.append(number)
            rows.append(row)
    return np.array(starts, np.int32), list(map(list, rows))


def _punctuation_and_spaces(characters):
    """Returns which of the characters (set of str) `BertPreTokenizer` takes for words of their own, and for none."""
    asked = sorted(character for character in characters if ord(character) < _PUNCTUATION_ENDS and character != "x")
    words = split("x".join(["", *asked, ""]))
    apart = {word for word in words if len(word) == 1 and word != "x"}
    return apart, set(asked).difference("".join(words))


def _row(point, normalized, apart, spaces):
    """Returns the row of the table (tuple of int) for a character and what the normaliser makes of it."""
    row = []
    for character in normalized:
        number = _ITSELF if character == point else ord(character)
        if character in spaces:
            row.append(ord(" "))
        else:
            row += [ord(" "), number, ord(" ")] if character in apart else [number]
    return tuple(row)
