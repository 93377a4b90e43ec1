"""Tables: .csv and .tsv files with a header, quoted as Python's `csv` writes them."""

import collections
import csv
import itertools
import re

from budgetbert.corpus.sources.blocks import BYTE_ORDER_MARK, CHUNK, column_number, grouped, undecodable
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import counted

_DELIMITERS = {"csv": ",", "tsv": "\t"}
_MIDDLE = re.compile(rb'([^"\r\n])[^"\r\n]+([^"\r\n])')


def blocks(kind, path, from_start, block_bytes, text_field, longest):
    """Reads a file as blocks of what `formats.parse` yields.

    Args:
        kind: str, "csv" or "tsv".
        path: `Path`, for messages.
        from_start: function that returns a binary file object of the file, at its start. A second one is asked for
            where a quote is not closed.
        block_bytes: int. About what a block has, except the last.
        text_field: str. The column that holds the text.
        longest: int. Of a row that is longer than this no more is held in memory, and it is left out.

    Yields:
        `Block`, one at least.

    Raises:
        InputError: if the header has no such column, or two, or is longer than `longest`.
    """
    removed = collections.Counter()
    found = _texts(kind, path, rows(kind, path, from_start, longest), text_field, removed)
    yield from grouped("parsed", path, ((part, len(part[0])) for part in found), block_bytes, removed)


class _Lines:
    """The lines of a file as `csv.reader` takes them: an iterator of str.

    Those of the present row are remembered, so that the next ones can be read again if it has no end. What goes beyond
    the longest row comes as `_bones`, by which `csv.reader` finds the row's end as by the whole, and is not remembered.

    Attributes:
        longest: int, in bytes.
        taken: list of tuples of a number, from 1, and what `_read_lines` yields: of the present row, as far as it is
            remembered.
        is_too_long: bool. Whether the present row is longer than the longest that is held.
    """

    def __init__(self, from_start, longest):
        self.longest, self._from_start, self._size, self._number = longest, from_start, 0, 0
        self._lines, self._again = enumerate(_read_lines(from_start(), longest), 1), collections.deque()
        self.taken, self.is_too_long = [], False

    def __iter__(self):
        return self

    def __next__(self):
        self._number, (line, size) = self._again.popleft() if self._again else next(self._lines)
        self._size += size
        self.is_too_long = self._size > self.longest
        is_first = not self.taken
        if is_first or not self.is_too_long:
            self.taken.append((self._number, (line, size)))
        if not self.is_too_long:
            return _decoded(line)
        # A row goes on in a second line only within quotes, where one without quotes changes nothing.
        return _decoded(_bones(line)) if is_first or b'"' in line else ""

    def end_row(self, is_broken=False):
        """Forgets the lines of a row; those behind the first of a broken one come once more."""
        if is_broken:
            remembered = self.taken[-1][0]
            if self._number > remembered:
                again = enumerate(_read_lines(self._from_start(), self.longest), 1)
                self._lines, self._again = itertools.islice(again, remembered, None), collections.deque()
            self._again.extendleft(reversed(self.taken[1:]))
        self.taken, self._size, self.is_too_long = [], 0, False


def _bones(line):
    """Returns of a line (bytes), or of its start, what decides where its fields begin and end.

    They are its quotes but those that are doubled, and what stands next to them. Of the bones of a start and what
    follows they are those of the whole.
    """
    return _MIDDLE.sub(rb"\1\2", line.replace(b'""', b""))


def _read_lines(stream, longest):
    """Yields the lines (bytes) with their ends, \\n, \\r\\n or \\r, and their sizes; of a longer one its `_bones`."""
    held, dropped = b"", 0
    while chunk := stream.read(CHUNK):
        lines = (held + chunk).splitlines(keepends=True)
        # The last one may go on, and so may its end.
        held = lines.pop()
        for line in lines:
            yield line, len(line) + dropped
            dropped = 0
        if dropped or len(held) > longest:
            dropped += len(held)
            held = _bones(held)
            dropped -= len(held)
    if held:
        yield held, len(held) + dropped


def _decoded(line):
    return line.removeprefix(BYTE_ORDER_MARK).decode(errors="surrogateescape")


def rows(kind, path, from_start, longest):
    """Reads the rows of a file, the header first.

    Args:
        kind, path, from_start, longest: as of `blocks`.

    Yields:
        Tuple of the fields of a row (list of str, in which bytes that are no UTF-8 are halves of surrogate pairs), or
        `None` where they are not known; the number (int) of its first line; what that line holds (str), where the row
        cannot be used; and why not, as `formats.parse` says it, or `None`. The header can be used.

    Raises:
        InputError: if the header is longer than `longest`, or its quotes are not closed.
    """
    csv.field_size_limit(2**31 - 1)
    lines = _Lines(from_start, longest)
    # A quote that is neither doubled nor next to the end of its field is an error here, as the field may end elsewhere.
    reader = csv.reader(lines, delimiter=_DELIMITERS[kind], strict=True)
    header = None
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            row = error
        if row is None:
            return
        (number, (line, _)), is_too_long = lines.taken[0], lines.is_too_long
        is_broken = isinstance(row, csv.Error)
        lines.end_row(is_broken)
        if row == []:
            continue
        where = f"{path}, line {number:,}"
        problem = None
        if is_broken:
            sentence = f"{where}: the quotes of the row are not closed, or not doubled within its fields"
            if header is None:
                raise InputError(f"{sentence}: a .{kind} file begins with a header.")
            row, problem = None, ("malformed", sentence)
        elif header is None and is_too_long:
            raise InputError(f"{where}: the header has over {longest:,} bytes: give each column a short name.")
        elif header is None:
            header = row
        elif is_too_long:
            row, problem = None, ("too_long", f"{where}: the row has over {longest:,} bytes")
        elif row == header:
            # Files that were joined have the header of each.
            problem = "repeated_header", f"{where}: the header is repeated"
        elif len(row) != len(header):
            sentence = f"{where}: the row has {counted(len(row), 'field')} and the header {len(header):,}"
            row, problem = None, ("malformed", sentence)
        yield row, number, printable(_decoded(line)) if problem else "", problem


def _texts(kind, path, found, text_field, removed):
    """Yields the text of each row and `None`, or what there is of it and why it cannot be used.

    What is too long is counted in `removed`.
    """
    column = None
    for row, number, line, problem in found:
        if column is None:
            column = _column(kind, path, row, text_field)
        elif problem and problem[0] == "too_long":
            removed["too_long"] += 1
        elif problem:
            yield line if row is None else printable(row[column]), problem
        else:
            yield checked(row[column], path, number)


def _column(kind, path, header, text_field):
    """Returns the number of the column with the text."""
    names = [printable(name) for name in header]
    if text_field not in header and any("\ufffd" in name or "\0" in name for name in names):
        raise InputError(f"{path}: its first line is not UTF-8: convert the file, for example with iconv.")
    separator = {"csv": "commas", "tsv": "tabs"}[kind]
    return column_number(path, names, text_field, f" in its first line but, between {separator},")


def checked(text, path, line):
    """Returns the text (str) of a field of a row that begins in a line (int), and `None` or why it cannot be used."""
    if text.isascii():
        return text, None
    try:
        data = text.encode(errors="surrogateescape")
        data.decode()
        return text, None
    except UnicodeDecodeError as error:
        return undecodable(data, path, line, error)


def printable(text):
    """Returns the text of a field with U+FFFD in place of each byte that is no UTF-8."""
    return text.encode(errors="surrogateescape").decode(errors="replace")
