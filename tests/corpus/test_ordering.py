import collections
import math

import numpy as np
import pytest
from tokenizers import pre_tokenizers

from budgetbert.corpus import ordering
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *(f"word{index}" for index in range(44))]
STOP = 5


def make_rows(padded=False, number=200):
    """Rows with few distinct keys, so that many are equal."""
    generator = np.random.default_rng(0)
    rows = np.minimum(generator.geometric(0.2, (number, 16)) + 4, 49).astype(np.uint16)
    if padded:
        rows[np.arange(16) >= generator.integers(4, 17, (number, 1))] = 0
    return rows


@pytest.mark.parametrize("padded", [False, True])
def test_frequent_rows_come_first(padded):
    rows = make_rows(padded)
    tokens = [[int(token) for token in row if token] for row in rows]
    counts = collections.Counter(token for row in tokens for token in row)

    def mean_log_probability(row):
        return sum(math.log((counts[token] + 1) / (counts.total() + len(VOCABULARY))) for token in row) / len(row)

    keys = ordering.row_keys("frequent_first", VOCABULARY, np.bincount(rows.ravel(), minlength=50))(rows)
    np.testing.assert_allclose(-keys / 2**20, list(map(mean_log_probability, tokens)), atol=1e-6)


def test_rows_with_many_stops_come_first():
    rows = make_rows()
    assert np.any((rows[:, 1:] == STOP) & (rows[:, :-1] == STOP))
    keys = ordering.row_keys("short_sentences_first", VOCABULARY, None)(rows)
    # To the original's pre-tokenizer a run of marks is one piece, and "..." is not ".".
    split = pre_tokenizers.Whitespace().pre_tokenize_str
    for row, key in zip(rows, -keys, strict=True):
        text = "".join("." if token == STOP else f" {VOCABULARY[token].strip('[]')} " for token in row)
        assert key == [piece for piece, _ in split(text)].count(".")


def write_runs(directory, keys, sizes):
    """The sorted keys of shards of these sizes, as `WriteKeys` leaves them."""
    runs, first = [], 0
    for number, size in enumerate(sizes):
        some = keys[first : first + size]
        places = np.argsort(some, kind="stable")
        paths = directory / f"keys{number}.npy", directory / f"rows{number}.npy"
        np.save(paths[0], some[places])
        np.save(paths[1], places.astype(np.uint32))
        runs.append((*paths, first))
        first += size
    return runs


@pytest.mark.parametrize("distinct", [1, 5, 10**6])
def test_the_order_is_that_of_a_stable_sort_whatever_fits_into_memory(tmp_path, distinct):
    keys = -np.random.default_rng(0).integers(0, distinct, 1000).astype(np.float64) / 7
    runs = write_runs(tmp_path, keys, (400, 1, 599))
    for rows_at_once, sampled in ((1, 1), (10, 1), (100, 7), (100, 200), (2**22, 2**10)):
        ordering.write_order(tmp_path / "order.npy", runs, 1000, rows_at_once, sampled)
        found = np.load(tmp_path / "order.npy")
        assert found.dtype == np.uint32
        np.testing.assert_array_equal(found, np.argsort(keys, kind="stable"))
    left = {path.name for path in tmp_path.iterdir()} - {path.name for keys, rows, _ in runs for path in (keys, rows)}
    assert left == {"order.npy"}


def test_without_a_stop_rows_cannot_be_sorted_by_stops():
    with pytest.raises(InputError, match=r"none of the full stops \. "):
        ordering.check("short_sentences_first", [*VOCABULARY[:5], "word"])
    ordering.check("frequent_first", [*VOCABULARY[:5], "word"])


def test_full_stops_of_any_script_are_counted():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "。", "।", "a", "."]
    keys = ordering.row_keys("short_sentences_first", vocabulary, np.ones(9, np.int64))
    assert keys(np.array([[5, 7, 6, 7, 8], [7, 7, 5, 0, 0], [7, 7, 8, 8, 7]])).tolist() == [-3, -1, 0]
    ordering.check("short_sentences_first", vocabulary[:7])
