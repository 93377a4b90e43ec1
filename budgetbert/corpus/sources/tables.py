"""Tables: .csv and .tsv files with a header, quoted as Python's `csv` writes them."""

import collections
import csv

from budgetbert.corpus.sources.blocks import BYTE_ORDER_MARK, CHUNK, grouped, shown_names, undecodable
from budgetbert.errors import InputError

_DELIMITERS = {"csv": ",", "tsv": "\t"}


def blocks(kind, path, stream, block_bytes, text_field, longest):
    """Reads a file as blocks of what `formats.parse` yields.

    Args:
        kind: str, "csv" or "tsv".
        path: `Path`, for messages.
        stream: binary file object.
        block_bytes: int. About what a block has, except the last.
        text_field: str. The column that holds the text.
        longest: int. Of a row that is longer than this no more is held in memory, and it is left out.

    Yields:
        `Block`, one at least.

    Raises:
        InputError: if the header has no such column, or two.
    """
    removed = collections.Counter()
    texts = ((found, len(found[0])) for found in _texts(kind, path, _Lines(stream, longest, removed), text_field))
    yield from grouped("parsed", path, texts, block_bytes, removed)


class _Lines:
    """The lines of a file as `csv.reader` takes them: an iterator of str.

    Those of the present row are remembered, so that the next ones can be read again if it has no end.

    Attributes:
        taken: list of tuples of a number, from 1, and a line: of the present row.
    """

    def __init__(self, stream, longest, removed):
        self._lines, self._longest, self._size = enumerate(_read_lines(stream, longest, removed), 1), longest, 0
        self._again = collections.deque()
        self.taken = []

    def __iter__(self):
        return self

    def __next__(self):
        if self._size > self._longest:
            raise csv.Error("the row does not end")
        taken = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(taken)
        self._size += len(taken[1])
        return taken[1]

    def end_row(self, broken=False):
        """Forgets the lines of a row; those behind the first of a broken one come once more."""
        if broken:
            self._again.extendleft(reversed(self.taken[1:]))
        self.taken, self._size = [], 0


def _read_lines(stream, longest, removed):
    """Yields the lines (str) with their ends, \\n, \\r\\n or \\r; bytes that are not UTF-8 are halves of surrogates."""
    held, skipping = b"", False
    while chunk := stream.read(CHUNK):
        lines = (held + chunk).splitlines(keepends=True)
        # The last one may go on, and so may its end.
        held = lines.pop()
        if skipping and lines:
            # The lines behind it keep their numbers.
            lines[0] = b"\n"
            skipping = False
        yield from map(_decoded, lines)
        if len(held) > longest or skipping:
            removed["too_long"] += not skipping
            held, skipping = held[-1:], True
    if not skipping and held:
        yield _decoded(held)


def _decoded(line):
    return line.removeprefix(BYTE_ORDER_MARK).decode(errors="surrogateescape")


def _texts(kind, path, lines, text_field):
    """Yields the text of each row and `None`, or what there is of it and why it cannot be used."""
    csv.field_size_limit(2**31 - 1)
    # A quote that is neither doubled nor next to the end of its field is an error here, as the field may end elsewhere.
    reader = csv.reader(lines, delimiter=_DELIMITERS[kind], strict=True)
    header = column = None
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            row = error
        if row is None:
            return
        taken = lines.taken
        lines.end_row(broken=isinstance(row, csv.Error))
        if row == []:
            continue
        where = f"{path}, line {taken[0][0]:,}"
        if isinstance(row, csv.Error):
            problem = f"{where}: the quotes of the row are not closed, or not doubled within its fields"
            if header is None:
                raise InputError(f"{problem}: a .{kind} file begins with a header.")
            yield _printable(taken[0][1]), ("malformed", problem)
        elif header is None:
            header, column = row, _column(kind, path, row, text_field)
        elif row == header:
            # Files that were joined have the header of each.
            yield _printable(row[column]), ("repeated_header", f"{where}: the header is repeated")
        elif len(row) != len(header):
            sentence = f"{where}: the row has {len(row):,} fields and the header {len(header):,}"
            yield _printable(taken[0][1]), ("malformed", sentence)
        else:
            yield _checked(row[column], path, taken[0][0])


def _column(kind, path, header, text_field):
    """Returns the number of the column with the text."""
    if text_field in header:
        if (number := header.count(text_field)) > 1:
            raise InputError(f"{path} has {number} columns {text_field!r}: rename all but one.")
        return header.index(text_field)
    names = [_printable(name) for name in header]
    if any("\ufffd" in name or "\0" in name for name in names):
        raise InputError(f"{path}: its first line is not UTF-8: convert the file, for example with iconv.")
    separator = {"csv": "commas", "tsv": "tabs"}[kind]
    raise InputError(
        f"{path} has no column {text_field!r} in its first line but, between {separator}, {shown_names(names)}: name "
        "one of them with --text_field."
    )


def _checked(text, path, line):
    if text.isascii():
        return text, None
    try:
        data = text.encode(errors="surrogateescape")
        data.decode()
        return text, None
    except UnicodeDecodeError as error:
        return undecodable(data, path, line, error)


def _printable(text):
    return text.encode(errors="surrogateescape").decode(errors="replace")
