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
        kind: str, what `data` is to be parsed as: "txt", "whole" (a `.txt` file that is one document),
            "jsonl", "extracted", "json", "mediawiki", "documents" or "parsed".
        data: bytes, or a list: of str for "mediawiki" and "documents", of (bytes, line) for "json", of what
            `formats.parse` yields for "parsed".
        size: int, about the bytes of text.
        path: str, the file, for messages.
        line: int, the number of its first line, from 1.
        removed: `collections.Counter` of what the reader left out already, by reason.
        is_wiki: bool. Whether the text comes from a wiki, and so may hold what is left of its markup: `is_of_wiki`.
    """

    kind: str
    data: bytes | list
    size: int = 0
    path: str = ""
    line: int = 1
    removed: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    is_wiki: bool = False


def is_of_wiki(kind=None, data_set=""):
    """Returns whether text comes from a wiki, as its file is of such a kind (str) or its data set has such a name."""
    return kind in ("mediawiki", "extracted") or "wikipedia" in data_set.lower()


def grouped(kind, path, texts, block_bytes, removed, cost=1):
    """Groups texts into blocks.

    Args:
        kind: str, of `Block`.
        path: str or `Path`, for messages.
        texts: iterable of (text, size): of what a block of that kind holds, and int. It is read no further than the
            block that is yielded.
        block_bytes: int. About what a block has, except the last.
        removed: `collections.Counter` of what is left out meanwhile. Each block takes over what is in it.
        cost: int. What a size counts for. Defaults to 1.

    Yields:
        `Block`, one at least.
    """
    group, size, any_block = [], 0, False
    for text, text_size in texts:
        group.append(text)
        size += text_size * cost
        if size >= block_bytes:
            yield Block(kind, group, size, str(path), removed=removed.copy())
            removed.clear()
            group, size, any_block = [], 0, True
    if group or removed or not any_block:
        yield Block(kind, group, size, str(path), removed=removed.copy())


def documents_of(documents, block_bytes):
    """Yields `Block`s of an iterable of str."""
    texts = ((text, len(text)) for text in documents)
    yield from grouped("documents", "", texts, block_bytes, collections.Counter())


def shown_names(names):
    """Returns the names of columns (iterable of str) as a sentence has them: at most 300 characters, all printable."""
    shown = ", ".join(name if name.isprintable() else repr(name) for name in names)
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def column_number(where, names, wanted, found=" but"):
    """Returns the number (int) of the column with the text.

    Args:
        where: str or `Path`. The file or data set.
        names: iterable of str. Of all its columns.
        wanted: str. The value of `--text_field`.
        found: str. What stands in the sentence before the names. Defaults to `" but"`.

    Raises:
        InputError: if there is no such column, or if there are two.
    """
    names = list(names)
    if wanted not in names:
        raise InputError(
            f"{where} has no column {wanted!r}{found} {shown_names(names)}: name one of them with --text_field."
        )
    if (number := names.count(wanted)) > 1:
        raise InputError(f"{where} has {number} columns {wanted!r}: rename all but one.")
    return names.index(wanted)


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
