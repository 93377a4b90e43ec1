"""Texts for a token classifier as rows of token ids, and where in them each word is judged."""

import dataclasses

import keras
import keras_hub
import numpy as np

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.models.windows import count_windows, pack, stride_of, window_of


@dataclasses.dataclass(frozen=True)
class TaggingRows:
    """Texts as rows: one row a text, or several that overlap where it is longer than a row.

    Each word is judged by its first piece, in the row in which that piece has most around it on both sides.

    Args:
        inputs: dict of int32 arrays `[rows, length]`: `token_ids`, `padding_mask`, `segment_ids`.
        texts: int array `[words]`, the text of each judged word. Words of which the tokenizer keeps nothing are none.
        words: int array `[words]`, its number in the text.
        rows: int array `[words]`, the row in which it is judged.
        columns: int array `[words]`, its first piece's place in the row.
        starts: int array `[words]`, where it starts in a text that was given as one string, in code points; else 0.
        ends: int array `[words]`, where it ends.
        counts: int array `[texts]`, the words of each text.
    """

    inputs: dict
    texts: np.ndarray
    words: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    counts: np.ndarray


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTokenClassifierPreprocessor(keras_hub.models.Preprocessor):
    """Tokenizes strings, or lists of words, and packs them to `[CLS] text [SEP]`.

    A text that is longer than a row becomes several rows that overlap by half a row at most, so that no word is lost.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Tokens per row, special tokens included. Defaults to `128`.
        **kwargs: as `keras_hub.models.Preprocessor`.

    Returns:
        Dict of int32 arrays `[rows, length]`: `token_ids`, `padding_mask` and `segment_ids`; the length is that of the
        longest row, rounded up to a multiple of 8.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old"])
    preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer, sequence_length=8)
    x = preprocessor([["Paris", "is", "old"]])
    ```
    """

    backbone_cls = BertBudget
    tokenizer_cls = BertBudgetTokenizer

    def __init__(self, tokenizer, sequence_length=128, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length

    def call(self, x):
        return self.rows_of(x).inputs

    def rows_of(self, texts):
        """Returns the `TaggingRows` of texts: a list of str, or of lists of str, the words."""
        ids, found, counts = [], [], []
        for number, text in enumerate(texts):
            pieces, firsts, spans, count = self._pieces(text)
            ids.append(pieces)
            counts.append(count)
            found += [(number, *first, *span) for first, span in zip(firsts, spans, strict=True)]
        numbers, words, places, starts, ends = np.array(found, np.int64).reshape(-1, 5).T
        room = self.sequence_length - 2
        stride = stride_of(room)
        windows = count_windows([len(pieces) for pieces in ids], room)
        window = window_of(places, room, windows[numbers])
        first_row = np.cumsum(windows) - windows
        return TaggingRows(
            inputs=self._packed(
                [
                    pieces[start * stride : start * stride + room]
                    for pieces, count in zip(ids, windows, strict=True)
                    for start in range(count)
                ]
            ),
            texts=numbers,
            words=words,
            rows=first_row[numbers] + window,
            columns=places - window * stride + 1,
            starts=starts,
            ends=ends,
            counts=np.array(counts, np.int64),
        )

    def _pieces(self, text):
        """Returns ids of pieces, (word, place of its first piece) and span of each word with any, and all its words."""
        if isinstance(text, (str, bytes)):
            text = text.decode(errors="replace") if isinstance(text, bytes) else text
            pieces = self.tokenizer.tokenize_with_offsets(text)
            numbers, firsts = np.unique(pieces.words, return_index=True)
            # A text without pieces has no words.
            lasts = np.append(firsts[1:], len(pieces.words))[: len(firsts)] - 1
            spans = zip(pieces.starts[firsts], pieces.ends[lasts], strict=True)
            return pieces.ids, list(zip(numbers, firsts, strict=True)), list(spans), len(numbers)
        parts = [self.tokenizer.tokenize_with_offsets(str(word)).ids for word in text]
        places = np.cumsum([0, *map(len, parts)])
        firsts = [(number, places[number]) for number, part in enumerate(parts) if len(part)]
        return np.concatenate([np.zeros(0, np.int32), *parts]), firsts, [(0, 0)] * len(firsts), len(parts)

    def _packed(self, rows):
        start, end = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return pack(self.tokenizer, [[start, *row, end] for row in rows], length=self.sequence_length)

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}
