"""The formats of text files: cut into blocks of whole documents by one process, parsed by others.

A block is what can be handed to another process: some MB of a file, cut where a document ends.
"""

import bz2
import collections
import dataclasses
import gzip
import html
import io
import json
import lzma
import re
import zlib
from pathlib import Path

from budgetbert.command_line import InputError
from budgetbert.corpus import wikipedia

# Longer documents are left out and counted: memory is bounded, and what is that long (a file without blank lines, a
# dump in one line) is hardly one document. The longest novels have 6 MB.
LONGEST_DOCUMENT_BYTES = 2**24
USABLE = (
    ".txt, .jsonl, .parquet, MediaWiki's .xml and WikiExtractor's wiki_00, "
    "all but .parquet also with .gz, .bz2, .xz or .zst"
)

_NAME = re.compile(
    r".*(?:\.(?P<suffix>txt|jsonl|parquet|xml)|\.xml-p\d+p\d+|(?:^|/)(?P<extracted>wiki_\d+)|\.json(?=\.))"
    r"(?:\.(?P<compression>gz|bz2|xz|zst))?"
)
# Where a document ends: behind the match.
_ENDS = {
    "txt": re.compile(rb"\n[ \t\r\f\v]*\n"),
    "jsonl": re.compile(rb"\n"),
    "extracted": re.compile(rb"</doc>[ \t\r]*\n"),
}
_BLANK_LINES = re.compile(rb"\n[ \t\r\f\v]*\n\s*")
_EXTRACTED = re.compile(r"(<doc\b[^<>]*>\n)|</doc>")
_CHUNK = 2**18
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PARQUET_ROWS = 256  # decoded at a time


class DamagedFile(InputError):
    """A file cannot be read to its end."""


@dataclasses.dataclass
class Block:
    """Whole documents of one source.

    Attributes:
        kind: str, "txt", "jsonl", "extracted", "mediawiki" or "documents": what `data` is to be parsed as.
        data: bytes, or for "mediawiki" and "documents" a list of str.
        size: int, about the bytes of text.
        path: str, the file, for messages.
        line: int, the number of its first line, from 1.
        removed: `collections.Counter` of what the reader left out already, by reason.
    """

    kind: str
    data: bytes | list
    size: int = 0
    path: str = ""
    line: int = 1
    removed: collections.Counter = dataclasses.field(default_factory=collections.Counter)


def kind_of(path):
    """Returns "txt", "jsonl", "parquet", "mediawiki" or "extracted" by the name of a file, or None for any other."""
    match = _NAME.fullmatch(Path(path).name.lower())
    if not match or (match["suffix"] == "parquet" and match["compression"]):
        return None
    if match["extracted"]:
        return "extracted"
    if match["suffix"] in ("txt", "jsonl", "parquet"):
        return match["suffix"]
    return "jsonl" if match.start("suffix") < 0 and ".json." in match[0] else "mediawiki"


def read_blocks(path, raw, block_bytes, text_field):
    """Reads a file as blocks.

    Args:
        path: `Path`.
        raw: the file, opened in binary mode.
        block_bytes: int. About what a block has, except the last.
        text_field: str. The column of a parquet file.

    Yields:
        `Block`, one at least.

    Raises:
        InputError: naming file and offset, if the file is damaged.
    """
    kind, offset = kind_of(path), [0]
    try:
        if kind == "parquet":
            yield from _parquet_blocks(path, raw, block_bytes, text_field)
            return
        stream = _Counted(_decompressed(path, raw), offset, str(path))
        if kind == "mediawiki":
            yield from _mediawiki_blocks(path, io.BufferedReader(stream, _CHUNK), block_bytes)
        else:
            yield from _cut(kind, path, stream, block_bytes)
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise DamagedFile(
            f"{path}, behind byte {offset[0]:,} of its text: the file cannot be read further ({reason}): copy or "
            "download it again."
        ) from error


def _decompressed(path, raw):
    opener = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}.get(path.suffix.lower())
    if opener:
        return opener(raw, "rb")
    if path.suffix.lower() == ".zst":
        import pyarrow as pa

        return pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
    return raw


class _Counted(io.RawIOBase):
    """A stream that counts the bytes that were read from it."""

    def __init__(self, stream, offset, name):
        self._stream, self._offset, self.name = stream, offset, name

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size=-1):
        data = self._stream.read(size)
        self._offset[0] += len(data)
        return data


def _cut(kind, path, stream, block_bytes):
    buffer, line, skipping, any_block = bytearray(stream.read(_CHUNK)), 1, False, False
    if buffer.startswith(_BYTE_ORDER_MARK):
        del buffer[: len(_BYTE_ORDER_MARK)]
    if kind == "extracted" and buffer.lstrip().startswith(b"{"):  # WikiExtractor's --json
        kind = "jsonl"
    ends, removed, chunk = _ENDS[kind], collections.Counter(), b"-"
    while chunk:
        chunk = stream.read(_CHUNK)
        buffer += chunk
        if skipping:
            end = ends.search(buffer)
            # the end itself may be cut in two, so a few bytes stay
            passed = end.end() if end else max(0, len(buffer) - 64)
            line += buffer.count(b"\n", 0, passed)
            del buffer[:passed]
            skipping = not end
        if skipping or (chunk and len(buffer) < block_bytes):
            continue
        passed = _last_end(ends, buffer) if chunk else len(buffer)
        if passed:
            data = bytes(buffer[:passed])
            yield Block(kind, data, len(data), str(path), line, removed)
            any_block, removed = True, collections.Counter()
            line += data.count(b"\n")
            del buffer[:passed]
        elif len(buffer) >= LONGEST_DOCUMENT_BYTES:
            removed["too_long"] += 1
            skipping = True
    if removed or not any_block:
        yield Block(kind, b"", 0, str(path), line, removed)


def _last_end(ends, buffer):
    for start in (max(0, len(buffer) - 2**16), 0):  # nearly always it is near
        found = [match.end() for match in ends.finditer(buffer, start)]
        if found:
            return found[-1]
    return 0


def _mediawiki_blocks(path, stream, block_bytes):
    removed = collections.Counter()
    texts = ((text, len(text)) for text in wikipedia.pages(stream, removed))
    # wikitext takes a worker a hundred times as long as text, so its blocks are smaller, and count for more
    yield from _grouped("mediawiki", path, texts, block_bytes, removed, cost=16)


def _parquet_blocks(path, raw, block_bytes, text_field):
    import pyarrow as pa
    import pyarrow.parquet

    try:
        file = pa.parquet.ParquetFile(raw)
        names = file.schema_arrow.names
        if text_field not in names:
            raise InputError(
                f"{path} has no column {text_field!r} but {', '.join(names)}: name one of them with --text_field."
            )
        column = file.schema_arrow.field(text_field).type
        value = column.value_type if pa.types.is_dictionary(column) else column
        if not (pa.types.is_string(value) or pa.types.is_large_string(value) or pa.types.is_string_view(value)):
            raise InputError(f"{path}: the column {text_field!r} holds {column}, not text: name another one.")
        batches = file.iter_batches(_PARQUET_ROWS, columns=[text_field], use_threads=False)
        removed = collections.Counter()
        texts = ((text, len(text)) for batch in batches for text in _decoded(batch.column(0), removed))
        yield from _grouped("documents", path, texts, block_bytes, removed)
    except (pa.ArrowInvalid, pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).rstrip(".").partition("\n")[0]
        raise DamagedFile(f"{path} is a damaged parquet file ({reason}): copy or download it again.") from error


def _decoded(column, removed):
    """Yields the texts of an Arrow array of any kind of string, and counts what is not UTF-8 in `removed`."""
    import pyarrow as pa

    for value in column.cast(pa.large_string()).cast(pa.large_binary()).to_pylist():
        try:
            yield (value or b"").decode()
        except UnicodeDecodeError:
            removed["undecodable"] += 1


def _grouped(kind, path, texts, block_bytes, removed, cost=1):
    """Yields blocks of the texts of an iterable of (text, size); takes over what is counted in `removed`."""
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
    yield from _grouped("documents", "", texts, block_bytes, collections.Counter())


def parse(block, text_field):
    """Parses a block.

    Args:
        block: `Block`.
        text_field: str. The field of a JSON object that holds the text.

    Yields:
        Tuple of the text (str) and `None`, or for what cannot be used of what there is of it (str) and the reason:
        a pair of its name in the manifest and a sentence.
    """
    if block.kind == "mediawiki":
        yield from (_parse_article(wikitext, block.path) for wikitext in block.data)
    elif block.kind == "documents":
        yield from ((text, None) for text in block.data)
    else:
        yield from _PARSERS[block.kind](block, text_field)


def _parse_article(wikitext, path):
    try:
        return wikipedia.plain_text(wikitext), None
    except RecursionError:
        start = " ".join(wikitext[:40].split())
        return wikitext, ("malformed", f"{path}: the markup of the article {start!r} is nested too deeply")


def _undecodable(data, path, line, error):
    line += data.count(b"\n", 0, error.start)
    byte = error.start - data.rfind(b"\n", 0, error.start)
    sentence = f"{path}, byte {byte} of line {line}: the text is not UTF-8: convert it, for example with iconv"
    return data.decode(errors="replace"), ("undecodable", sentence)


def _parse_text(block, _):
    start, data = 0, block.data
    for match in [*_BLANK_LINES.finditer(data), None]:
        piece = data[start : match.start()] if match else data[start:]
        if piece.strip():
            try:
                yield piece.decode(), None
            except UnicodeDecodeError as error:
                yield _undecodable(piece, block.path, block.line + data.count(b"\n", 0, start), error)
        start = match.end() if match else len(data)


def _parse_json(block, text_field):
    for number, data in enumerate(block.data.split(b"\n"), start=block.line):
        if not data or data.isspace():
            continue
        where, line = f"{block.path}, line {number}", ""
        try:
            line = data.decode()
            text = json.loads(line)[text_field]
            text.encode()
        except UnicodeDecodeError as error:
            yield _undecodable(data, block.path, number, error)
        except UnicodeEncodeError:
            sentence = f"{where}: the text has half a surrogate pair: write the whole character"
            yield line, ("malformed", sentence)
        except (ValueError, RecursionError) as error:  # a number of over 4,300 digits is a plain ValueError
            told = str(error).partition(";")[0]
            sentence = f"{where}: this is not JSON ({told}): each line has to be one JSON object"
            yield line, ("malformed", sentence)
        except (KeyError, TypeError, AttributeError):
            sentence = f"{where}: the object has no string {json.dumps(text_field)}: name its text with --text_field"
            yield line, ("malformed", sentence)
        else:
            yield text, None


def _parse_extracted(block, _):
    try:
        text = block.data.decode()
    except UnicodeDecodeError as error:
        _, reason = _undecodable(block.data, block.path, block.line, error)
        yield from _parse_extracted_with_errors(block, reason)
        return
    opened, behind = None, 0  # the <doc ...> of an article, and the place behind the last one
    unused = []
    for match in _EXTRACTED.finditer(text):
        if match[1]:
            # An article may write of <doc>, but at the start of a line it is the next one, as the last was cut off.
            if not opened or (match[1].startswith("<doc ") and text[match.start() - 1] == "\n"):
                unused.append((behind, match.start()))
                opened, behind = match, match.start()
        elif opened:
            # the first line of an article is its title
            body = text[opened.end() : match.start()].removesuffix("\n")
            yield html.unescape(body.partition("\n")[2]), None
            opened, behind = None, match.end()
    line, counted = block.line, 0
    for start, end in (*unused, (behind, len(text))):
        piece = text[start:end].lstrip()
        if piece:
            line += text.count("\n", counted, end - len(piece))
            counted = end - len(piece)
            sentence = f"{block.path}, line {line}: this is not an article between <doc ...> and </doc>"
            yield piece.rstrip(), ("malformed", sentence)


def _parse_extracted_with_errors(block, reason):
    line = block.line
    for piece in re.split(rb"(?<=</doc>)", block.data):
        try:
            piece.decode()
            yield from _parse_extracted(dataclasses.replace(block, data=piece, line=line), None)
        except UnicodeDecodeError:
            yield piece.decode(errors="replace"), reason
        line += piece.count(b"\n")


_PARSERS = {"txt": _parse_text, "jsonl": _parse_json, "extracted": _parse_extracted}
