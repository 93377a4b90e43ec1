"""Texts for a token classifier as rows of token ids, and where in them each word is judged."""

import dataclasses

import keras
import keras_hub
import numpy as np

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.tokenizer import BertBudgetTokenizer

# Rows of a batch are padded to a multiple of 8, so that there are few shapes to compile.
_MULTIPLE = 8


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
        context = room // 4
        stride = room - 2 * context
        windows = np.array([1 + max(0, -(-(len(pieces) - room) // stride)) for pieces in ids], np.int64)
        window = np.clip((places - context) // stride, 0, windows[numbers] - 1)
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
        longest = max((len(row) for row in rows), default=0) + 2
        length = min(self.sequence_length, -(-longest // _MULTIPLE) * _MULTIPLE)
        token_ids = np.full((len(rows), length), self.tokenizer.pad_token_id, np.int32)
        padding_mask = np.zeros((len(rows), length), np.int32)
        for number, row in enumerate(rows):
            packed = [self.tokenizer.cls_token_id, *row, self.tokenizer.sep_token_id]
            token_ids[number, : len(packed)] = packed
            padding_mask[number, : len(packed)] = 1
        return {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": np.zeros_like(token_ids)}

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}
