"""Rows in an order that is a pure function of (seed, epoch), as masked micro-batches; any position can be asked for."""

import grain
import numpy as np

from budgetbert.batches.inputs import row_inputs


class Loader:
    """Random access to the masked micro-batches of a corpus.

    The order of the rows is a permutation of its own in each epoch, computed index by index (grain's), so that neither
    memory nor a seek grows with the corpus.

    Args:
        rows: rows of a prepared corpus: `len(rows)`, `rows[indices]` an integer array (count, sequence_length).
        masking: `budgetbert.batches.masking.Masking`.
        seed: int. Of the order.
        shuffle: bool. Whether to permute. Defaults to `True`.
        kind: str. `"packed"`, `"sentences"` or `"pairs"`: which inputs the rows need (see `row_inputs`). Defaults to
            `"packed"`.
        labels: what gives the next-sentence label of each row as `rows` gives the row, or `None` (default).
        order: integer array or `None`. The numbers of the rows in the order of the first epoch; later epochs permute
            it. Defaults to `None`: the first epoch is a permutation, too.
        share: tuple of two int, (i, n): of each micro-batch only the i-th of n equal shares is read, where n processes
            have one each. Defaults to `(0, 1)`.

    Attributes:
        masking: `Masking`.
    """

    def __init__(
        self,
        rows,
        masking,
        seed,
        shuffle=True,
        kind="packed",
        labels=None,
        order=None,
        share=(0, 1),
    ):
        self._rows = rows
        self._sorted = order
        self._kind = kind
        self._labels = labels
        self.masking = masking
        epochs = grain.MapDataset.range(len(rows))
        self._epochs = epochs.shuffle(seed=seed % 2**32) if shuffle else epochs
        self._share, self._shares = share

    def share_of(self, count):
        """Returns which of the `count` rows of a micro-batch are read here, as a `range`."""
        rows = count // self._shares
        return range(self._share * rows, (self._share + 1) * rows)

    def micro_batch(self, first_use, count):
        """Returns the masked rows of uses `first_use` to `first_use + count - 1`, or this process's share of them.

        Uses are counted from the run's start.

        Row use u is row u modulo the corpus's rows of the order of epoch u divided by them.

        Returns:
            Dict of arrays, see `Masking.__call__` and `row_inputs`; with labels also `next_sentence_labels`, int32
            (count,).
        """
        share = self.share_of(count)
        return self.batch_of(range(first_use + share.start, first_use + share.stop))

    def batch_of(self, uses):
        """Returns the masked rows of uses (sequence of int), as `micro_batch` does."""
        indices = self._indices(uses)
        rows = self._rows[indices]
        batch = self.masking.of_uses(rows, uses) | row_inputs(rows, self._kind, self.masking.special_ids)
        if self._labels is not None:
            batch["next_sentence_labels"] = np.asarray(self._labels[indices], np.int32)
        return batch

    def read(self, first_use, count):
        """Yields micro-batches of `count` rows without end, from row use `first_use` on, prepared two threads ahead."""
        return read_ahead(self.micro_batch, first_use, count)

    @property
    def sequence_length(self):
        """int. Tokens of a full row."""
        return self._rows[:1].shape[1]

    def lengths(self, uses):
        """Returns how many tokens the rows of uses (sequence of int) have up to their last that is not [PAD]."""
        is_token = self._rows[self._indices(uses)] != self.masking.special_ids["[PAD]"]
        return is_token.shape[1] - is_token[:, ::-1].argmax(axis=1)

    def _indices(self, uses):
        """Returns the number of the row of each use, an int64 array."""
        if self._sorted is None:
            return np.array([self._epochs[int(use)] for use in uses], np.int64)
        places = [use if use < len(self._rows) else self._epochs[int(use)] for use in uses]
        return self._sorted[np.array(places, np.int64)].astype(np.int64)


def read_ahead(micro_batch, first_use, count):
    """Yields `micro_batch(first_use, count)` and those that follow, without end, prepared two threads ahead."""
    batches = grain.MapDataset.range(0, 2**62).map(lambda i: micro_batch(first_use + i * count, count))
    return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)))


def stack(micro_batches, capacity):
    """Stacks micro-batches along a new leading axis of length `capacity`; places without one are zeros.

    A fixed length lets one compiled function run any number of them.

    Args:
        micro_batches: list of 1 to `capacity` dicts of arrays.
        capacity: int.
    """
    stacked = {name: np.zeros((capacity, *array.shape), array.dtype) for name, array in micro_batches[0].items()}
    for i, batch in enumerate(micro_batches):
        for name, array in batch.items():
            stacked[name][i] = array
    return stacked
