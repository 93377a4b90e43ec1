"""The formats of text files: cut into blocks of whole documents by one process, parsed by others.

A block is what can be handed to another process: some MB of a file, cut where a document ends.
"""

import collections
import io
import re
from pathlib import Path

from budgetbert.corpus.sources import json_values, mediawiki, parquet, tables, wikitext
from budgetbert.corpus.sources.blocks import (
    BYTE_ORDER_MARK,
    CHUNK,
    Block,
    grouped,
    is_of_wiki,
    undecodable,
)
from budgetbert.corpus.sources.compression import COMPRESSIONS, opened

# Longer documents are left out and counted: memory is bounded, and what is that long (a file without blank lines, a
# dump in one line) is hardly one document. The longest novels have 6 MB.
LONGEST_DOCUMENT_BYTES = 2**24
# The ends of the names of files, and the kinds that they are of.
_KINDS = {
    **{"txt": "txt", "jsonl": "jsonl", "ndjson": "jsonl", "json": "json", "csv": "csv", "tsv": "tsv"},
    **{"parquet": "parquet", "xml": "mediawiki"},
}
USABLE = (
    f"{', '.join(f'.{suffix}' for suffix, kind in _KINDS.items() if kind != 'mediawiki')}, MediaWiki's .xml and "
    f"WikiExtractor's wiki_00, all but .parquet also with {', '.join(f'.{name}' for name in COMPRESSIONS)}"
)
_NAME = re.compile(
    rf".*(?:\.(?P<suffix>{'|'.join(_KINDS)})|(?P<dump>\.xml-p\d+p\d+)|(?:^|/)(?P<extracted>wiki_\d+))"
    rf"(?:\.(?P<compression>{'|'.join(COMPRESSIONS)}))?"
)
# Spaces of Chinese and Japanese (U+3000), those that do not break (U+00A0), and byte order marks of files that were
# joined leave a line blank.
_BLANK = rb"(?:[ \t\r\f\v]|\xc2\xa0|\xe3\x80\x80|\xef\xbb\xbf)*+"
# Where a document ends: behind the match.
_ENDS = {
    "txt": re.compile(rb"\n" + _BLANK + rb"\n"),
    "jsonl": re.compile(rb"\n"),
    "extracted": re.compile(rb"</doc>[ \t\r]*\n"),
    # It ends where the file does.
    "whole": None,
}
_BLANK_LINES = re.compile(rb"\n(?:" + _BLANK + rb"\n)++\s*")


def longest():
    """Returns what a document may have at most, as a sentence says it."""
    return f"{LONGEST_DOCUMENT_BYTES:,} bytes (of a column, characters)"


def kind_of(path):
    """Returns the kind (str) of a file by its name: a value of `_KINDS` or "extracted", or `None` for any other."""
    match = _NAME.fullmatch(Path(path).name.lower())
    if not match or (match["suffix"] == "parquet" and match["compression"]):
        return None
    if match["extracted"]:
        return "extracted"
    return "mediawiki" if match["dump"] else _KINDS[match["suffix"]]


def read_blocks(path, raw, block_bytes, text_field, document="auto"):
    """Reads a file as blocks.

    Args:
        path: `Path`.
        raw: the file, opened in binary mode.
        block_bytes: int. About what a block has, except the last.
        text_field: str. The column of a table.
        document: str. `"file"` makes one document of a `.txt` file. Defaults to `"auto"`.

    Yields:
        `Block`, one at least.

    Raises:
        InputError: naming file and offset, if the file is damaged or compressed in another way than its name says.
    """
    kind = kind_of(path)
    if kind == "txt" and document == "file":
        kind = "whole"
    with opened(path, raw) as from_start:
        for block in _blocks(kind, path, raw, from_start, block_bytes, text_field):
            block.is_wiki = is_of_wiki(kind)
            yield block


def _blocks(kind, path, raw, from_start, block_bytes, text_field):
    """Returns an iterator of the blocks of a file of a kind."""
    if kind == "parquet":
        return parquet.blocks(path, raw, block_bytes, text_field)
    if kind == "mediawiki":
        return _mediawiki_blocks(path, io.BufferedReader(from_start(), CHUNK), block_bytes)
    if kind in ("csv", "tsv"):
        return tables.blocks(kind, path, from_start, block_bytes, text_field, LONGEST_DOCUMENT_BYTES)
    return text_blocks(kind, path, from_start(), block_bytes)


def text_blocks(kind, path, stream, block_bytes):
    """Yields the `Block`s of a stream of text or JSON; the other arguments are those of `read_blocks`."""
    start = stream.read(CHUNK)
    # Lines that end in carriage returns alone are those of old Macintoshes.
    with_returns = b"\r" in start and b"\n" not in start
    if kind == "json":
        if json_values.is_laid_out(start):
            yield from json_values.blocks(path, stream, start, block_bytes, LONGEST_DOCUMENT_BYTES)
            return
        kind = "jsonl"
    # WikiExtractor's --json
    if kind == "extracted" and start.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{"):
        kind = "jsonl"
    yield from _cut(kind, path, stream, start, block_bytes, with_returns)


def _cut(kind, path, stream, start, block_bytes, with_returns):
    buffer, line, skipping, any_block = bytearray(start.removeprefix(BYTE_ORDER_MARK)), 1, False, False
    if with_returns:
        buffer = buffer.replace(b"\r", b"\n")
    ends, removed, chunk = _ENDS[kind], collections.Counter(), b"-"
    while chunk:
        chunk = stream.read(CHUNK)
        buffer += chunk.replace(b"\r", b"\n") if with_returns else chunk
        if skipping:
            end = ends and ends.search(buffer)
            # The end itself may be cut in two, so a few bytes stay.
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
    if ends is None:
        return 0
    # The last end is nearly always near.
    for start in (max(0, len(buffer) - 2**16), 0):
        found = [match.end() for match in ends.finditer(buffer, start)]
        if found:
            return found[-1]
    return 0


def _mediawiki_blocks(path, stream, block_bytes):
    removed = collections.Counter()
    texts = ((text, len(text)) for text in mediawiki.pages(stream, removed))
    # Wikitext takes a worker a hundred times as long as text, so its blocks are smaller, and count for more.
    yield from grouped("mediawiki", path, texts, block_bytes, removed, cost=16)


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
        yield from (_parse_article(markup, block.path) for markup in block.data)
    elif block.kind == "documents":
        yield from ((text, None) for text in block.data)
    elif block.kind == "parsed":
        yield from block.data
    else:
        yield from _PARSERS[block.kind](block, text_field)


def _parse_article(markup, path):
    try:
        return wikitext.plain_text(markup), None
    except RecursionError:
        start = " ".join(markup[:40].split())
        return markup, ("malformed", f"{path}: the markup of the article {start!r} is nested too deeply")


def _parse_text(block, _):
    start, data = 0, block.data
    for match in [*(_BLANK_LINES.finditer(data) if block.kind == "txt" else ()), None]:
        piece = (data[start : match.start()] if match else data[start:]).removeprefix(BYTE_ORDER_MARK)
        if piece.strip():
            try:
                yield piece.decode(), None
            except UnicodeDecodeError as error:
                yield undecodable(piece, block.path, block.line + data.count(b"\n", 0, start), error)
        start = match.end() if match else len(data)


def _parse_extracted(block, _):
    return mediawiki.extracted(block.data, block.path, block.line)


_PARSERS = {
    "txt": _parse_text,
    "whole": _parse_text,
    "jsonl": json_values.parse,
    "json": json_values.parse,
    "extracted": _parse_extracted,
}
