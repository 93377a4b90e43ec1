"""The last stages: documents become ids, and those rows in shards."""

import numpy as np

from budgetbert.corpus import ordering, passes, store
from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.parts import read_json, record_path, write_json
from budgetbert.corpus.vocabulary import special_ids

# For validation rows of `pairs`: text whose held-out documents, some 50, are each other's random segments.
_PAIR_GROUP_CHARACTERS = 2**26


def encode(job, entries, threshold):
    """Encodes what is kept.

    Args:
        job: `Job`.
        entries: list of str, the vocabulary.
        threshold: int, the highest hash that is held out.

    Returns:
        dict: for each split, the folder, and a list of (number of the first part, length) of what was encoded
        together; as "records", a list of (number of the first part, record).
    """
    rows, length = job.options["rows"], job.options["sequence_length"]
    singles = job.single_parts()
    runs = [("encoded", store.SPLITS, singles)]
    if rows == "pairs":
        runs = [("encoded", ("train",), singles), ("encoded_validation", ("validation",), _pair_groups(job))]
    encoded = {"records": []}
    for name, splits, groups in runs:
        folder = job.folder(name)
        arguments = (job.normalizer, entries, threshold, splits, rows, length)
        job.each("Encoding", folder, passes.Encode, arguments, groups)
        records = [read_json(record_path(folder, group[0])) for group in groups]
        encoded["records"] += [(group[0], record) for group, record in zip(groups, records, strict=True)]
        for split in splits:
            units = [(group[0], record["length"][split]) for group, record in zip(groups, records, strict=True)]
            encoded[split] = (folder, units)
    return encoded


def _pair_groups(job):
    groups, size, source = [], 0, None
    for index, record in enumerate(job.parts.records):
        if not groups or record["source"] != source or size >= _PAIR_GROUP_CHARACTERS:
            groups.append([])
            size, source = 0, record["source"]
        groups[-1].append(index)
        size += record["characters"]
    return groups


def write_shards(job, entries, encoded):
    """Writes the shards, the training rows in the order that the options name.

    Args:
        job: `Job`.
        entries: list of str, the vocabulary.
        encoded: what `encode` returned.

    Returns:
        Tuple of what the manifest says of the shards, and a dict of the number of times (int64 array) that each entry
        occurs in the rows of each split.
    """
    length, dtype, options = job.options["sequence_length"], token_dtype(len(entries)), job.options
    start_id = special_ids(entries)["[CLS]"] if options["row_start"] == "cls" else None
    unit = length - (start_id is not None) if options["rows"] == "packed" else 1
    per_shard, labelled = store.rows_per_shard(length, dtype), options["rows"] == "pairs"
    shards, records = [], job.folder("shards")
    frequencies = {split: np.zeros(len(entries), np.int64) for split in store.SPLITS}
    for split in store.SPLITS:
        folder, units = encoded[split]
        is_sorted = split == "train" and options["order"] != "shuffled"
        target = job.folder("unsorted") if is_sorted else job.corpus
        tasks = list(_shard_tasks(split, units, unit, per_shard))
        left = [task for task in tasks if not (records / f"{split}-{task[1]:05d}.json").exists()]
        arguments = (folder, target, records, length, start_id, len(entries), labelled)
        with job.stages.stage(f"Writing {split} rows", len(tasks)) as tell:
            for done, _ in enumerate(job.workers.map(passes.WriteShard, arguments, left), start=1):
                tell(len(tasks) - len(left) + done)
        written = [read_json(records / f"{split}-{task[1]:05d}.json") for task in tasks]
        for shard in written:
            frequencies[split] += np.load(records / shard["file"], allow_pickle=False)
        shards += _sorted(job, entries, written, target, per_shard) if is_sorted and written else written
    return shards, frequencies


def _sorted(job, entries, shards, folder, per_shard):
    """Sorts the rows of shards in a folder into shards of the corpus; begun again if it is killed."""
    done = job.directory / "sorted.json"
    if not done.exists():
        job.release_memory()
        labelled = job.options["rows"] == "pairs"
        paths = [(folder / shard["file"], folder / store.labels_name(shard["file"])) for shard in shards]
        paths = [(path, labels if labelled else None) for path, labels in paths]
        writer = _ShardWriter(job.corpus, per_shard, sum(shard["rows"] for shard in shards))
        with job.stages.stage("Sorting the rows", len(shards)) as tell:

            def write(rows, labels):
                writer.add(rows, labels)
                tell(len(writer.shards))

            work = job.folder("sorting")
            ordering.sort_shards(paths, job.options["order"], entries, write, work)
        write_json(done, writer.shards)
    return read_json(done)


class _ShardWriter:
    """Cuts a stream of training rows, and perhaps of their labels, into shards.

    Args:
        directory: `Path`.
        per_shard: int, rows in each but the last.
        total: int, rows in all.
    """

    def __init__(self, directory, per_shard, total):
        self.shards = []  # what the manifest says of each
        self._directory, self._per_shard, self._left = directory, per_shard, total
        self._blocks, self._filled = [], 0

    def add(self, rows, labels):
        while len(rows):
            wanted = min(self._per_shard, self._left)
            taken = min(len(rows), wanted - self._filled)
            # copied, so that a block of the sort is freed
            self._blocks.append((rows[:taken].copy(), None if labels is None else labels[:taken].copy()))
            rows, labels = rows[taken:], None if labels is None else labels[taken:]
            self._filled += taken
            if self._filled == wanted:
                self._write()

    def _write(self):
        rows, labels = zip(*self._blocks, strict=True)
        shard = {"file": f"train-{len(self.shards):05d}.npy", "split": "train", "rows": self._filled}
        shard["sha256"] = store.write_shard(self._directory / shard["file"], np.concatenate(rows))
        if labels[0] is not None:
            path = self._directory / store.labels_name(shard["file"])
            shard["labels_sha256"] = store.write_shard(path, np.concatenate(labels))
        self.shards.append(shard)
        self._left -= self._filled
        self._blocks, self._filled = [], 0


def _shard_tasks(split, units, unit, per_shard):
    """Yields tasks of `passes.WriteShard`: the stream of all parts, cut into shards of `per_shard` rows.

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
