import itertools

import numpy as np
import pytest

from budgetbert.training.loop.feed import Feed

pytestmark = pytest.mark.without_backend


class Rows:
    """Rows whose micro-batches hold the number of their first row; notes where they are opened.

    From row 40 on they are 8 tokens long, before 16.
    """

    def __init__(self, predictions, opened):
        self._predictions, self._opened = predictions, opened

    def read(self, first_use, count):
        self._opened.append((first_use, self._predictions))
        for first in itertools.count(first_use, count):
            yield {"token_ids": np.full((count, 16 if first < 40 else 8), first)}


def taken(feed, *arguments):
    return [int(batch["token_ids"][0, 0]) for batch in feed(*arguments)]


def test_calls_that_follow_one_another_are_read_ahead_and_any_other_opens_the_rows_there():
    opened = []
    feed = Feed(lambda predictions: Rows(predictions, opened), micro_batch_size=4)
    assert taken(feed, 0, 2, 19) == [0, 4]
    assert taken(feed, 8, 3, 19) == [8, 12, 16]
    assert opened == [(0, 19)]
    assert taken(feed, 8, 1, 19) == [8]  # as after a step that was dropped
    assert taken(feed, 12, 1, 24) == [12]  # with other predictions
    assert opened == [(0, 19), (8, 19), (12, 24)]


def test_a_call_gives_rows_of_one_length_and_the_next_goes_on_behind_them():
    opened = []
    feed = Feed(lambda predictions: Rows(predictions, opened), micro_batch_size=4)
    assert taken(feed, 28, 8, 19) == [28, 32, 36]
    assert taken(feed, 40, 5, 19) == [40, 44, 48, 52, 56]
    assert taken(feed, 32, 4, 19) == [32, 36]
    assert taken(feed, 32, 4, 19) == [32, 36]  # The step was dropped between its two lengths.
    assert opened == [(28, 19), (32, 19), (32, 19)]
