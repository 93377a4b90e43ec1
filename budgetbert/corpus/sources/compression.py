"""Compressed files, read as what their names say, and refused where they are something else or damaged."""

import contextlib
import gzip
import io
import re
import zlib

from budgetbert.corpus.sources.blocks import DamagedFile
from budgetbert.errors import InputError, one_line
from budgetbert.files import DamagedArchive, open_archive

# What a compressed file begins with. The digits of pi begin every block of bzip2, and so the first.
_MAGIC = {
    "gz": re.compile(rb"\x1f\x8b\x08"),
    "bz2": re.compile(rb"BZh[1-9]1AY&SY"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "zst": re.compile(rb"\x28\xb5\x2f\xfd"),
}
# The ends of the names of compressed files.
COMPRESSIONS = tuple(_MAGIC)


@contextlib.contextmanager
def opened(path, raw):
    """Context in which a file is read, decompressed as its name says.

    Args:
        path: `Path`.
        raw: the file, opened in binary mode.

    Yields:
        Function that returns a binary file object of the content, at its start.

    Raises:
        InputError: naming file and offset, if the file is damaged or compressed in another way than its name says.
    """
    offset, streams = [0], []  # A stream of .zst closes the file when it is forgotten.

    def from_start():
        raw.seek(0)
        offset[0] = 0
        streams.append(_Counted(decompressed(path, raw), offset, str(path)))
        return streams[-1]

    _check_compression(path, raw)
    try:
        yield from_start
    except (DamagedArchive, EOFError, zlib.error, OSError) as error:
        reason = one_line(error).rstrip(".")
        raise DamagedFile(
            f"{path}, behind byte {offset[0]:,} of its text: the file cannot be read further ({reason}): copy or "
            "download it again."
        ) from error


def _check_compression(path, raw):
    named = path.suffix.lower().removeprefix(".")
    start = raw.read(10)
    raw.seek(0)
    found = next((name for name, magic in _MAGIC.items() if magic.match(start)), None)
    if found and found != named:
        said = f"not {named}" if named in _MAGIC else "which its name does not say"
        raise InputError(f"{path} is compressed with {found}, {said}: rename it so that its name ends in .{found}.")


def decompressed(path, raw):
    """Returns a binary file object of the content of an open binary file, compressed as its name (`Path`) says."""
    suffix = path.suffix.lower()
    if suffix in (".bz2", ".xz"):
        return open_archive(raw, suffix)
    if suffix == ".gz":
        return gzip.open(raw, "rb")
    if suffix == ".zst":
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
