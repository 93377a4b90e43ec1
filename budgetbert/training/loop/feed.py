"""The micro-batches that a phase trains on, read ahead."""


class Feed:
    """The micro-batches of a phase, by the number of the row use that each begins with.

    As long as the calls follow one another they are read ahead; a call that begins elsewhere opens the rows there.
    Those of a call have one shape, so that they can be stacked.

    Args:
        rows_of: function of the predictions of a full row that returns the rows so masked: an object whose
            `read(first_use, count)` gives an iterator of micro-batches of `count` rows from a row use on, see
            `Loader`.
        micro_batch_size: int. Rows of each.
    """

    def __init__(self, rows_of, micro_batch_size):
        self.micro_batch_size = micro_batch_size
        self._rows_of = rows_of
        self._next = self._batches = self._ahead = None

    def __call__(self, first_use, count, predictions):
        """Returns a list of micro-batches of one shape from row use `first_use` on, with so many predictions per row.

        Args:
            first_use: int.
            count: int. How many at most; there are fewer where the next one has another shape.
            predictions: int.
        """
        if self._next != (first_use, predictions):
            self._batches, self._ahead = self._rows_of(predictions).read(first_use, self.micro_batch_size), None
        taken = []
        while len(taken) < count:
            batch, self._ahead = next(self._batches) if self._ahead is None else self._ahead, None
            if taken and shape_of(batch) != shape_of(taken[0]):
                self._ahead = batch
                break
            taken.append(batch)
        self._next = (first_use + len(taken) * self.micro_batch_size, predictions)
        return taken


def shape_of(batch):
    """Returns the shape of the rows of a micro-batch, and of their predictions."""
    return [array.shape for array in batch.values()]
