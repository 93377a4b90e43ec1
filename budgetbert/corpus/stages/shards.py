"""The last stage: what was encoded becomes the rows of shards, in the order of the documents."""

import dataclasses
from pathlib import Path

import numpy as np

from budgetbert import files
from budgetbert.corpus import store
from budgetbert.corpus.packing import cut_rows, token_dtype
from budgetbert.corpus.stages.parts import read_json, write_array, write_json
from budgetbert.tokenization.vocabulary import special_ids


def write_shards(corpus, encoded, entries, options, staging):
    """Writes the shards of both splits.

    Args:
        corpus: `Path` of the folder for them.
        encoded: what `encode.encode` returned.
        entries: list of str, the vocabulary.
        options: `Options`.
        staging: `Staging`.

    Returns:
        Tuple of what the manifest says of the shards, a list of dict, and a dict of the number of times (int64 array)
        that each entry occurs in the rows of each split.
    """
    length, dtype = options.sequence_length, token_dtype(len(entries))
    start_id = special_ids(entries)["[CLS]"] if options.row_start == "cls" else None
    unit = length - (start_id is not None) if options.rows == "packed" else 1
    shards, records = [], staging.folder("shards")
    frequencies = {split: np.zeros(len(entries), np.int64) for split in store.SPLITS}
    for split in store.SPLITS:
        folder, units = encoded[split].folder, encoded[split].lengths(split)
        tasks = list(_tasks(split, units, unit, store.rows_per_shard(length, dtype)))
        left = [task for task in tasks if not (records / f"{split}-{task[1]:05d}.json").exists()]
        arguments = (folder, corpus, records, length, start_id, len(entries), options.rows == "pairs")
        with staging.progress.stage(f"Writing {split} rows", len(tasks)) as show:
            for done, _ in enumerate(staging.workers.map(WriteShard, arguments, left), start=1):
                show(len(tasks) - len(left) + done)
        written = [read_json(records / f"{split}-{task[1]:05d}.json") for task in tasks]
        for shard in written:
            frequencies[split] += np.load(records / shard["file"], allow_pickle=False)
        shards += written
    return shards, frequencies


def _tasks(split, units, unit, per_shard):
    """Yields tasks of `WriteShard`: the stream of all parts, cut into shards of `per_shard` rows.

    Args:
        split: str.
        units: list of (number of the part, its length).
        unit: int. What a row takes of the length.
        per_shard: int.
    """
    ends = np.cumsum([0, *(length for _, length in units)])
    rows = int(ends[-1]) // unit
    for number, first in enumerate(range(0, rows, per_shard)):
        count = min(per_shard, rows - first)
        start, stop = first * unit, (first + count) * unit
        pieces = []
        for index in range(int(np.searchsorted(ends, start, side="right")) - 1, len(units)):
            if ends[index] >= stop:
                break
            low, high = max(start, int(ends[index])), min(stop, int(ends[index + 1]))
            if high > low:
                pieces.append((units[index][0], low - int(ends[index]), high - int(ends[index])))
        yield split, number, count, pieces


@dataclasses.dataclass(frozen=True)
class WriteShard:
    """Puts a shard together from pieces of what `Encode` wrote.

    Args:
        folder: `Path` of `Encode`'s files.
        corpus: `Path`, where the shards go.
        records: `Path`, where their records go.
        sequence_length: int.
        start_id: int or `None`. The id that each row starts with.
        entries: int, the size of the vocabulary.
        labelled: bool. Whether the rows have labels.

    A task is a tuple of the split, the number of the shard in it, the number of its rows, and a list of pieces: tuples
    of a part and where in it they start and stop.
    """

    folder: Path
    corpus: Path
    records: Path
    sequence_length: int
    start_id: int | None
    entries: int
    labelled: bool

    def __call__(self, task):
        split, number, rows, pieces = task
        name = f"{split}-{number:05d}"
        joined = self._joined(f"{split}.npy", pieces)
        if joined.ndim == 1:
            joined, _ = cut_rows(joined, self.sequence_length, self.start_id)
        # bincount makes int64 of what it counts, four times the shard, so it counts piece by piece.
        frequencies = sum(np.bincount(some.ravel(), minlength=self.entries) for some in np.array_split(joined, 64))
        write_array(self.records / f"{name}.npy", frequencies)
        shard = {"file": f"{name}.npy", "split": split, "rows": rows, "sha256": self._write(f"{name}.npy", joined)}
        if self.labelled:
            labels = self._joined(f"{split}.labels.npy", pieces)
            shard["labels_sha256"] = self._write(store.labels_name(shard["file"]), labels)
        write_json(self.records / f"{name}.json", shard)

    def _write(self, name, array):
        """Writes a file of the corpus, and returns its sha256."""
        write_array(self.corpus / name, array, sync=True)
        return files.sha256(self.corpus / name)

    def _joined(self, name, pieces):
        loaded = (
            np.load(self.folder / f"{part:06d}.{name}", mmap_mode="r")[start:stop] for part, start, stop in pieces
        )
        return np.concatenate(list(loaded))
