"""Where in a text each piece of it came from, through a normaliser that changes lengths.

Case folding makes two letters of ß, NFKC two of ﬁ and one of a letter with its mark; soft hyphens and accents vanish.
So a text is cut into units that the normaliser treats alike whether they stand alone or together: a character with the
marks behind it, a Korean syllable, a special token. Each unit is normalised by itself, and the bytes that come out of
them, spaces left aside, are those of the words that are cut into pieces.
"""

import re
import typing

import numpy as np

from budgetbert.tokenization import characters

# Korean vowels and final consonants, also of half width and for display: normalising joins them to what is before.
_JOINING_JAMO = (
    "\u1161-\u11ff\u3133\u3135-\u3136\u313a-\u313f\u314f-\u3163\u3167-\u316d\u316f-\u3170\u3182-\u3183\u3187-\u318e"
    "\ud7b0-\ud7fb\uffa3\uffa5-\uffa6\uffaa-\uffaf\uffc2-\uffc7\uffca-\uffcf\uffd2-\uffd7\uffda-\uffdc"
)
# The vowel sign of Kirat Rai (Unicode 16), which composes with the one before it and is no mark.
_JOINING_LETTER = "\U00016d67"
# It stands between units in a graph. In a text it is a control character like its neighbour.
_BETWEEN, _LIKE_BETWEEN = "\x1f", "\x1e"


class Pieces(typing.NamedTuple):
    """The pieces of a text, or of a batch of texts.

    Args:
        ids: their ids.
        starts: where each piece starts in the text as it was given, in code points.
        ends: where it ends: behind its last character with that character's marks. Of a character that becomes several
            pieces, as ½, each of them is the whole character. Dropped characters are part of a piece only inside it.
        words: the number of the word of each piece, from 0 in each text.

    For one text they are int32 arrays `[pieces]`, in a graph ragged int32 tensors `[batch, (pieces)]`.
    """

    ids: object
    starts: object
    ends: object
    words: object


class Aligner:
    """Cuts texts into pieces and says where each of them was.

    Args:
        special_tokens: list of str that stand for themselves where they are written in a text.
        kind: str, the kind of the `Normalizer`. Cramming's makes one character of two back-ticks or apostrophes.
    """

    def __init__(self, special_tokens, kind):
        self._unit_python = re.compile(_units(special_tokens, kind, "[{}]".format))
        self._unit_re2 = _units(special_tokens, kind, characters.re2)
        dropped = _dropped(kind)
        # A unit without what is dropped at its ends.
        self._kept_python = re.compile(f"[^{dropped}](?:.*[^{dropped}])?", re.DOTALL)
        self._dropped_re2 = characters.re2(dropped) + "+"

    def __call__(self, text, split, word_piece):
        """Aligns one text.

        Args:
            text: str.
            split: function of a str that returns its words (list of str), normalised, none of them empty.
            word_piece: function of a word (str) that returns a list of tuples of its pieces' ids and the bytes at which
                they start and end in it.

        Returns:
            `Pieces`.
        """
        found = []
        base = 0
        for number, word in enumerate(split(text)):
            found += [(piece, base + start, base + end, number) for piece, start, end in word_piece(word)]
            base += len(word.encode())
        ids, starts, ends, numbers = np.array(found, np.int32).reshape(-1, 4).T
        bytes_before, unit_starts, unit_ends = self._unit_spans(text, split)
        first = np.searchsorted(bytes_before, starts, side="right")
        last = np.searchsorted(bytes_before, ends - 1, side="right")
        return Pieces(ids, unit_starts[first], unit_ends[last], numbers)

    def _unit_spans(self, text, split):
        """Returns int32 arrays: bytes up to the end of each unit, and where each starts and ends in the text."""
        known = {}
        counts, starts, ends = [], [], []
        for match in self._unit_python.finditer(text):
            unit = match[0]
            if unit not in known:
                kept = self._kept_python.search(unit)
                known[unit] = (len("".join(split(unit)).encode()), *(kept.span() if kept else (0, 0)))
            count, start, end = known[unit]
            counts.append(count)
            starts.append(match.start() + start)
            ends.append(match.start() + end)
        return np.cumsum(counts), np.array(starts, np.int32), np.array(ends, np.int32)

    def in_graph(self, strings, split, word_piece):
        """The same as TensorFlow ops. Code points are those of the strings with U+FFFD for what is not UTF-8.

        Args:
            strings: string tensor `[batch]`.
            split: function of a string tensor `[batch]` that returns the words, ragged `[batch, (words)]`.
            word_piece: function of a ragged string tensor `[batch, (words)]` that returns three ragged tensors
                `[batch, (words), (pieces)]`: ids, and the bytes at which pieces start and end in their word.

        Returns:
            `Pieces`.
        """
        import tensorflow as tf

        strings = tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")
        words = split(strings)
        ids, starts, ends = word_piece(words)
        # Bytes are counted through the whole batch: each text has as many in its words as in its units.
        base = tf.cumsum(tf.strings.length(words.flat_values), exclusive=True)
        base = tf.gather(base, ids.values.value_rowids())
        bytes_before, unit_starts, unit_ends = self._unit_spans_in_graph(strings, split)
        first = tf.searchsorted(bytes_before, base + tf.cast(starts.flat_values, tf.int32), side="right")
        last = tf.searchsorted(bytes_before, base + tf.cast(ends.flat_values, tf.int32) - 1, side="right")
        numbers = tf.gather(tf.ragged.range(words.row_lengths()).flat_values, ids.values.value_rowids())
        pieces = ids.merge_dims(-2, -1)
        return Pieces(
            tf.cast(pieces, tf.int32),
            pieces.with_flat_values(tf.gather(unit_starts, first)),
            pieces.with_flat_values(tf.gather(unit_ends, last)),
            pieces.with_flat_values(tf.cast(numbers, tf.int32)),
        )

    def _unit_spans_in_graph(self, strings, split):
        import tensorflow as tf

        strings = tf.strings.regex_replace(strings, _BETWEEN, _LIKE_BETWEEN)
        ragged = tf.strings.split(tf.strings.regex_replace(strings, self._unit_re2, rf"\0{_BETWEEN}"), _BETWEEN)
        units = ragged.flat_values
        lengths = tf.strings.length(units, "UTF8_CHAR")
        # Most units are one character of ASCII, which is one byte however it is normalised.
        plain = tf.strings.regex_full_match(units, "[!-~]")
        rest = tf.where(~(plain | tf.strings.regex_full_match(units, " ?")))
        others = tf.gather_nd(units, rest)
        words = split(others)
        counts = tf.reduce_sum(words.with_flat_values(tf.strings.length(words.flat_values)), axis=1)
        counts = tf.tensor_scatter_nd_update(tf.cast(plain, tf.int32), rest, counts)
        others_kept = tf.strings.regex_replace(others, f"^{self._dropped_re2}", "")
        leading = tf.gather_nd(lengths, rest) - tf.strings.length(others_kept, "UTF8_CHAR")
        kept = tf.strings.length(tf.strings.regex_replace(others_kept, f"{self._dropped_re2}$", ""), "UTF8_CHAR")
        # In its text a unit starts behind all units before it, less those of the texts before.
        starts = tf.cumsum(lengths, exclusive=True)
        starts -= tf.gather(starts, tf.gather(ragged.row_starts(), ragged.value_rowids()))
        starts = tf.tensor_scatter_nd_add(starts, rest, leading)
        ends = starts + tf.tensor_scatter_nd_update(lengths, rest, kept)
        return tf.cumsum(counts), starts, ends


def _dropped(kind):
    """Returns the set of what a normaliser drops, but for marks; that of checkpoints has no such set."""
    return characters.RESERVED if kind == "checkpoint" else characters.DROPPED + characters.RESERVED


def _units(special_tokens, kind, as_set):
    dropped = _dropped(kind)
    joining = as_set(characters.MARKS + _JOINING_JAMO + _JOINING_LETTER + dropped)
    special = [f"{re.escape(token)}{joining}*" for token in special_tokens]
    pairs = [f"{sign}{as_set(dropped)}*{sign}{joining}*" for sign in "`'"] if kind == "cramming" else []
    # A mark behind a space is a word of its own.
    return "|".join([*special, *pairs, as_set(characters.SPACES), f"(?s:.){joining}*"])
