"""Orders that sort training rows by what they hold: a file of row numbers beside the shards, which keep their order.

Cramming reads its corpus once, in such an order. Each row has a key of 8 bytes. Workers write the keys of a shard
sorted; then one process after another range of keys collects the rows with keys in that range from all shards, and
sorts them. So memory is bounded: some 200 MB, whether there are a million rows or 10^9.
"""

import numpy as np

from budgetbert import files
from budgetbert.corpus import store
from budgetbert.corpus.checks import SORTED as SORTED
from budgetbert.corpus.stages.parts import read_json, write_array, write_json
from budgetbert.errors import InputError

# Full stops: ASCII's, and those of Chinese and Japanese, Hindi, Urdu, Armenian, Amharic, Burmese, Khmer and Tibetan.
_FULL_STOPS = frozenset(".。।۔։።။។།")
_FIXED_POINT = 2**20  # Log-probabilities are added as integers: the same sum whatever the order.
_ROWS_AT_ONCE = 2**21  # These are sorted at a time, 70 bytes each.
_SAMPLED = 2**10  # The bounds of the ranges come from every 1,024th key.


def check(order, vocabulary):
    """Raises an `InputError` if rows of a vocabulary (list of str) cannot be sorted in an order."""
    if order == "short_sentences_first" and _FULL_STOPS.isdisjoint(vocabulary):
        raise InputError(
            f"the vocabulary has none of the full stops {' '.join(sorted(_FULL_STOPS))}, by whose number rows are "
            "sorted: choose another --order."
        )


def sort_rows(corpus, shards, order, vocabulary, frequencies, staging):
    """Writes the order file of the training rows of a corpus; rows with equal keys keep their order.

    Args:
        corpus: `Path` of the folder of the shards.
        shards: list of what the manifest says of the shards.
        order, vocabulary, frequencies: as for `row_keys`.
        staging: `Staging`.

    Returns:
        str, the sha256 of the file.
    """
    done, folder = staging.directory / "sorted.json", staging.folder("keys")
    if not done.exists():
        shards = [shard for shard in shards if shard["split"] == "train"]
        left = [shard["file"] for shard in shards if not (folder / f"{shard['file']}.json").exists()]
        with staging.progress.stage("Sorting the rows", 1 + len(shards)) as show:
            work = staging.workers.map(WriteKeys, (corpus, folder, order, vocabulary, frequencies), left)
            for number, _ in enumerate(work, start=1):
                show(len(shards) - len(left) + number)
            firsts = np.cumsum([0, *(shard["rows"] for shard in shards)])[:-1].tolist()
            runs = [
                (folder / f"keys-{shard['file']}", folder / f"rows-{shard['file']}", first)
                for shard, first in zip(shards, firsts, strict=True)
            ]
            write_order(corpus / store.ORDER, runs, sum(shard["rows"] for shard in shards))
        write_json(done, files.sha256(corpus / store.ORDER))
    return read_json(done)


def row_keys(order, vocabulary, frequencies):
    """Returns a function of rows, an array [n, sequence_length], whose values [n] sort them, lowest first.

    `frequent_first`: by the mean log-probability of a row's tokens under the unigram distribution of all rows, most
    likely first, with p(token) = (count + 1) / (tokens + vocabulary size). `short_sentences_first`: by the number of
    full stops in a row, of any script, most first; "..." is none, as to the original, which splits words from runs of
    marks, it is a piece of its own. [PAD] does not count.

    Args:
        order: str, one of `SORTED`.
        vocabulary: list of str.
        frequencies: int64 array. How often each entry occurs in the training rows.

    Source: Geiping & Goldstein 2022, section 4.4: "sort all tokenized sequences by some metric"; `frequent_first` is
    the order that the paper describes, `short_sentences_first` what its final configurations use
    (`sentence-length-curriculum`).
    """
    if order == "short_sentences_first":
        is_stop = np.array([entry in _FULL_STOPS for entry in vocabulary])
        return lambda rows: -_count_single(is_stop[rows])
    counts, pad = np.array(frequencies), vocabulary.index("[PAD]")
    counts[pad] = 0
    log_probabilities = np.log((counts + 1) / (counts.sum() + len(vocabulary)))
    scores = np.round(_FIXED_POINT * log_probabilities).astype(np.int64)
    scores[pad] = 0
    return lambda rows: -(scores[rows].sum(axis=1) / np.maximum(1, np.count_nonzero(rows != pad, axis=1)))


def _count_single(found):
    """How many of a row's places (bool array [rows, places]) are found without a neighbour (float64 array [rows])."""
    beside = np.zeros_like(found)
    beside[:, 1:] |= found[:, :-1]
    beside[:, :-1] |= found[:, 1:]
    return np.count_nonzero(found & ~beside, axis=1).astype(np.float64)


class WriteKeys:
    """Writes the keys of a shard's rows, sorted, and the places of these rows in the shard.

    Args:
        corpus: `Path` of the folder of the shards.
        folder: `Path`, for what is written.
        order, vocabulary, frequencies: as for `row_keys`.

    A task is the name of a shard.
    """

    def __init__(self, corpus, folder, order, vocabulary, frequencies):
        self._corpus, self._folder = corpus, folder
        self._keys = row_keys(order, vocabulary, frequencies)

    def __call__(self, name):
        rows = np.load(self._corpus / name, allow_pickle=False)
        # A score has 8 bytes where a token has 2, so they are looked up piece by piece.
        keys = np.concatenate([self._keys(some) for some in np.array_split(rows, 64)])
        places = np.argsort(keys, kind="stable")
        write_array(self._folder / f"keys-{name}", keys[places])
        write_array(self._folder / f"rows-{name}", places.astype(np.uint32))
        write_json(self._folder / f"{name}.json", {})


def write_order(path, runs, number, rows_at_once=_ROWS_AT_ONCE, sampled=_SAMPLED):
    """Merges sorted runs of keys; of equal keys those of earlier runs go first.

    Args:
        path: `Path` of the file, an array [rows] of `store.order_dtype`.
        runs: list of tuples of the path of the sorted keys, that of their places, and what is added to these.
        number: int, the number of all rows.
        rows_at_once: int, about how many are sorted at a time. Changes no byte of the result. Defaults to 2,097,152.
        sampled: int. Every how many keys of a run one is sampled. Defaults to 1,024.
    """
    dtype = store.order_dtype(number)
    starts = [0] * len(runs)  # What is before has been written.

    def pieces(bound, side):
        for index, (keys, places, first) in enumerate(runs):
            keys, start = np.load(keys, mmap_mode="r", allow_pickle=False), starts[index]
            end = starts[index] = len(keys) if bound is None else int(np.searchsorted(keys, bound, side))
            if end > start:
                some = np.load(places, mmap_mode="r", allow_pickle=False)[start:end]
                yield np.array(keys[start:end]), some + dtype.type(first)

    samples = np.sort(np.concatenate([np.load(keys, mmap_mode="r")[::sampled] for keys, _, _ in runs]))
    # The last range has no bound. Equal keys, of which there may be more than fit into memory, need no sorting.
    bounds = np.unique(samples[:: max(1, rows_at_once // sampled)])
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": (number,)}
        np.lib.format.write_array_header_1_0(file, header)
        for bound in (*bounds.tolist(), None):
            taken = list(pieces(bound, "left"))
            if taken:
                keys, rows = map(np.concatenate, zip(*taken, strict=True))
                del taken
                rows[np.argsort(keys, kind="stable")].tofile(file)
            if bound is not None:
                for _, rows in pieces(bound, "right"):
                    rows.tofile(file)
