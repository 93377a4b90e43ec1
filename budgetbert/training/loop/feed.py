"""The micro-batches that a phase trains on, read ahead."""


class Feed:
    """The micro-batches of a phase, by the number of the row use that each begins with.

    As long as the calls follow one another they are read ahead; a call that begins elsewhere opens the rows there.

    Args:
        rows_of: function of the predictions of a full row that returns the rows so masked: an object whose
            `read(first_use, count)` gives an iterator of micro-batches of `count` rows from a row use on, see
            `Loader`.
        micro_batch_size: int. Rows of each.
    """

    def __init__(self, rows_of, micro_batch_size):
        self.micro_batch_size = micro_batch_size
        self._rows_of = rows_of
        self._next = self._batches = None

    def __call__(self, first_use, count, predictions):
        """Returns a list of `count` micro-batches from row use `first_use` on, with so many predictions per row."""
        if self._next != (first_use, predictions):
            self._batches = self._rows_of(predictions).read(first_use, self.micro_batch_size)
        self._next = (first_use + count * self.micro_batch_size, predictions)
        return [next(self._batches) for _ in range(count)]
