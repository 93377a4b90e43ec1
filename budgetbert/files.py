"""Files and folders that appear whole or not at all, locks, sha256, and compressed files read to their end."""

import bz2
import contextlib
import fcntl
import hashlib
import io
import json
import lzma
import os
import shutil

_CHUNK = 2**16  # So many compressed bytes are read at a time.
# Zero bytes may follow a stream of .xz, as many as are a multiple of this (section 2.2 of its specification).
_XZ_PADDING = 4


@contextlib.contextmanager
def replacing(path, sync=True):
    """Context in which a file or a folder is written, whole or not at all, in place of what stands at a path.

    A reader sees the old one or the new one. Where the writing fails, what was written is deleted, since it may be what
    fills the disk; a process that is killed leaves it, and the next writer takes the same temporary name.

    Args:
        path: str or `Path`. A folder that is replaced is first renamed to `path.old`, because a folder that is not
            empty cannot be replaced in one rename.
        sync: bool. Whether what was written survives a power cut that comes right after. Defaults to `True`.

    Yields:
        A temporary path (str) beside `path` with the same extension, where nothing stands yet.
    """
    path = os.path.abspath(path)
    root, extension = os.path.splitext(path)
    # Keras insists on the extension .keras, and matplotlib takes the format from it.
    temporary, aside = f"{root}.tmp{extension}", f"{path}.old"
    _remove(temporary)
    try:
        yield temporary
        if sync:
            _sync(temporary)
        if os.path.isdir(path):
            _remove(aside)
            os.replace(path, aside)
        os.replace(temporary, path)
        if sync:
            sync_directory(os.path.dirname(path))
    finally:
        _remove(temporary)
    _remove(aside)


def write(path, data, sync=True):
    """Writes bytes, or text as UTF-8, to a file that appears whole or not at all.

    Text from outside may hold halves of surrogate pairs, which are no UTF-8: question marks take their place.

    Args:
        path: str or `Path`.
        data: bytes or str.
        sync: bool. As in `replacing`. Defaults to `True`.

    Returns:
        `path`.
    """
    with replacing(path, sync) as temporary, open(temporary, "wb") as file:
        file.write(data.encode("utf-8", errors="replace") if isinstance(data, str) else data)
    return path


def sync_directory(path):
    """Makes renames in a directory survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path):
    """Returns the sha256 of a file as a hexadecimal str."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def with_sum(value):
    """Returns a dict for a JSON file, with a `sha256` of all else in it."""
    return {**value, "sha256": _sum_of(value)}


def is_as_written(value):
    """Returns whether what a JSON file held is what `with_sum` made; one without a sum, of an earlier version, is."""
    return not isinstance(value, dict) or "sha256" not in value or value["sha256"] == _sum_of(value)


def _sum_of(value):
    rest = {name: part for name, part in json.loads(json.dumps(value)).items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Lock:
    """Holds a file or a directory against other processes that ask for the same, until `release`.

    The system releases it too when the process ends, however it ends. Deleting a locked directory is allowed.

    Args:
        path: str or `Path`. A directory, or a file, which is made where there is none.

    Raises:
        BlockingIOError: if another process, or another `Lock` of this one, holds it.
        OSError: if there is no such directory, or it cannot be opened.
    """

    def __init__(self, path):
        flags = os.O_RDONLY if os.path.isdir(path) else os.O_RDWR | os.O_CREAT
        self._descriptor = os.open(path, flags, 0o666)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.release()
            # The system does not say which file it is about.
            raise type(error)(error.errno, error.strerror, str(path)) from error
        except BaseException:
            self.release()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.release()

    def is_at(self, path):
        """Returns whether what is held is what stands at a path, and not deleted, moved or replaced by something."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(path))
        except OSError:
            return False

    def release(self):
        """Lets others have it; calling it twice does no harm."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sync(path):
    """Writes a file, or all files and folders of a folder, to the disk."""
    if not os.path.isdir(path):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        return
    for folder, _, names in os.walk(path):
        for name in names:
            _sync(os.path.join(folder, name))
        sync_directory(folder)


def _remove(path):
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            os.remove(path)


class DamagedArchive(Exception):
    """A compressed file is damaged or cut off, or something that is no stream follows its last one."""


def open_archive(file, suffix):
    """Opens a compressed file for reading to its end.

    Python's own readers take whatever follows a complete stream and does not begin like another one for padding, and
    drop it without a word: of files that were joined, one flipped bit in the header of the second loses the rest.

    Args:
        file: binary file object, at its start.
        suffix: str, ".bz2" or ".xz".

    Returns:
        `io.BufferedReader` of the content of all streams of the file, one after the other. Where the file cannot be
        read further, reading raises `DamagedArchive`.
    """
    return io.BufferedReader(_Streams(file, suffix))


class _Streams(io.RawIOBase):
    def __init__(self, file, suffix):
        self._file, self._is_xz, self._ahead, self._number = file, suffix == ".xz", b"", 1
        # So many bytes of the file were read, and the present stream begins at this one.
        self._read_bytes = self._begin = 0
        # A file of the format before .xz, .lzma, holds one stream.
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_AUTO) if self._is_xz else bz2.BZ2Decompressor()

    def readable(self):
        return True

    def readinto(self, buffer):
        while not self._decompressor.eof or self._begin_next():
            compressed = b""
            if self._decompressor.needs_input:
                compressed, self._ahead = self._ahead or self._more(), b""
                if not compressed:
                    raise DamagedArchive("the compressed file ends before its stream does")
            try:
                data = self._decompressor.decompress(compressed, len(buffer))
            except (lzma.LZMAError, OSError, EOFError) as error:
                follows = f"what follows stream {self._number - 1}, from byte {self._begin:,} on, is no sound stream: "
                where = follows if self._number > 1 else ""
                raise DamagedArchive(where + str(error).rstrip(".")) from error
            if data:
                buffer[: len(data)] = data
                return len(data)
        return 0

    def _more(self):
        data = self._file.read(_CHUNK)
        self._read_bytes += len(data)
        return data

    def _begin_next(self):
        """Returns whether another stream follows the one that has ended, and makes its decompressor."""
        ahead = self._decompressor.unused_data or self._more()
        zeros = 0
        while self._is_xz and ahead and not (begun := ahead.lstrip(b"\0")):
            zeros += len(ahead)
            ahead = self._more()
        if self._is_xz and ahead:
            zeros += len(ahead) - len(begun)
            ahead = begun
        if zeros % _XZ_PADDING:
            raise DamagedArchive(f"{zeros:,} zero bytes follow a stream, which is no multiple of {_XZ_PADDING}")
        if not ahead:
            return False
        self._ahead, self._number, self._begin = ahead, self._number + 1, self._read_bytes - len(ahead)
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ) if self._is_xz else bz2.BZ2Decompressor()
        return True
