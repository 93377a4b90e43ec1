"""Where the text comes from: local files and folders, data sets of the Hugging Face hub, the novels of the demo.

A source yields its text in blocks of some MB, each with the position behind it, from which it can be read on.
"""

import glob
import hashlib
import os
import re
from pathlib import Path

from budgetbert import files
from budgetbert.corpus.sources import formats, hub, novels
from budgetbert.corpus.sources.blocks import Block
from budgetbert.errors import InputError

# Why what lies in a folder or matches a pattern is not read, and how that is told.
UNREAD = {
    "kind": "of another kind",
    "special": "pipes, sockets or devices",
    "hidden": "hidden",
    "folder": "folders that match the pattern",
    "link": "links to a folder that is read already",
}
# So many names are shown of each kind.
_UNREAD_NAMES = 5
_WEIGHTED = re.compile(r"(.+)@(\d+\.?\d*|\.\d+)")


def parse_sources(corpus, text_field="text", split="train", document="auto"):
    """Understands the value of `--corpus`.

    Args:
        corpus: str. `demo`, the path of a file or folder, a pattern such as `text/*.jsonl.gz`, or
            `hf:NAME[:CONFIG]`; several are separated by commas, and each may have a weight: `A@0.7,B@0.3`.
        text_field: str. The field or column that holds the text, in JSON, tables, parquet and data sets of the hub.
        split: str. The split of data sets of the hub.
        document: str. `"auto"` or `"file"`, see `FileSource`.

    Returns:
        list of `FileSource` and `hub.HubSource`, each with an attribute `weight`: float, its share of the characters of
        the corpus, or `None` where none is given.

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
            source = FileSource(str(novels.FOLDER / novels.TEXT))
            source.name = "demo"
        elif path.startswith("hf:"):
            source = hub.HubSource(path, text_field, split)
        else:
            try:
                source = FileSource(path, text_field, document)
            except OSError as error:
                # A name may be longer than that of any file.
                told = path if len(path) <= 100 else f"{path[:100]}... ({len(path):,} characters)"
                raise InputError(f"{told} cannot be read: {error.strerror}.") from error
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


class FileSource:
    """The text of files: of one, of those that a pattern matches, or of all usable ones in a folder and its folders.

    Files are read in the order of their paths. `.txt` files hold documents separated by blank lines, `.jsonl`,
    `.ndjson` and `.json` files objects, `.csv`, `.tsv` and `.parquet` files a column; MediaWiki dumps and
    WikiExtractor's output hold articles. Of a folder hidden files are not read, as they are a program's: macOS leaves
    `._a.txt` beside `a.txt`.

    Args:
        name: str. The path or pattern.
        text_field: str. The field or column that holds the text. Defaults to `"text"`.
        document: str. `"file"` makes one document of each `.txt` file. Defaults to `"auto"`: blank lines separate them.

    Attributes:
        root: `Path` of the folder in which any new text would belong to the source, or `None`.
        unread: dict of why something is not read, a key of `UNREAD`, to a list of `Path`.

    Raises:
        InputError: if there is no such path or no usable file, or if a folder cannot be read or holds a prepared
            corpus.
    """

    def __init__(self, name, text_field="text", document="auto"):
        self.name = name
        self.root = None
        path = Path(name)
        self._text_field, self._document = text_field, document
        self.unread = unread = {what: [] for what in UNREAD}
        if path.is_dir():
            self.root = path
            found = _files_in(path, unread)
        elif path.exists():
            found = [path]
        else:
            magic = next((i for i, part in enumerate(path.parts) if glob.has_magic(part)), len(path.parts))
            # This is a pattern of folders.
            if magic < len(path.parts) - 1:
                self.root = Path(*path.parts[:magic])
            matches = [Path(match) for match in sorted(glob.glob(name, recursive=True))]
            if not matches:
                raise InputError(f"{name}: there is no such file or folder: give demo, or the path of your text.")
            found = [match for match in matches if not match.is_dir()]
            entered = {folder for file in found for folder in file.parents}
            unread["folder"] = [match for match in matches if match.is_dir() and match not in entered]
        self.files = [file for file in found if _can_be_read(file, unread)]
        if not self.files:
            self._refuse(found, unread)
        try:
            self.total_bytes = sum(file.stat().st_size for file in self.files)
        except OSError as error:
            raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error
        self.expected_bytes = self.total_bytes
        # Compressed bytes are counted, as in total_bytes: they tell how much is left.
        self.bytes_read = 0

    def told_files(self):
        """Returns what the manifest states of the files: how many are read or not, by kind, and the first names."""
        read = {}
        for file in self.files:
            read.setdefault(formats.kind_of(file), []).append(file)
        return {
            key: {
                what: {"number": len(files), "names": _names(self.name, files)}
                for what, files in groups.items()
                if files
            }
            for key, groups in (("files_read", read), ("files_unread", self.unread))
        }

    def _refuse(self, found, unread):
        if unread["folder"] and not found:
            raise InputError(f"{self.name} matches folders alone: name the folder above to read all that is in them.")
        if os.path.isdir(self.name):
            told = ", unless they are hidden" if unread["hidden"] else ""
            raise InputError(f"{self.name} holds no text file that can be read: {formats.USABLE} are{told}.")
        is_special = found[0] in unread["special"]
        what = "a pipe, a socket or a device" if is_special else "not a text file that can be read"
        raise InputError(f"{found[0]} is {what}: {formats.USABLE} are.")

    def identity(self):
        """Returns a dict that is equal for equal text: the files' number, size in bytes and common sha256."""
        digest = hashlib.sha256()
        for file in self.files:
            try:
                digest.update(f"{formats.kind_of(file)} {files.sha256(file)}\n".encode())
            except OSError as error:
                raise InputError(f"{file} cannot be read: {error.strerror}.") from error
        total = {"files": len(self.files), "bytes": self.total_bytes}
        return {"source": self.name, **total, "sha256": digest.hexdigest()}

    def blocks(self, block_bytes, position=None):
        """Reads the files.

        Args:
            block_bytes: int. About what a block has, except the last of a file.
            position: what came with a block: what follows it is read. Defaults to `None`: everything.

        Yields:
            Tuple of a `blocks.Block` and the position behind it: the numbers of the file and of its next block.

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
                    empty = Block("txt", b"", path=str(file))
                    empty.removed["empty_file"] = 1
                    yield empty, (number + 1, 0)
                    continue
                blocks = formats.read_blocks(file, raw, block_bytes, self._text_field, self._document)
                for index, block in enumerate(blocks):
                    self.bytes_read = before + (0 if raw.closed else raw.tell())
                    if index >= skipped:
                        yield block, (number, index + 1)
            self.bytes_read = before + size


def _files_in(folder, unread):
    """Returns the paths of what is in a folder and its folders, sorted; adds what is not looked at to `unread`."""

    def refuse(error):
        raise InputError(f"{error.filename} cannot be read: {error.strerror}.") from error

    found, visited = [], set()
    for directory, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        # The first of several links to a folder is followed.
        folders.sort()
        if (real := os.path.realpath(directory)) in visited:
            folders.clear()
            unread["link"].append(Path(directory))
            continue
        visited.add(real)
        if "manifest.json" in names and "vocabulary.txt" in names:
            raise InputError(f"{directory} is a prepared corpus, not text: name the folder or files of your text.")
        unread["hidden"] += [Path(directory, name) for name in sorted([*folders, *names]) if name.startswith(".")]
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(directory, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _can_be_read(file, unread):
    """Returns whether a `Path` is a text file; if not, it is added to `unread`."""
    if not formats.kind_of(file):
        unread["kind"].append(file)
        return False
    # A pipe would be waited for. A link that leads nowhere is refused where its size is asked for.
    if file.exists() and not file.is_file():
        unread["special"].append(file)
        return False
    return True


def _names(name, files):
    """Returns the first names (list of str) of files (list of `Path`) of a source."""
    shown = [os.path.relpath(file, name) if os.path.isdir(name) else str(file) for file in files[:_UNREAD_NAMES]]
    # A name may hold anything but a slash, also what is not UTF-8.
    return [" ".join(os.fsencode(text).decode(errors="replace").split()) for text in shown]
