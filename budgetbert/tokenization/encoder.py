"""Text -> pieces and token ids, by distinct words.

No normaliser joins or splits what white space separates, nor does WordPiece, and most ASCII punctuation marks are
pieces of their own wherever they stand. So text is split at both first, and each distinct word is normalised and
tokenised once: 57 MB of Wikipedia hold 11 million words, of which 200,000 are distinct. The result is the tokenizer's
own, several times as fast.
"""

import collections
import functools
import itertools

import numpy as np
import pyarrow as pa

from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, plain_tokenizer
from budgetbert.tokenization.words import ASCII_SPACES, LONGEST_ENTRY

# They take about 100 MB per process; natural text repeats itself well below this.
CACHED_WORDS = 2**19
CACHED_WORD_CHARACTERS = 64
# Of each byte: whether it is white space (0), part of a word (1) or a word (2). Of the ASCII punctuation marks, < = >
# are part of a word as U+0338 behind them makes another character, ` and ' as two of them are a quotation mark in
# Cramming's normaliser.
_MARKS = b'!"#$%&()*+,-./:;?@[\\]^_{|}~'
_LOWERCASE = bytes(range(256)).lower()
# Stands behind each of the words that are tokenised in one string, which takes a third of the time of one by one. A
# normalised word has a control character only if BERT's normaliser is told to leave them, and then has the other one.
_WORD_END, _OTHER_CONTROL = "\x1f", "\x1e"
_WORDS_IN_A_STRING = 1000


def split_words(texts, lowercase, spaces=ASCII_SPACES):
    """Splits texts at ASCII white space and before and after punctuation marks.

    Args:
        texts: list of str.
        lowercase: bool. Whether ASCII letters become lower case.
        spaces: bytes, the ASCII characters that are white space. Defaults to all six of them.

    Returns:
        Tuple of the distinct words (list of str), the number of each word of the texts among these (int array), and
        where in this array each text starts, and the last one ends (int array [texts + 1]).
    """
    joined = pa.array(texts, pa.large_string())
    bounds = np.frombuffer(joined.buffers()[1], np.int64, len(texts) + 1)
    data = bytes(joined.buffers()[2] or b"")[: bounds[-1]]
    kinds = np.frombuffer(data.translate(_kinds(spaces)), np.uint8)
    in_word = kinds == 1
    starts = kinds == 2
    starts[:1] |= in_word[:1]
    starts[1:] |= in_word[1:] & ~in_word[:-1]
    of_texts = bounds[bounds < len(data)]
    starts[of_texts] |= in_word[of_texts]
    data = data.translate(_LOWERCASE if lowercase else None, spaces)
    offsets = np.append(np.flatnonzero(starts[kinds != 0]), len(data))
    words = pa.LargeStringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(data))
    words = words.dictionary_encode()
    counts = np.searchsorted(np.flatnonzero(starts), bounds)
    return words.dictionary.to_pylist(), words.indices.to_numpy(), counts


@functools.cache
def _kinds(spaces):
    return bytes(0 if byte in spaces else 2 if byte in _MARKS else 1 for byte in range(256))


class _WordTable:
    """What a function makes of each word, computed once and kept for as long as there is room.

    There is room for two generations: when the younger one is full it becomes the older, and of that only those words
    survive that occur again.

    Args:
        compute: function of a list of words that returns a list.
    """

    def __init__(self, compute):
        self._compute = compute
        self._younger, self._older = {}, {}

    def of(self, words):
        """Returns a list of what `compute` makes of each of `words`, a list of distinct str."""
        if len(self._younger) > CACHED_WORDS // 2:
            self._younger, self._older = {}, self._younger
        found = list(map(self._younger.get, words))
        missing = [index for index, some in enumerate(found) if some is None]
        unknown = []
        for index in missing:
            found[index] = self._older.get(words[index])
            if found[index] is None:
                unknown.append(index)
        computed = self._compute([words[index] for index in unknown])
        for index, some in zip(unknown, computed, strict=True):
            found[index] = some
        kept = (index for index in missing if len(words[index]) <= CACHED_WORD_CHARACTERS)
        self._younger.update((words[index], found[index]) for index in kept)
        return found


class PieceCounter:
    """Counts the pieces that WordPiece may split further: what white space and punctuation separate.

    Args:
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
    """

    def __init__(self, normalizer):
        self._split = plain_tokenizer(SPECIAL_TOKENS).pre_tokenizer.pre_tokenize_str
        self._normalizer = normalizer
        self._table = _WordTable(lambda words: [self._pieces(normalizer.separated(word)) for word in words])

    def _pieces(self, word):
        pieces = [word] if word.isascii() and word.isalnum() else [piece for piece, _ in self._split(word)]
        # Longer ones and their parts would make entries that TensorFlow Text refuses, or are unknown for their length.
        return [piece for piece in pieces if len(piece) <= LONGEST_ENTRY // 4 or self._fits(piece)]

    def _fits(self, piece):
        return len(piece) <= self._normalizer.longest_word and len(piece.encode()) <= LONGEST_ENTRY

    def __call__(self, texts):
        """Returns a `collections.Counter` of the pieces of `texts`, a list of str."""
        words, numbers, _ = split_words(texts, self._normalizer.lowercase, self._normalizer.ascii_spaces)
        counts = np.bincount(numbers, minlength=len(words)).tolist()
        pieces = collections.Counter()
        for of_word, count in zip(self._table.of(words), counts, strict=True):
            for piece in of_word:
                pieces[piece] += count
        return pieces


class Encoder:
    """Turns text into token ids, without special tokens other than [UNK].

    Args:
        vocabulary: list of str.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
        dtype: the NumPy dtype of the ids.
    """

    def __init__(self, vocabulary, normalizer, dtype):
        self._tokenizer = plain_tokenizer([*vocabulary, _WORD_END], normalizer.longest_word)
        self._word_end_id = len(vocabulary)
        # It would take half of the time, and leaves what was separated as it is.
        self._tokenizer.normalizer = None
        self._normalizer = normalizer
        self._dtype = np.dtype(dtype)
        self._table = _WordTable(self._encode_words)

    def __call__(self, texts):
        """Returns a list of 1-D arrays of ids for `texts`, a list of str."""
        words, numbers, starts = split_words(texts, self._normalizer.lowercase, self._normalizer.ascii_spaces)
        of_words = self._table.of(words)
        ids = np.frombuffer(b"".join(of_words), self._dtype)
        lengths = np.array([len(some) for some in of_words], np.int64) // self._dtype.itemsize
        firsts, taken = (np.cumsum(lengths) - lengths)[numbers], lengths[numbers]
        ends = np.concatenate([[0], np.cumsum(taken)])
        # The place of each id in `ids` is that of its word's first id, plus how many of the word came before it.
        ids = ids[np.repeat(firsts - ends[:-1], taken) + np.arange(ends[-1])]
        return [ids[start:end] for start, end in itertools.pairwise(ends[starts].tolist())]

    def _encode_words(self, words):
        """Returns a list of bytes, the ids of each word in `dtype`."""
        separated = [self._normalizer.separated(word).replace(_WORD_END, _OTHER_CONTROL) for word in words]
        marked = [f"{word} {_WORD_END}" for word in separated]
        starts = range(0, len(marked), _WORDS_IN_A_STRING)
        strings = [" ".join(marked[start : start + _WORDS_IN_A_STRING]) for start in starts]
        encodings = self._tokenizer.encode_batch_fast(strings, add_special_tokens=False)
        ids = np.concatenate([np.zeros(0, np.int64), *(encoding.ids for encoding in encodings)])
        ends = np.flatnonzero(ids == self._word_end_id)
        size, data = self._dtype.itemsize, ids.astype(self._dtype).tobytes()
        bounds = itertools.pairwise([-1, *ends.tolist()])
        return [data[(before + 1) * size : end * size] for before, end in bounds]
