"""Rows of a step in the order of their lengths, so that a micro-batch is computed at the length that its rows need."""

import functools

import numpy as np

from budgetbert.batches.loader import read_ahead

_ROWS = 4096  # So many are read at a time for their lengths.
# What has a column for each token of a row, and what one for each prediction.
_BY_TOKEN, _BY_PREDICTION = ("token_ids", "padding_mask", "segment_ids"), ("mask_positions", "labels", "weights")


class LengthBins:
    """The micro-batches of a `Loader`, cut to the bin of their longest row.

    The rows of an optimizer step are those that the loader gives it, with the same masks, so that the sums of its
    losses and of its predictions are the same to rounding. Within the step the longest come first, by bins: the order
    stays a pure function of the seed and of the position, and any micro-batch can be asked for.

    Args:
        loader: `Loader`.
        batch_size: int. Rows of a step. Every step begins at a multiple of it.
        width: int. Of a bin: the lengths are multiples of it, and that of a full row.
    """

    def __init__(self, loader, batch_size, width):
        self._loader, self._batch_size, self._width = loader, batch_size, width
        # A step's order is needed for each of its micro-batches, and the reader is at most a few steps ahead.
        self._sorted = functools.lru_cache(4)(self._sort)

    def micro_batch(self, first_use, count):
        """Returns the masked rows at places `first_use` to `first_use + count - 1`, all of them in one step.

        Returns:
            As `Loader.micro_batch`, the arrays as wide as the bin of the longest of all `count` rows, whichever of them
            this process reads.
        """
        step, place = divmod(first_use, self._batch_size)
        uses, lengths = self._sorted(step)
        share = self._loader.share_of(count)
        batch = self._loader.batch_of(uses[place + share.start : place + share.stop])
        length = int(lengths[place])
        return cut(batch, length, self._loader.masking.slots_of(length))

    def read(self, first_use, count):
        """Yields micro-batches of `count` rows, as `Loader.read` does."""
        return read_ahead(self.micro_batch, first_use, count)

    def _sort(self, step):
        """Returns the uses of a step's rows, longest first, and the length (int array) that the bin of each has."""
        uses = np.arange(step * self._batch_size, (step + 1) * self._batch_size)
        parts = np.array_split(uses, -(-len(uses) // _ROWS))
        lengths = binned(np.concatenate([self._loader.lengths(part) for part in parts]), self._width)
        order = np.argsort(-lengths, kind="stable")
        full = self._loader.sequence_length
        return uses[order], np.minimum(lengths[order], full)


def binned(lengths, width):
    """Returns lengths (integer array) rounded up to multiples of `width`.

    Example:
        >>> binned(np.array([1, 64, 65]), 64).tolist()
        [64, 64, 128]
    """
    return -(-np.maximum(lengths, 1) // width) * width


def cut(batch, length, slots):
    """Cuts a micro-batch to so many tokens and prediction slots, which all of its rows and predictions fit into.

    Args:
        batch: dict of arrays, see `Loader.micro_batch`.
        length, slots: int.
    """
    kept = {name: array[:, :length] for name, array in batch.items() if name in _BY_TOKEN}
    kept |= {name: array[:, :slots] for name, array in batch.items() if name in _BY_PREDICTION}
    # A slot of weight 0 may point behind the end.
    kept["mask_positions"] = np.where(kept["weights"] > 0, kept["mask_positions"], 0)
    return {name: np.ascontiguousarray(kept.get(name, array)) for name, array in batch.items()}


def mean_length(lengths, batch_size, micro_batch_size, width, sequence_length):
    """Returns the tokens (float) at which a row is computed, on average over the steps that a sample of lengths gives.

    Args:
        lengths: integer array, the lengths of rows in an order that says nothing of them.
        batch_size, micro_batch_size: int. Rows of a step and of a micro-batch. A sample that is smaller than a step
            stands for one, in as many micro-batches.
        width: int, of a bin.
        sequence_length: int, of a full row.
    """
    lengths = np.minimum(binned(lengths, width), sequence_length)
    steps = max(1, len(lengths) // batch_size)
    rows = np.sort(lengths[: len(lengths) // steps * steps].reshape(steps, -1), axis=1)[:, ::-1]
    pieces = max(1, min(batch_size // micro_batch_size, rows.shape[1]))
    starts = np.arange(pieces) * rows.shape[1] // pieces
    return float(np.average(rows[:, starts], weights=np.diff([*starts, rows.shape[1]]), axis=1).mean())
