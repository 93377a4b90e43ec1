import itertools

import pytest

from budgetbert.training.loop.feed import Feed

pytestmark = pytest.mark.without_backend


class Rows:
    """Rows whose micro-batches are the numbers of their first row; notes where they are opened."""

    def __init__(self, predictions, opened):
        self._predictions, self._opened = predictions, opened

    def read(self, first_use, count):
        self._opened.append((first_use, self._predictions))
        return itertools.count(first_use, count)


def test_calls_that_follow_one_another_are_read_ahead_and_any_other_opens_the_rows_there():
    opened = []
    feed = Feed(lambda predictions: Rows(predictions, opened), micro_batch_size=4)
    assert feed(0, 2, 19) == [0, 4]
    assert feed(8, 3, 19) == [8, 12, 16]
    assert opened == [(0, 19)]
    assert feed(8, 1, 19) == [8]  # as after a step that was dropped
    assert feed(12, 1, 24) == [12]  # with other predictions
    assert opened == [(0, 19), (8, 19), (12, 24)]
