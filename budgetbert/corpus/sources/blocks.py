"""What a source yields: blocks of whole documents, which another process can parse."""

import collections
import dataclasses

from budgetbert.errors import InputError

CHUNK = 2**18  # So many bytes of a file are read at a time.
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class DamagedFile(InputError):
    """A file cannot be read to its end."""


@dataclasses.dataclass
class Block:
    """Whole documents of one source.

    Attributes:
        kind: str, what `data` is to be parsed as: "txt", "jsonl", "extracted", "json", "mediawiki", "documents" or
            "parsed".
        data: bytes, or a list: of str for "mediawiki" and "documents", of (bytes, line) for "json", of what
            `formats.parse` yields for "parsed".
        size: int, about the bytes of text.
        path: str, the file, for messages.
        line: int, the number of its first line, from 1.
        removed: `collections.Counter` of what the reader left out already, by reason.
        is_wiki: bool. Whether the text comes from a wiki, and so may hold what is left of its markup.
    """

    kind: str
    data: bytes | list
    size: int = 0
    path: str = ""
    line: int = 1
    removed: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    is_wiki: bool = False


def grouped(kind, path, texts, block_bytes, removed, cost=1):
    """Yields blocks of the texts (or what a block of that kind holds) of an iterable of (text, size).

    What is counted in `removed` is taken over.
    """
    group, size, any_block = [], 0, False
    for text, text_size in texts:
        group.append(text)
        size += text_size * cost
        if size >= block_bytes:
            yield Block(kind, group, size, str(path), removed=removed.copy(), is_wiki=kind == "mediawiki")
            removed.clear()
            group, size, any_block = [], 0, True
    if group or removed or not any_block:
        yield Block(kind, group, size, str(path), removed=removed.copy(), is_wiki=kind == "mediawiki")


def documents_of(documents, block_bytes):
    """Yields `Block`s of an iterable of str."""
    texts = ((text, len(text)) for text in documents)
    yield from grouped("documents", "", texts, block_bytes, collections.Counter())


def shown_names(names):
    """Returns the names of columns (iterable of str) as a sentence has them: at most 300 characters, all printable."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def undecodable(data, path, line, error):
    """Returns what there is of a text (bytes) that is not UTF-8, and why it cannot be used, as `formats.parse` does.

    Args:
        data: bytes.
        path: str, of the file.
        line: int, that of the start of `data` in it.
        error: the `UnicodeDecodeError`.
    """
    line += data.count(b"\n", 0, error.start)
    byte = error.start - data.rfind(b"\n", 0, error.start)
    sentence = f"{path}, byte {byte} of line {line}: the text is not UTF-8: convert it, for example with iconv"
    return data.decode(errors="replace"), ("undecodable", sentence)
