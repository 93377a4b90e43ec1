"""What a preparation keeps on disk between its stages, so that a killed one goes on.

The documents stand in parts of some MB. A stage writes one file or a few for each part, the record of what it did
last; a part with a record is done. Files appear by a rename, whole or not at all. They are not synced to the disk,
which costs more than making them: after a crash of the machine (another boot) a preparation starts over.
"""

import hashlib
import json
import os

import numpy as np

_NUMBERS = ("hash", "characters", "words")


def write(path, make):
    """Calls `make(temporary path)` and renames what it wrote to `path`."""
    temporary = f"{path}.tmp"
    make(temporary)
    os.replace(temporary, path)


def write_json(path, value):
    """Writes `value` as JSON, in UTF-8."""

    def make(temporary):
        with open(temporary, "w", encoding="utf-8", errors="surrogatepass") as file:
            json.dump(value, file, ensure_ascii=False)

    write(path, make)


def read_json(path):
    """Returns what `write_json` wrote."""
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        return json.load(file)


def write_array(path, array):
    """Writes a NumPy array as `.npy`."""

    def make(temporary):
        with open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)

    write(path, make)


def record_path(folder, index):
    """The path of the record of part `index` in the folder of a stage."""
    return folder / f"{index:06d}.json"


def document_hash(text):
    """The hash (int of 64 bits) of a cleaned document, to which line ends are spaces."""
    return int.from_bytes(hashlib.blake2b(text.replace("\n", " ").encode(), digest_size=8).digest(), "big")


def sampled(hashes, rate, stream):
    """Whether documents are in a sample: as good as random, but a function of the document alone.

    Args:
        hashes: uint64 array.
        rate: float, the share to take.
        stream: int. Samples of different streams are independent of each other, and of the split.

    Returns:
        bool array.
    """
    return mixed(hashes, stream) < np.uint64(min(rate, 1) * (2**64 - 1))


def mixed(hashes, stream):
    """Other hashes (uint64 array) of documents, from theirs: the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = hashes + np.uint64(0x9E3779B97F4A7C15 * (stream + 1) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def write_documents(path, texts, hashes, words):
    """Writes a part.

    Args:
        path: `Path`, ending in `.arrow`.
        texts: list of str.
        hashes: list of int.
        words: list of int, their numbers of words.
    """
    import pyarrow as pa

    table = pa.table(
        {
            "text": pa.array(texts, pa.large_string()),
            "hash": pa.array(hashes, pa.uint64()),
            "characters": pa.array(map(len, texts), pa.uint32()),
            "words": pa.array(words, pa.uint32()),
        }
    )
    options = pa.ipc.IpcWriteOptions(compression=pa.Codec("zstd", compression_level=1), use_threads=False)

    def make(temporary):
        with pa.OSFile(temporary, "wb") as sink, pa.ipc.new_file(sink, table.schema, options=options) as writer:
            writer.write_table(table)

    write(path, make)


class Parts:
    """The documents, part by part.

    Args:
        folder: `Path`.

    Attributes:
        records: list of dict, the records of the parts.
        starts: int64 array [parts + 1]: part i holds the documents from `starts[i]` to `starts[i + 1]`.
    """

    def __init__(self, folder):
        self.folder = folder
        self.records = []
        while (path := record_path(folder, len(self.records))).exists():
            self.records.append(read_json(path))
        self.starts = np.cumsum([0, *(record["documents"] for record in self.records)], dtype=np.int64)

    def __len__(self):
        return len(self.records)

    @property
    def documents(self):
        """int, the number of documents in all parts."""
        return int(self.starts[-1])

    @property
    def documents_read(self):
        """int, the number of documents that there were before any was left out."""
        return sum(record["documents_read"] for record in self.records)

    def range(self, index):
        """The slice of the documents of a part."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def texts(self, index, kept=None):
        """Returns the texts (list of str) of a part, those that the bool array `kept` selects."""
        texts = self._read(index, [0]).column(0)
        return (texts if kept is None else texts.filter(kept)).to_pylist()

    def numbers(self, index):
        """Returns the hashes (uint64), characters and words (int64) of the documents of a part, as arrays."""
        table = self._read(index, [1, 2, 3])
        hashes, characters, words = (table.column(name).to_numpy() for name in _NUMBERS)
        return hashes, characters.astype(np.int64), words.astype(np.int64)

    def _read(self, index, columns):
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False)
        with pa.OSFile(str(self.folder / f"{index:06d}.arrow")) as file:
            return pa.ipc.open_file(file, options=options).read_all()

    def example(self, document):
        """Returns the first 300 characters of a document, given by its number among all."""
        index = int(np.searchsorted(self.starts, document, side="right")) - 1
        kept = np.arange(self.starts[index], self.starts[index + 1]) == document
        return self.texts(index, kept)[0][:300]
