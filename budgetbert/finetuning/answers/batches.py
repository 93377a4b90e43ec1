"""Questions and contexts to batches of rows, padded to the longest of the batch in multiples of 64."""

import numpy as np

from budgetbert.finetuning.batches import judging_batches
from budgetbert.finetuning.heads import outputs_of
from budgetbert.models import BertBudgetQuestionAnsweringPreprocessor
from budgetbert.models.answer_spans import span_labels, target_columns

# Contexts differ more in length than sentences do: multiples of 8 would be 48 shapes to compile up to 384 tokens.
_MULTIPLE = 64


class EncodedQuestions:
    """The rows of questions and their contexts, several where a context is longer than a row.

    Args:
        questions: list of str.
        contexts: list of str.
        spans: list of `(start, end)` in code points, the answer of each question, or `None` for none.
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int.

    Attributes:
        rows: `AnswerRows`.
        lengths: int array `[rows]`, the tokens of each.
    """

    def __init__(self, questions, contexts, spans, tokenizer, sequence_length):
        preprocessor = BertBudgetQuestionAnsweringPreprocessor(tokenizer, sequence_length)
        self.rows = preprocessor.rows_of(questions, contexts)
        self.lengths = self.rows.lengths
        self._targets = target_columns(self.rows, spans)
        self._pad, self._longest = tokenizer.pad_token_id, sequence_length

    def __len__(self):
        return len(self.lengths)

    def length_of(self, indices):
        """Returns the length (int) to which a batch of these rows is padded."""
        return min(self._longest, _MULTIPLE * -(-int(self.lengths[indices].max()) // _MULTIPLE))

    def batch(self, indices, rows):
        """Returns a batch of `rows` rows (int): those of `indices`, and behind them padding of weight 0.

        Returns:
            Dict of arrays: `token_ids`, `padding_mask` and `segment_ids`, int32 (rows, length); `labels`, int8 (rows,
            length, 2), as `span_cross_entropy` takes them; `weights`, float32 (rows,).
        """
        length, count = self.length_of(indices), len(indices)
        batch = {name: np.zeros((rows, length), np.int32) for name in ("token_ids", "padding_mask", "segment_ids")}
        batch["token_ids"][:] = self._pad
        batch["weights"] = (np.arange(rows) < count).astype(np.float32)
        batch["labels"] = np.zeros((rows, length, 2), np.int8)
        batch["labels"][:count] = span_labels(self.rows, self._targets, length, indices)
        # A row of padding alone would have nothing to attend to.
        batch["padding_mask"][:, 0] = 1
        for place, index in enumerate(indices):
            size = self.lengths[index]
            batch["token_ids"][place, :size] = self.rows.ids[index]
            batch["padding_mask"][place, :size] = 1
            batch["segment_ids"][place, self.rows.columns[index] : size] = 1
        return batch

    def labels(self, length):
        """Returns the labels of all rows (int8 array `[rows, length, 2]`)."""
        return span_labels(self.rows, self._targets, length)


def span_logits(model, encoded, rows=64):
    """Returns what a model makes of all rows (float32 array `[rows, longest row, 2]`).

    Args:
        model: `BertBudgetQuestionAnswering`.
        encoded: `EncodedQuestions`.
        rows: int. Rows at a time. Defaults to 64.
    """
    logits = np.zeros((len(encoded), int(encoded.lengths.max()), 2), np.float32)
    for indices, batch in judging_batches(encoded, rows):
        found = np.asarray(outputs_of(model, batch), np.float32)[: indices.size, : logits.shape[1]]
        logits[indices, : found.shape[1]] = found
    return logits
