"""Where the text comes from: local files and folders, data sets of the Hugging Face hub, this machine's documentation.

A source yields its text in blocks of some MB, each with the position behind it, from which it can be read on.
"""

import glob
import hashlib
import os
import re
from pathlib import Path

from budgetbert.command_line import InputError
from budgetbert.corpus import demo, formats, hub

_WEIGHTED = re.compile(r"(.+)@(\d+\.?\d*|\.\d+)")


def parse_sources(corpus, workers, text_field="text", split="train"):
    """Understands the value of `--corpus`.

    Args:
        corpus: str. `demo`, the path of a file or folder, a pattern such as `text/*.jsonl.gz`, or
            `hf:NAME[:CONFIG]`; several are separated by commas, and each may have a weight: `A@0.7,B@0.3`.
        workers: int. The number of processes that may collect the `demo` text.
        text_field: str. The field or column that holds the text, in JSON, parquet and data sets of the hub.
        split: str. The split of data sets of the hub.

    Returns:
        list of `DemoSource`, `FileSource` and `hub.HubSource`, each with an attribute `weight`: float, its share of
        the characters of the corpus, or `None` where none is given.

    Raises:
        InputError: if a source does not exist, holds no usable file or cannot be reached, or if weights are
            impossible.
    """
    sources = []
    for name in (name.strip() for name in corpus.split(",")):
        weighted = None if os.path.exists(name) else _WEIGHTED.fullmatch(name)
        path = weighted[1] if weighted else name
        if not path:
            raise InputError(f"--corpus={corpus!r} names an empty source: give demo, a file or a folder.")
        if path == "demo":
            source = DemoSource(workers)
        elif path.startswith("hf:"):
            source = hub.HubSource(path, text_field, split)
        else:
            source = FileSource(path, text_field)
        source.weight = float(weighted[2]) if weighted else None
        sources.append(source)
    weights = [source.weight for source in sources]
    if any(weights) and None in weights:
        unweighted = sources[weights.index(None)].name
        raise InputError(f"{unweighted} has no weight and another source has: give all a weight (A@0.7,B@0.3) or none.")
    if 0.0 in weights:
        raise InputError(f"{sources[weights.index(0.0)].name} has the weight 0: leave it out, or give it a share.")
    total = sum(filter(None, weights))
    for source in sources:
        source.weight = source.weight and source.weight / total
    return sources


class DemoSource:
    """The documentation on this machine, kept in memory (about 10 MB)."""

    name = "demo"
    total_bytes = 0  # unknown until it is collected
    expected_bytes = 10_000_000
    bytes_read = 0

    def __init__(self, workers):
        self._workers = workers
        self._documents = None

    def identity(self):
        """Returns a dict that is equal for equal text."""
        return {"source": self.name, "sha256": demo.identity()}

    def blocks(self, block_bytes, position=None):
        """Yields (`formats.Block`, position behind it); the first call collects the documents."""
        if self._documents is None:
            self._documents = list(demo.documents(self._workers))
        start = position or 0
        for block in formats.documents_of(self._documents[start:], block_bytes):
            start += len(block.data)
            yield block, start


class FileSource:
    """The text of files: of one, of those that a pattern matches, or of all usable ones in a folder and its folders.

    Files are read in the order of their paths. `.txt` files hold documents separated by blank lines, `.jsonl` files one
    object per line, `.parquet` files a column; MediaWiki dumps and WikiExtractor's output hold articles.

    Args:
        name: str. The path or pattern.
        text_field: str. The field or column that holds the text. Defaults to `"text"`.

    Attributes:
        root: `Path` of the folder in which any new text would belong to the source, or `None`.

    Raises:
        InputError: if there is no such path or no usable file, or if a folder cannot be read or holds a prepared
            corpus.
    """

    def __init__(self, name, text_field="text"):
        self.name = name
        self.root = None
        path = Path(name)
        self._text_field = text_field
        if path.is_dir():
            self.root = path
            self.files = _usable_files(path)
        elif path.exists():
            self.files = [path]
        else:
            magic = next((i for i, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts))
            if magic < len(path.parts) - 1:  # a pattern of folders
                self.root = Path(*path.parts[:magic])
            self.files = [Path(file) for file in sorted(glob.glob(name, recursive=True)) if os.path.isfile(file)]
            if not self.files:
                raise InputError(f"{name}: there is no such file or folder: give demo, or the path of your text.")
        unusable = [file for file in self.files if not formats.kind_of(file)]
        if unusable or not self.files:
            what = f"{name} holds no" if path.is_dir() else f"{unusable[0]} is not a"
            raise InputError(f"{what} text file that can be read: {formats.USABLE} are.")
        try:
            self.total_bytes = sum(file.stat().st_size for file in self.files)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error
        self.expected_bytes = self.total_bytes
        self.bytes_read = 0  # compressed bytes, like total_bytes: they tell how much is left

    def identity(self):
        """Returns a dict that is equal for equal text: the files' number, size in bytes and common sha256."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{formats.kind_of(file)} {_sha256(file)}\n".encode())
        total = {"files": len(self.files), "bytes": self.total_bytes}
        return {"source": self.name, **total, "sha256": digest.hexdigest()}

    def blocks(self, block_bytes, position=None):
        """Reads the files.

        Args:
            block_bytes: int. About what a block has, except the last of a file.
            position: what came with a block: what follows it is read. Defaults to `None`: everything.

        Yields:
            Tuple of a `formats.Block` and the position behind it: the numbers of the file and of its next block.

        Raises:
            InputError: naming file and offset, if a file cannot be read to its end.
        """
        first_file, first_block = position or (0, 0)
        self.bytes_read = sum(file.stat().st_size for file in self.files[:first_file])
        for number, file in enumerate(self.files[first_file:], start=first_file):
            before, size = self.bytes_read, file.stat().st_size
            skipped = first_block if number == first_file else 0
            with open(file, "rb") as raw:
                if not size:
                    empty = formats.Block("txt", b"", path=str(file))
                    empty.removed["empty_file"] = 1
                    yield empty, (number + 1, 0)
                    continue
                blocks = formats.read_blocks(file, raw, block_bytes, self._text_field)
                for index, block in enumerate(blocks):
                    self.bytes_read = before + (0 if raw.closed else raw.tell())
                    if index >= skipped:
                        yield block, (number, index + 1)
            self.bytes_read = before + size


def _sha256(file):
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from error


def _usable_files(folder):
    def refuse(error):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error

    usable, visited = [], set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        folders.sort()  # of several links to a folder the first is followed
        if (real := os.path.realpath(directory)) in visited:
            folders.clear()
            continue
        visited.add(real)
        if "manifest.json" in names and "vocabulary.txt" in names:
            raise InputError(f"{directory} is a prepared corpus, not text: name the folder or files of your text.")
        usable += [Path(directory, name) for name in names if formats.kind_of(name)]
    return sorted(usable)
