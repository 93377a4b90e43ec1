"""A prepared corpus on disk: shards of rows, vocabulary and manifest, written atomically and checked when opened."""

import hashlib
import json
from pathlib import Path

import numpy as np

from budgetbert import files
from budgetbert.corpus.checks import SORTED, SPLITS, find_damage
from budgetbert.corpus.rows import Rows, Shard
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import counted
from budgetbert.tokenization.normalizer import Normalizer

# Version 1 had no order file: its sorted corpora hold their training rows in the order in which they are read.
FORMAT_VERSION = 2
MANIFEST = "manifest.json"
VOCABULARY = "vocabulary.txt"
REPORT = "report.html"
ORDER = "order-train.npy"

# A shard is small enough to be written from memory, and to be verified or copied by itself.
SHARD_BYTES = 64 * 2**20
# So much of the rows is read when a corpus is opened, 20 ms from memory, in search of ids that its vocabulary lacks.
_LOOKED_THROUGH_BYTES = 64 * 2**20
# The part of the manifest that decides what the rows are and mean; sources and dates do not.
_FINGERPRINT_KEYS = ("format_version", "rows_kind", "row_start", "order", "sequence_length", "dtype", "normalizer")
_PREPARE_AGAIN = "delete the directory and prepare the corpus again"


def rows_per_shard(sequence_length, dtype):
    """Returns the number of rows in a shard: at most 64 MiB, so that it can be written from memory."""
    return max(1, SHARD_BYTES // (sequence_length * dtype.itemsize))


def order_dtype(rows):
    """Returns the NumPy dtype of the numbers of so many rows: 4 bytes up to 2**32 of them, 550 billion tokens."""
    return np.dtype(np.uint32 if rows <= 2**32 else np.uint64)


def labels_name(name):
    """Returns the name of the file with the next-sentence labels of a shard's rows."""
    return f"{name.removesuffix('.npy')}.labels.npy"


def fingerprint(manifest):
    """Returns the sha256 (str) of what decides the rows; equal for equal rows, wherever and whenever prepared."""
    decisive = {key: manifest[key] for key in _FINGERPRINT_KEYS}
    decisive["vocabulary"] = manifest["vocabulary"]["sha256"]
    decisive["shards"] = [
        [shard[key] for key in ("file", "rows", "sha256", "labels_sha256") if key in shard]
        for shard in manifest["shards"]
    ]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def write_vocabulary(path, entries):
    """Writes a vocabulary file: one entry per line."""
    files.write(path, _vocabulary_bytes(entries))


def vocabulary_sha256(entries):
    """Returns the sha256 (str) of the file of a vocabulary."""
    return hashlib.sha256(_vocabulary_bytes(entries)).hexdigest()


def _vocabulary_bytes(entries):
    return "".join(f"{entry}\n" for entry in entries).encode()


class PreparedCorpus:
    """A prepared corpus, opened by `open_corpus`.

    Most attributes are entries of the manifest, under the names by which training asks for them.

    Attributes:
        directory: `Path`.
        manifest: dict, the content of `manifest.json`.
        fingerprint: str, equal for corpora with equal rows.
        vocabulary: list of str.
        special_ids: dict such as {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}.
        sequence_length: int, the number of tokens in a row.
        normalizer: `Normalizer`, that the text went through.
        rows_kind: str, "packed", "sentences" or "pairs".
        order: str, "shuffled", or the order in which training reads its rows first.
        validation_unigram_entropy: float, in nats.
    """

    def __init__(self, directory, manifest, vocabulary):
        self.directory = directory
        self.manifest = manifest
        self.vocabulary = vocabulary
        self.fingerprint = fingerprint(manifest)
        self.special_ids = manifest["vocabulary"]["special_ids"]
        self.sequence_length = manifest["sequence_length"]
        self.normalizer = Normalizer(**manifest["normalizer"])
        self.rows_kind = manifest["rows_kind"]
        self.order = manifest["order"]
        self.validation_unigram_entropy = manifest["validation_unigram_entropy"]
        for name, _, shape, dtype in _files(manifest):
            Shard(directory / name, shape, dtype)
        shape, dtype, entries = (self.sequence_length,), manifest["dtype"], len(vocabulary)
        self._rows = {split: Rows(self._shards(split), shape, dtype, entries) for split in SPLITS}
        self._labels = {}
        if self.rows_kind == "pairs":
            self._labels = {split: Rows(self._shards(split, labels_name), (), "uint8", 2) for split in SPLITS}
        for rows in (*self._rows.values(), *self._labels.values()):
            rows.look_through(_LOOKED_THROUGH_BYTES)

    def rows(self, split):
        """Returns the `Rows` of a split, "train" or "validation"."""
        return self._rows[split]

    def labels(self, split):
        """Returns the next-sentence labels of a split's `pairs` rows: like the `Rows`, but [n]; 1 is a random B."""
        return self._labels[split]

    @property
    def training_order(self):
        """The numbers of the training rows in their order, read as `Rows` are; `None` of a shuffled corpus."""
        if self.order == "shuffled":
            return None
        count = len(self.rows("train"))
        if self.manifest["format_version"] == 1 or self.order == "stored":
            return np.arange(count, dtype=order_dtype(count))
        return Rows([(self.directory / ORDER, count)], (), order_dtype(count), count)

    def _shards(self, split, name_of=str):
        shards = [shard for shard in self.manifest["shards"] if shard["split"] == split]
        return [(self.directory / name_of(shard["file"]), shard["rows"]) for shard in shards]


def open_corpus(directory):
    """Opens a prepared corpus after checking what can be checked without reading it all (see `verify`).

    Args:
        directory: str or `Path`.

    Returns:
        `PreparedCorpus`.

    Raises:
        InputError: if the directory holds no prepared corpus, one of another format version, or a damaged one.
    """
    directory = Path(directory)
    manifest = _read_manifest(directory)
    return PreparedCorpus(directory, manifest, _open_vocabulary(directory / VOCABULARY, manifest["vocabulary"]))


def _read_manifest(directory):
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        version = manifest["format_version"]
    except OSError as error:
        raise InputError(
            f"{directory} is not a prepared corpus ({MANIFEST} cannot be read: {error.strerror}): "
            f"make one with recipes/prepare_corpus.py."
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is not the manifest of a prepared corpus: give the directory of one, or prepare the corpus again."
        ) from error
    if type(version) is not int or version not in (1, FORMAT_VERSION):
        told = str(version)[:100]
        raise InputError(f"{path} has format version {told}, this is {FORMAT_VERSION}: {_PREPARE_AGAIN}.")
    damage = find_damage(manifest) if files.is_as_written(manifest) else "it is not what was written"
    if damage:
        raise InputError(f"{path} is damaged ({damage}): {_PREPARE_AGAIN}.")
    return manifest


def verify(directory):
    """Opens a prepared corpus and compares the sha256 of every shard with the manifest.

    Args:
        directory: str or `Path`.

    Returns:
        `PreparedCorpus`.

    Raises:
        InputError: as `open_corpus`, or with one line for each file that is missing or differs.
    """
    directory, manifest = Path(directory), _read_manifest(Path(directory))
    problems = _problems(directory, manifest)
    if problems:
        told = f"{counted(len(problems), 'file')} {'is' if len(problems) == 1 else 'are'}"
        raise InputError("\n".join([*problems, f"{told} not as the manifest says: {_PREPARE_AGAIN}."]))
    return open_corpus(directory)


def _problems(directory, manifest):
    """Returns a sentence (str) for each file whose sha256 is not the manifest's."""
    problems = []
    for name, sha256, *_ in _files(manifest):
        try:
            if files.sha256(directory / name) != sha256:
                problems.append(f"{directory / name} is damaged: its sha256 is not the manifest's.")
        except OSError as error:
            problems.append(f"{directory / name} cannot be read: {error.strerror}.")
    return problems


def _files(manifest):
    """Yields name, sha256, shape and dtype of each file of rows, of their labels and of their order."""
    length, dtype = manifest["sequence_length"], manifest["dtype"]
    for shard in manifest["shards"]:
        name, rows = shard["file"], shard["rows"]
        yield name, shard["sha256"], (rows, length), dtype
        if manifest["rows_kind"] == "pairs":
            yield labels_name(name), shard["labels_sha256"], (rows,), "uint8"
    if manifest["order"] in SORTED and manifest["format_version"] > 1:
        rows = sum(shard["rows"] for shard in manifest["shards"] if shard["split"] == "train")
        yield ORDER, manifest["order_sha256"], (rows,), order_dtype(rows)


def _open_vocabulary(path, expected):
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): {_PREPARE_AGAIN}.") from error
    vocabulary = data.decode("utf-8", errors="replace").removesuffix("\n").split("\n")
    if hashlib.sha256(data).hexdigest() != expected["sha256"] or len(vocabulary) != expected["size"]:
        raise InputError(f"{path} is not the vocabulary that the corpus was prepared with: {_PREPARE_AGAIN}.")
    if any(vocabulary[index] != token for token, index in expected["special_ids"].items()):
        raise InputError(f"{path} has its special tokens elsewhere than the manifest says: {_PREPARE_AGAIN}.")
    return vocabulary
