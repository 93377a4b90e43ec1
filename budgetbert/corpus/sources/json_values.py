"""JSON: objects one a line, or those of an array or of one another behind, however they are laid out in lines.

The reading process finds where each object ends, which needs no more than its quotes and brackets; the workers parse it
with `json`. A parser that reads an array piece by piece (ijson) would do both in one process, and give up a whole file
for one object that is not UTF-8.
"""

import collections
import itertools
import json
import re

from budgetbert.corpus.sources.blocks import BYTE_ORDER_MARK, CHUNK, DamagedFile, grouped, shown_names, undecodable

# What stands between strings and brackets. Nearly no text is made of the letters of true, false, null, NaN and Infinity
# alone, so a lost quote soon shows. Commas end the values of an array, so there they are looked for.
_FILLING = re.compile(rb"[\s,:+\-.0-9eEtrufalsnNIity]*+")
_FILLING_OF_AN_ARRAY = re.compile(rb"[\s:+\-.0-9eEtrufalsnNIity]*+")
_BETWEEN = re.compile(rb"(?:\s|\xef\xbb\xbf)*+")
_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SHAPE = "a .json file holds one object per line, or an array of objects"


def is_laid_out(start):
    """Returns whether the start (bytes) of a file holds an array or objects over several lines, not one per line."""
    start = start[_BETWEEN.match(start).end() :]
    if start.startswith(b"["):
        return True
    line, end, rest = start.partition(b"\n")
    if not start.startswith(b"{") or not end or _is_object(line):
        return False
    # Of objects one per line the first may be damaged. A line that follows is not an object by itself where the first
    # begins one, but for one that is the value of a name, or of an array.
    following = list(map(_is_object, itertools.islice(filter(bytes.strip, rest.split(b"\n")), 2)))
    may_begin_value = line.rstrip().endswith((b":", b"[", b","))
    return following != [True, True] and (may_begin_value or following[:1] != [True])


def _is_object(line):
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def blocks(path, stream, start, block_bytes, longest):
    """Cuts a file into blocks of values.

    Args:
        path: `Path`, for messages.
        stream: binary file object.
        start: bytes, what was read of it already.
        block_bytes: int. About what a block has, except the last.
        longest: int. Longer values are left out and counted as `too_long`; no more than this is held in memory.

    Yields:
        `Block`, one at least.

    Raises:
        DamagedFile: naming the line, where brackets and quotes are not those of JSON.
    """
    removed = collections.Counter()
    values = _Values(path, longest, removed)
    found = ((value, len(value[0])) for value in values.read(start, stream))
    yield from grouped("json", path, found, block_bytes, removed)


class _Values:
    def __init__(self, path, longest, removed):
        self._path, self._longest, self._removed = path, longest, removed
        # The buffer begins where a value does, in this line of the file, and is read up to a place.
        self._buffer, self._line, self._place = bytearray(), 1, 0
        self._depth, self._in_string, self._in_array, self._is_too_long = 0, False, False, False

    def read(self, start, stream):
        """Yields each value (bytes) and its line (int)."""
        chunk = start
        while chunk:
            self._buffer += chunk
            yield from self._scan()
            if self._place > self._longest:
                self._is_too_long = True
                self._forget(self._place)
            chunk = stream.read(CHUNK)
        if self._depth:
            line = self._line + self._buffer.count(b"\n")
            raise DamagedFile(f"{self._path} ends in line {line:,}, before its JSON does: copy or download it again.")

    def _forget(self, end):
        self._line += self._buffer.count(b"\n", 0, end)
        del self._buffer[:end]
        self._place -= end

    def _scan(self):
        """Yields the values that end in the buffer."""
        while self._place < len(self._buffer):
            if self._in_string:
                self._place = _STRING.match(self._buffer, self._place).end()
                if self._buffer[self._place : self._place + 1] != b'"':
                    # A backslash that is the last byte waits for what it escapes.
                    return
                self._in_string = False
                self._place += 1
                continue
            filling = _FILLING
            if not self._depth:
                filling = _BETWEEN
            elif self._depth == 1 and self._in_array:
                filling = _FILLING_OF_AN_ARRAY
            self._place = filling.match(self._buffer, self._place).end()
            if not self._depth:
                self._forget(self._place)
            if self._place < len(self._buffer):
                self._place += 1
                yield from self._step(self._buffer[self._place - 1 : self._place])

    def _step(self, sign):
        if sign == b'"' and self._depth:
            self._in_string = True
        elif sign in (b"[", b"{"):
            self._depth += 1
            if self._depth == 1:
                self._in_array = sign == b"["
                if self._in_array:
                    self._forget(1)
        elif sign == b"," and self._depth == 1 and self._in_array:
            yield from self._value(self._place - 1)
        elif sign in (b"]", b"}") and self._depth > 1:
            self._depth -= 1
        elif self._depth == 1 and sign == (b"]" if self._in_array else b"}"):
            self._depth = 0
            yield from self._value(self._place - 1 if self._in_array else self._place)
        else:
            line = self._line + self._buffer.count(b"\n", 0, self._place - 1)
            shown = ascii(sign.decode("latin-1"))
            raise DamagedFile(f"{self._path}, line {line:,}: this is not JSON ({shown} is out of place): {_SHAPE}.")

    def _value(self, end):
        value, line = bytes(self._buffer[:end]), self._line
        self._forget(self._place)
        if self._is_too_long:
            self._removed["too_long"] += 1
            self._is_too_long = False
        elif stripped := value.lstrip():
            yield stripped.rstrip(), line + value.count(b"\n", 0, len(value) - len(stripped))


def parse(block, text_field):
    """Parses a `Block` of kind "jsonl" or "json", as `formats.parse` does."""
    for found, text, line, problem in objects(block):
        yield (text, problem) if problem else _text(found, text, block.path, line, text_field)


def objects(block):
    """Parses a `Block` of objects one per line, or of values that were cut apart.

    Yields:
        Tuple of what a value holds; how it is written (str); its line (int); and `None`, or why it cannot be used, as
        `formats.parse` says it.
    """
    if block.kind == "json":
        for data, line in block.data:
            yield _parsed(data, block.path, line, _SHAPE)
        return
    for line, data in enumerate(block.data.split(b"\n"), start=block.line):
        # Each of several files that were joined may begin with one.
        data = data.removeprefix(BYTE_ORDER_MARK)
        if data and not data.isspace():
            yield _parsed(data, block.path, line, "each line has to be one JSON object")


def _parsed(data, path, line, shape):
    text = ""
    try:
        text = data.decode()
        return json.loads(text), text, line, None
    except UnicodeDecodeError as error:
        text, problem = undecodable(data, path, line, error)
        return None, text, line, problem
    except (ValueError, RecursionError) as error:
        # A number of over 4,300 digits is a plain ValueError.
        told = str(error).partition(";")[0]
        return None, text, line, ("malformed", f"{path}, line {line}: this is not JSON ({told}): {shape}")


def _text(found, text, path, line, text_field):
    """Returns the text of an object and `None`, or how it is written and why it cannot be used."""
    if isinstance(found, dict) and isinstance(value := found.get(text_field, 0), str | None):
        # A missing text is an empty one, as in the columns of other formats.
        return value or "", None
    named = f" but {shown_names(found)}" if isinstance(found, dict) and found else ""
    wanted = f"{path}, line {line}: the object has no string {json.dumps(text_field)}"
    return text, ("malformed", f"{wanted}{named}: name its text with --text_field")
