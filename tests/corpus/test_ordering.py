import collections
import math

import numpy as np
import pytest

from budgetbert.command_line import InputError
from budgetbert.corpus import ordering
from budgetbert.corpus.ordering import sort_shards

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *(f"word{index}" for index in range(44))]
STOP = 5


def write_shards(directory, padded=False, labelled=False, sizes=(70, 1, 129)):
    """Shards of rows with few distinct keys, so that many are equal; each row begins with its number in two tokens."""
    generator = np.random.default_rng(0)
    rows = np.minimum(generator.geometric(0.2, (sum(sizes), 16)) + 4, 49).astype(np.uint16)
    rows[:, 0], rows[:, 1] = 6 + np.arange(len(rows)) // 44, 6 + np.arange(len(rows)) % 44
    if padded:
        rows[np.arange(16) >= generator.integers(4, 17, (len(rows), 1))] = 0
    labels = generator.integers(0, 2, len(rows)).astype(np.uint8)
    shards, start = [], 0
    for index, size in enumerate(sizes):
        paths = directory / f"{index}.npy", directory / f"{index}.labels.npy"
        np.save(paths[0], rows[start : start + size])
        np.save(paths[1], labels[start : start + size])
        shards.append((paths[0], paths[1] if labelled else None))
        start += size
    return shards, rows, labels


def sort(shards, order, directory, **options):
    blocks = []
    directory.mkdir(exist_ok=True)
    sort_shards(shards, order, VOCABULARY, lambda rows, labels: blocks.append((rows, labels)), directory, **options)
    assert not list(directory.iterdir())
    rows = np.concatenate([rows for rows, _ in blocks])
    return rows, [label for _, labels in blocks if labels is not None for label in labels]


@pytest.mark.parametrize("padded", [False, True])
def test_frequent_rows_come_first(tmp_path, padded):
    shards, rows, _ = write_shards(tmp_path, padded)
    tokens = [[int(token) for token in row if token] for row in rows]
    counts = collections.Counter(token for row in tokens for token in row)

    def mean_log_probability(row):
        return sum(math.log((counts[token] + 1) / (counts.total() + len(VOCABULARY))) for token in row) / len(row)

    found, _ = sort(shards, "frequent_first", tmp_path / "work")
    means = [mean_log_probability([int(token) for token in row if token]) for row in found]
    np.testing.assert_allclose(means, sorted(map(mean_log_probability, tokens), reverse=True), atol=1e-12)
    assert np.all(np.diff(means) < 1e-5)
    assert sorted(map(tuple, found)) == sorted(map(tuple, rows))


def test_rows_with_many_stops_come_first_and_equal_ones_keep_their_order(tmp_path):
    shards, rows, labels = write_shards(tmp_path, labelled=True)
    order = sorted(range(len(rows)), key=lambda index: -rows[index].tolist().count(STOP))
    found, found_labels = sort(shards, "short_sentences_first", tmp_path / "work")
    np.testing.assert_array_equal(found, rows[order])
    assert found_labels == labels[order].tolist()


@pytest.mark.parametrize("order", ordering.ORDERS)
def test_the_result_does_not_depend_on_memory(tmp_path, order, monkeypatch):
    shards, *_ = write_shards(tmp_path, labelled=True)
    expected, expected_labels = sort(shards, order, tmp_path / "work")
    monkeypatch.setattr(ordering, "_RUNS_AT_ONCE", 3)
    for memory_bytes in (1, 400, 1000, 5000, 20_000):  # from 200 runs of one row, merged in five passes, to two runs
        rows, labels = sort(shards, order, tmp_path / "work", memory_bytes=memory_bytes)
        np.testing.assert_array_equal(rows, expected)
        assert labels == expected_labels


def test_a_sort_goes_over_what_another_left(tmp_path):
    shards, *_ = write_shards(tmp_path)
    expected, _ = sort(shards, "frequent_first", tmp_path / "work")
    (tmp_path / "work" / "run-0-000000").write_bytes(b"half a run" * 10_000)
    rows, _ = sort(shards, "frequent_first", tmp_path / "work")
    np.testing.assert_array_equal(rows, expected)


def test_without_a_stop_rows_cannot_be_sorted_by_stops(tmp_path):
    shards, *_ = write_shards(tmp_path)
    with pytest.raises(InputError, match=r'no "\."'):
        sort_shards(shards, "short_sentences_first", [*VOCABULARY[:5], "word"], None, tmp_path)
