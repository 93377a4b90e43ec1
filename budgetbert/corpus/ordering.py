"""Training rows sorted by what they hold, by an external merge sort: memory is bounded however many rows there are.

Cramming reads its corpus once, in such an order. Rows are sorted in portions that fit into memory, each written as a
run; then the runs are merged block by block.
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from budgetbert.command_line import InputError

ORDERS = ("frequent_first", "short_sentences_first")
_MEMORY_BYTES = 2**28
_RUNS_AT_ONCE = 256  # open files; more runs are merged in several passes
_FIXED_POINT = 2**20  # log-probabilities are added as integers: the same sum whatever the order


def sort_shards(shards, order, vocabulary, write, work_directory, memory_bytes=_MEMORY_BYTES):
    """Sorts the rows of shards; rows with equal keys keep their order.

    `frequent_first`: by the mean log-probability of a row's tokens under the unigram distribution of all rows, most
    likely first, with p(token) = (count + 1) / (tokens + vocabulary size). `short_sentences_first`: by the number of
    "." tokens in a row, most first. [PAD] does not count.

    Args:
        shards: list of tuples of the path of a `.npy` file of rows, and that of its next-sentence labels or `None`.
        order: str, one of `ORDERS`.
        vocabulary: list of str; [PAD] has the id 0.
        write: function of rows, an array [n, sequence_length], and their labels, uint8 [n] or `None`. Called with the
            sorted rows block by block.
        work_directory: `Path` of an empty directory, for as many bytes as the shards have and, at each row, 8 more. It
            is empty again at the end; what a sort that was killed leaves there is overwritten by the next.
        memory_bytes: int, about the most memory to use. Changes no byte of the result. Defaults to 256 MiB.

    Raises:
        InputError: if the vocabulary has no "." to count.

    Source: Geiping & Goldstein 2022, section 4.4: "sort all tokenized sequences by some metric"; `frequent_first` is
    the order that the paper describes, `short_sentences_first` what its final configurations use
    (`sentence-length-curriculum`).
    """
    rows = np.load(shards[0][0], mmap_mode="r", allow_pickle=False)
    fields = [("key", np.float64), ("row", rows.dtype, rows.shape[1:])]
    if shards[0][1] is not None:
        fields.append(("label", np.uint8))
    record = np.dtype(fields)
    portion = max(1, memory_bytes // (3 * record.itemsize))  # the records, their sorted copy and what the keys need
    key = _make_key(shards, order, vocabulary, portion)
    runs = [
        _write_run(_run_path(work_directory, 0, number), _records(block, labels, key, record))
        for number, (block, labels) in enumerate(_portions(shards, portion))
    ]
    level = 0
    while len(runs) > _RUNS_AT_ONCE:
        level += 1
        groups = [runs[start : start + _RUNS_AT_ONCE] for start in range(0, len(runs), _RUNS_AT_ONCE)]
        runs = []
        for number, group in enumerate(groups):
            path = _run_path(work_directory, level, number)
            with open(path, "wb") as file:
                for block in _merged(group, record, portion):
                    block.tofile(file)
            runs.append(path)
    for block in _merged(runs, record, portion):
        write(block["row"], block["label"] if "label" in record.names else None)


def _make_key(shards, order, vocabulary, portion):
    """Returns a function of rows whose values sort them, highest first."""
    if order == "short_sentences_first":
        if "." not in vocabulary:
            raise InputError('the vocabulary has no ".", by whose number rows are sorted: choose another --order.')
        stop_id = vocabulary.index(".")
        return lambda rows: np.count_nonzero(rows == stop_id, axis=1)
    counts = np.zeros(len(vocabulary), np.int64)
    for rows, _ in _portions(shards, portion):
        counts += np.bincount(rows.ravel(), minlength=len(vocabulary))
    counts[0] = 0
    log_probabilities = np.log((counts + 1) / (counts.sum() + len(vocabulary)))
    scores = np.round(_FIXED_POINT * log_probabilities).astype(np.int64)
    scores[0] = 0
    return lambda rows: scores[rows].sum(axis=1) / np.maximum(1, np.count_nonzero(rows, axis=1))


def _portions(shards, portion):
    """Yields rows and labels (or `None`), `portion` rows at a time whatever the sizes of the shards."""
    waiting, number = [], 0
    for rows_path, labels_path in shards:
        # read, not mapped: mapped pages would count as this process's memory
        with open(rows_path, "rb") as file, contextlib.ExitStack() as stack:
            shape, dtype = _read_header(file)
            labels_file = stack.enter_context(open(labels_path, "rb")) if labels_path is not None else None
            if labels_file:
                _read_header(labels_file)
            left = shape[0]
            while left:
                taken = min(left, portion - number)
                rows = np.fromfile(file, dtype, taken * shape[1]).reshape(taken, shape[1])
                labels = np.fromfile(labels_file, np.uint8, taken) if labels_file else None
                waiting.append((rows, labels))
                number, left = number + taken, left - taken
                if number == portion:
                    yield _joined(waiting)
                    waiting, number = [], 0
    if waiting:
        yield _joined(waiting)


def _read_header(file):
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _joined(parts):
    rows, labels = zip(*parts, strict=True)
    return np.concatenate(rows), None if labels[0] is None else np.concatenate(labels)


def _records(rows, labels, key, record):
    """The records of rows, sorted."""
    keys = key(rows)
    order = np.argsort(-keys, kind="stable")
    records = np.empty(len(rows), record)
    records["key"], records["row"] = keys[order], rows[order]
    if labels is not None:
        records["label"] = labels[order]
    return records


def _run_path(directory, level, number):
    return Path(directory, f"run-{level}-{number:06d}")


def _write_run(path, records):
    records.tofile(path)
    return path


def _merged(paths, record, portion):
    """Yields the records of sorted runs in one sorted sequence of blocks, and deletes the runs."""
    block_size = max(1, portion // max(1, len(paths)))
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(path, "rb")) for path in paths]
        blocks = [np.zeros(0, record) for _ in files]
        open_runs = [True] * len(files)
        while True:
            for index, file in enumerate(files):
                if open_runs[index] and not len(blocks[index]):
                    blocks[index] = np.fromfile(file, record, block_size)
                    open_runs[index] = len(blocks[index]) == block_size
            # What a run still has on disk comes behind its block's last key, so the highest of these bounds what may
            # go out now; of equal keys those of earlier runs go first.
            last = {index: block["key"][-1] for index, block in enumerate(blocks) if open_runs[index]}
            if not last:
                break
            bound = max(last.values())
            first = min(index for index, key in last.items() if key == bound)
            taken = []
            for index, block in enumerate(blocks):
                side = "right" if index <= first else "left"
                count = np.searchsorted(-block["key"], -bound, side=side)
                taken.append(block[:count])
                blocks[index] = block[count:]
            yield _sorted_together(taken)
        if any(len(block) for block in blocks):
            yield _sorted_together(blocks)
    for path in paths:
        os.remove(path)


def _sorted_together(blocks):
    records = np.concatenate(blocks)
    return records[np.argsort(-records["key"], kind="stable")]
