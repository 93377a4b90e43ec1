"""Questions with the texts that answer them as rows of token ids, and where in a text each piece of it is."""

import dataclasses
import functools

import keras
import keras_hub
import numpy as np

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.models.windows import count_windows, pack, stride_of, window_of


@dataclasses.dataclass(frozen=True)
class AnswerRows:
    """Questions and contexts as rows: one row an example, or several that overlap where it is longer than a row.

    Args:
        ids: list of int arrays, the tokens of each row.
        examples: int array `[rows]`, the example of each row, in their order.
        columns: int array `[rows]`, the column of the row's first piece of the context.
        firsts: int array `[rows]`, the place of that piece in the context.
        counts: int array `[rows]`, the pieces of the context that the row holds.
        owned: int array `[rows, 2]`, the places of the first piece, and behind the last, that have most around them in
            this row.
        starts: list of int arrays, where each piece of an example's context starts in it, in code points.
        ends: list of int arrays, where it ends.
        cut: int array `[examples]`, the pieces of the question that found no room.
    """

    ids: list
    examples: np.ndarray
    columns: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray
    owned: np.ndarray
    starts: list
    ends: list
    cut: np.ndarray

    @property
    def lengths(self):
        """int array `[rows]`, the tokens of each row."""
        return np.array([len(row) for row in self.ids])

    @property
    def bounds(self):
        """int array `[examples + 1]`, where the rows of each example begin."""
        return np.searchsorted(self.examples, np.arange(len(self.cut) + 1))


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetQuestionAnsweringPreprocessor(keras_hub.models.Preprocessor):
    """Tokenizes questions and contexts and packs them to `[CLS] question [SEP] context [SEP]`.

    A context that is longer than a row becomes several rows that overlap by half of its room at most, so that an answer
    of up to a quarter of it stands whole in one of them. A question takes half of a row at most; what is longer is cut.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Tokens per row, special tokens included. Defaults to `384`, as for BERT.
        **kwargs: as `keras_hub.models.Preprocessor`.

    Returns:
        Dict of int32 arrays `[rows, length]`: `token_ids`, `padding_mask` and `segment_ids`; the length is that of the
        longest row, rounded up to a multiple of 8.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old", "which"])
    preprocessor = BertBudgetQuestionAnsweringPreprocessor(tokenizer, sequence_length=16)
    x = preprocessor((["Which is old"], ["Paris is old"]))
    ```
    """

    backbone_cls = BertBudget
    tokenizer_cls = BertBudgetTokenizer

    def __init__(self, tokenizer, sequence_length=384, **kwargs):
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.sequence_length = sequence_length

    def call(self, x):
        return self.packed(self.rows_of(*x))

    @property
    def question_length(self):
        """int. The most pieces of a question that a row holds."""
        return (self.sequence_length - 3) // 2

    def packed(self, rows):
        """Returns the inputs (dict of int32 arrays `[rows, length]`) of `AnswerRows`."""
        return pack(self.tokenizer, rows.ids, rows.columns, self.sequence_length)

    def rows_of(self, questions, contexts):
        """Returns the `AnswerRows` of questions and contexts, two lists of str of one length."""
        # Several questions are asked of one context.
        tokenize = functools.cache(self.tokenizer.tokenize_with_offsets)
        start, end = [self.tokenizer.cls_token_id], [self.tokenizer.sep_token_id]
        ids, found, starts, ends, cut = [], [], [], [], []
        for number, (question, context) in enumerate(zip(questions, contexts, strict=True)):
            asked, pieces = tokenize(question).ids, tokenize(context)
            cut.append(max(0, len(asked) - self.question_length))
            asked = asked[: self.question_length]
            starts.append(pieces.starts)
            ends.append(pieces.ends)
            room = self.sequence_length - 3 - len(asked)
            windows = count_windows(len(pieces.ids), room)
            owners = window_of(np.arange(len(pieces.ids)), room, windows)
            owned = np.searchsorted(owners, np.arange(windows + 1))
            for window in range(windows):
                first = window * stride_of(room)
                part = pieces.ids[first : first + room]
                ids.append(np.concatenate([start, asked, end, part, end]).astype(np.int32))
                found.append((number, len(asked) + 2, first, len(part), *owned[window : window + 2]))
        examples, columns, firsts, counts, *owned = np.array(found, np.int64).reshape(-1, 6).T
        return AnswerRows(
            ids, examples, columns, firsts, counts, np.stack(owned, 1), starts, ends, np.array(cut, np.int64)
        )

    def get_config(self):
        return {**super().get_config(), "sequence_length": self.sequence_length}
