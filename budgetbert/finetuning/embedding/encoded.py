"""Pairs, triplets and plain texts as batches of token ids."""

import functools

import numpy as np

from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.heads import outputs_of
from budgetbert.models.contrastive import CONTRAST_COLUMNS, PADDING, SCORE_COLUMNS, contrast_labels, score_labels


class EncodedTexts:
    """The token ids of examples of one or several texts, each `[CLS] text [SEP]` in a row of its own.

    Args:
        examples: `Examples`; of a single column each text is read twice in training.
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Longer texts are cut to it.
    """

    def __init__(self, examples, tokenizer, sequence_length):
        self._examples, self._tokenizer, self._sequence_length = examples, tokenizer, sequence_length
        columns = [self._encoded(column) for column in examples.texts]
        self._columns = columns * 2 if len(columns) == 1 else columns
        self._texts = examples.texts * 2 if len(columns) == 1 else examples.texts
        self.lengths = np.max([column.lengths for column in columns], axis=0)
        self.labels = examples.labels

    def __len__(self):
        return len(self._examples)

    def _encoded(self, texts):
        return EncodedExamples(Examples((texts,), None, ()), self._tokenizer, self._sequence_length)

    @functools.cached_property
    def places(self):
        """dict of each text to its place among `unique`."""
        return {text: place for place, text in enumerate(dict.fromkeys(t for c in self._examples.texts for t in c))}

    @functools.cached_property
    def unique(self):
        """`EncodedExamples` of each text once."""
        return self._encoded(list(self.places))

    def length_of(self, indices):
        """Returns the length (int) to which a batch of these examples is padded."""
        return max(column.length_of(indices) for column in self._columns)

    def batch(self, indices, rows):
        """Returns a batch of `rows` examples (int), those of `indices` and padding, one row behind the other.

        Returns:
            Dict of arrays: `token_ids` and `padding_mask`, int32 (rows * texts, length); `labels` as
            `contrast_labels` or `score_labels` make them, (rows * texts, columns); `weights`, float32 (rows * texts,),
            1 at the first text of an example.
        """
        parts = [column.batch(indices, rows) for column in self._columns]
        length, used = max(part["token_ids"].shape[1] for part in parts), len(indices)
        empty = {"token_ids": self._tokenizer.pad_token_id, "padding_mask": 0}
        batch = {
            name: np.stack([_widened(part[name], length, value) for part in parts], axis=1).reshape(-1, length)
            for name, value in empty.items()
        }
        if self.labels is None:
            labels = np.full((rows, len(parts), CONTRAST_COLUMNS), PADDING, np.int32)
            labels[:used] = contrast_labels([[column[i] for i in indices] for column in self._texts])
        else:
            labels = np.full((rows, len(parts), SCORE_COLUMNS), PADDING, np.float32)
            labels[:used] = score_labels(self.labels[indices])
        weights = np.zeros((rows, len(parts)), np.float32)
        weights[:used, 0] = 1.0
        return {**batch, "labels": labels.reshape(-1, labels.shape[-1]), "weights": weights.reshape(-1)}


def _widened(array, length, value):
    return np.pad(array, ((0, 0), (0, length - array.shape[1])), constant_values=value)


def vectors_of(model, encoded, batch_size=64):
    """Returns what a `BertBudgetTextEmbedder` makes of `EncodedExamples`, float32 array (texts, width)."""
    vectors = np.empty((len(encoded), model.backbone.hidden_dim), np.float32)
    for indices, batch in judging_batches(encoded, batch_size):
        vectors[indices] = outputs_of(model, batch)[: indices.size]
    return np.nan_to_num(vectors)
