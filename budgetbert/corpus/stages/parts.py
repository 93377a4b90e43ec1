"""What a preparation keeps on disk between its stages, so that a killed one goes on.

The documents stand in parts of some MB. A stage writes one file or a few for each part, the record of what it did
last; a part with a record is done. Files appear by a rename, whole or not at all. They are not synced to the disk,
which costs more than making them: after a crash of the machine (another boot) a preparation starts over.
"""

import copy
import hashlib
import json
import re
import string

import numpy as np

from budgetbert import files
from budgetbert.tokenization.characters import HAN, UNSPACED

# How many documents that were left out are shown for each reason, and so much of each.
EXAMPLES, EXAMPLE_CHARACTERS = 5, 300
_BATCH_CHARACTERS = 2**22  # A process holds the words of so many at a time, some 60 MB.
_NUMBERS = ("hash", "characters", "words")
_WITHOUT_SPACES = re.compile(f"[{HAN}{UNSPACED}]")
_WORDS = re.compile(f"[{HAN}]|[{UNSPACED}]{{1,8}}|[^\\s{HAN}{UNSPACED}]+")
_LETTER_OR_WORD = re.compile(f"[{HAN}{UNSPACED}]|[^\\W{HAN}{UNSPACED}]+")
_WORD = re.compile(r"\w+")
_MARKS = string.punctuation.encode()


def write_json(path, value):
    """Writes `value` as JSON, in UTF-8."""
    options = {"encoding": "utf-8", "errors": "surrogatepass"}
    with files.replacing(path, sync=False) as temporary, open(temporary, "w", **options) as file:
        json.dump(value, file, ensure_ascii=False)


def read_json(path):
    """Returns what `write_json` wrote."""
    with open(path, encoding="utf-8", errors="surrogatepass") as file:
        return json.load(file)


def write_array(path, array, sync=False):
    """Writes a NumPy array as `.npy`."""
    with files.replacing(path, sync) as temporary:
        np.save(temporary, array, allow_pickle=False)


def record_path(folder, index):
    """The path of the record of part `index` in the folder of a stage."""
    return folder / f"{index:06d}.json"


def document_hash(text):
    """The hash (int of 64 bits) of a cleaned document, to which line ends are spaces."""
    return int.from_bytes(hashlib.blake2b(text.replace("\n", " ").encode(), digest_size=8).digest(), "big")


def count_words(text, normalizer="bert"):
    """The number of words (int) of a cleaned document, of which nearly every one has at least as many tokens.

    Args:
        text: str.
        normalizer: str, the kind of the normaliser. Of "cramming" what is not ASCII is in no word. Defaults to "bert".

    A word is what white space separates. Of scripts that are written without spaces a Chinese character is a word, as
    it is a token, and so are up to eight characters in a row of the others: kana, Thai, Lao, Khmer, Burmese and more.
    Where there are more punctuation marks of ASCII than that, as in minified code, they are counted instead.
    """
    if normalizer == "cramming":
        text = text.encode("ascii", "ignore").decode()
    if text.isascii() or not _WITHOUT_SPACES.search(text):
        words = 1 + text.count(" ") + text.count("\n")
    else:
        words = len(_WORDS.findall(text))
    data = text.encode()
    return max(words, len(data) - len(data.translate(None, _MARKS)))


def sizes(texts):
    """What the record of a part tells of the size of its documents (list of str), a dict."""
    in_bytes = (len(text) if text.isascii() else len(text.encode()) for text in texts)
    return {"documents": len(texts), "characters": sum(map(len, texts)), "bytes": sum(in_bytes)}


def words_or_letters(text):
    """What a document is compared by: a list of str.

    They are its words, and of scripts that are written without spaces its characters. A document without any of them,
    of emoji or of numbers' signs, is compared by all of its characters but white space.
    """
    words = (_LETTER_OR_WORD if _WITHOUT_SPACES.search(text) else _WORD).findall(text)
    return words or list("".join(text.split()))


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
    with (
        files.replacing(path, sync=False) as temporary,
        pa.OSFile(temporary, "wb") as sink,
        pa.ipc.new_file(sink, table.schema, options=options) as writer,
    ):
        writer.write_table(table)


class Documents:
    """The documents that were read, part by part, and which of them are kept.

    Another process gets the two paths alone, and maps the array, which has a byte for each document.

    Args:
        folder: `Path` of the parts.
        kept_path: `Path` of a bool array over all documents. Defaults to `None`: all are kept.

    Attributes:
        records: list of dict, the records of the parts.
        starts: int64 array [parts + 1]: part i holds the documents from `starts[i]` to `starts[i + 1]`.
        kept: bool array over all documents.
        characters: int, of all documents.
    """

    def __init__(self, folder, kept_path=None):
        self.folder, self.kept_path = folder, kept_path
        self.records = []
        while (path := record_path(folder, len(self.records))).exists():
            self.records.append(read_json(path))
        self.starts = np.cumsum([0, *(record["documents"] for record in self.records)], dtype=np.int64)
        self.characters = sum(record["characters"] for record in self.records)
        if kept_path:
            self.kept = np.load(kept_path, mmap_mode="r", allow_pickle=False)
        else:
            self.kept = np.ones(len(self), bool)

    def __reduce__(self):
        return Documents, (self.folder, self.kept_path)

    def __len__(self):
        return int(self.starts[-1])

    def keeping(self, kept_path):
        """Returns these documents with another array of those that are kept."""
        other = copy.copy(self)
        other.kept_path, other.kept = kept_path, np.load(kept_path, mmap_mode="r", allow_pickle=False)
        return other

    def range(self, index):
        """Returns the slice of the documents of a part."""
        return slice(int(self.starts[index]), int(self.starts[index + 1]))

    def selected(self, index):
        """Returns which documents of a part are kept, as a bool array of its own."""
        return np.array(self.kept[self.range(index)])

    def texts(self, index, selected):
        """Returns the texts (list of str) of the documents of a part that the bool array `selected` is true for."""
        return self._read(index, [0]).column(0).filter(selected).to_pylist()

    def numbers(self, index):
        """Returns the hashes (uint64), characters and words (int64) of the documents of a part, as arrays."""
        table = self._read(index, [1, 2, 3])
        hashes, characters, words = (table.column(name).to_numpy() for name in _NUMBERS)
        return hashes, characters.astype(np.int64), words.astype(np.int64)

    def kept_numbers(self):
        """Yields for each part its record, and hashes, characters and words of the documents that are kept in it."""
        for index, record in enumerate(self.records):
            yield record, *(numbers[self.selected(index)] for numbers in self.numbers(index))

    def singles(self):
        """Returns tasks, each of which is one part."""
        return [[index] for index in range(len(self.records))]

    def texts_at(self, places):
        """Returns documents (list of str), given by their numbers among all (int array); reads each part once."""
        places, found = np.asarray(places, np.int64), {}
        owners = np.searchsorted(self.starts, places, side="right") - 1
        for index in np.unique(owners).tolist():
            wanted = np.unique(places[owners == index])
            selected = np.isin(np.arange(*self.starts[index : index + 2]), wanted)
            found |= zip(wanted.tolist(), self.texts(index, selected), strict=True)
        return [found[place] for place in places.tolist()]

    def _read(self, index, columns):
        import pyarrow as pa

        options = pa.ipc.IpcReadOptions(included_fields=columns, use_threads=False)
        with pa.OSFile(str(self.folder / f"{index:06d}.arrow")) as file:
            return pa.ipc.open_file(file, options=options).read_all()


def batches(texts):
    """Yields slices of a list of str that cover it, of about four million characters each."""
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield slice(start, index + 1)
            start, size = index + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))
