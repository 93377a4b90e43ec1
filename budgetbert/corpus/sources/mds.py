"""Token ids in a folder of MosaicML's MDS shards, read by what the format's description says.

A shard is: the number of samples, as many offsets and one more (all uint32), the shard's description, the samples. A
sample is: the sizes (uint32) of the columns that have none of their own, then the columns in the order of their names.

Source: github.com/mosaicml/streaming, `streaming/base/format/mds`, format version 2.
"""

import hashlib
import json

import numpy as np

from budgetbert.corpus.sources.blocks import DamagedFile, shown_names
from budgetbert.errors import InputError, one_line

INDEX = "index.json"
# The numbers by which an array names the dtype of its values, and how many bytes each size of its shape has.
_DTYPES = {8: "uint8", 9: "int8", 16: "uint16", 17: "int16", 32: "uint32", 33: "int32", 64: "uint64", 65: "int64"}
_INTEGERS = frozenset(_DTYPES.values())
# A digest of SHAKE has no length of its own.
_HASHES = {name for name in hashlib.algorithms_guaranteed if not name.startswith("shake")}
_IDS = 2**20  # So many are handed on at a time.
_COPY_AGAIN = "copy or download it again"


class MdsFolder:
    """The samples of an MDS folder, shard by shard.

    Args:
        folder: `Path`, with `index.json` in it.
        columns: tuple of str, the names that the column of token ids may have; the first that is there is taken.

    Attributes:
        column: str.
        files: list of `Path`, of the shards.

    Raises:
        InputError: if the index is damaged, or a shard is of another format, is compressed with something else than
            zstd, is missing, or has no such column of integers.
    """

    def __init__(self, folder, columns):
        self._index = folder / INDEX
        try:
            described = json.loads(self._index.read_bytes())
            self._shards = [_Shard(folder, shard, columns) for shard in described["shards"]]
        except InputError:
            raise
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedFile(
                f"{self._index} is not the index of an MDS folder ({one_line(error)}): {_COPY_AGAIN}."
            ) from error
        if not self._shards:
            raise InputError(f"{self._index} names no shard: give a folder that holds token ids.")
        self.column = self._shards[0].column
        self.files = [shard.path for shard in self._shards]

    def batches(self):
        """Yields the ids of some samples one after another (int64 array) and how many each has (int64 array)."""
        for shard in self._shards:
            some, size = [], 0
            for ids in shard.samples():
                some.append(ids)
                size += len(ids)
                if size >= _IDS:
                    yield _joined(some)
                    some, size = [], 0
            yield _joined(some)


def _joined(samples):
    return np.concatenate([np.zeros(0, np.int64), *samples]), np.array([len(ids) for ids in samples], np.int64)


class _Shard:
    def __init__(self, folder, described, columns):
        if (described["format"], described["version"]) != ("mds", 2):
            raise InputError(
                f"{folder / INDEX} names a shard of the format {described['format']} version {described['version']}: "
                "only MDS version 2 is read."
            )
        names, encodings = described["column_names"], described["column_encodings"]
        self.column = next((name for name in columns if name in names), None)
        if self.column is None:
            raise InputError(
                f"{folder / INDEX} has no column {' or '.join(columns)} but {shown_names(names)}: name the one with "
                "the token ids by --text_field."
            )
        self._place, self._number = names.index(self.column), described["samples"]
        self._sizes = [size if size is None else int(size) for size in described["column_sizes"]]
        self._decode = _decoder(encodings[self._place], self._sizes[self._place])
        if self._decode is None:
            raise InputError(
                f"{folder / INDEX}: the column {self.column!r} is {encodings[self._place]}, not an array of integers: "
                "name another one by --text_field."
            )
        self._bytes = int(described["raw_data"]["bytes"])
        compression, packed = described["compression"], described["zip_data"]
        self.path, self._is_packed = folder / described["raw_data"]["basename"], False
        self._hashes = dict(described["raw_data"]["hashes"])
        # What was unpacked before may stand beside it.
        if packed and not self.path.exists():
            if compression.partition(":")[0] != "zstd":
                raise InputError(f"{folder / INDEX}: shards compressed with {compression} are not read: unpack them.")
            self.path, self._is_packed, self._hashes = folder / packed["basename"], True, dict(packed["hashes"])
        if not self.path.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{folder / INDEX} names a file outside of its folder: {self.path}.")
        if not self.path.is_file():
            raise InputError(f"{self.path} is missing, which {folder / INDEX} names: {_COPY_AGAIN}.")

    def samples(self):
        """Yields the ids of each sample (int64 array)."""
        data = self._read()
        try:
            number = int(np.frombuffer(data, "<u4", 1)[0])
            offsets = np.frombuffer(data, "<u4", number + 1, 4).astype(np.int64)
            whole = number == self._number and offsets[0] >= 4 * (number + 2) and offsets[-1] == len(data)
            if not whole or np.any(np.diff(offsets) < 0):
                raise ValueError("its offsets do not add up")
            for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
                yield self._decode(self._column_of(data[begin:end])).astype(np.int64)
        except (ValueError, IndexError, KeyError, OverflowError) as error:
            raise DamagedFile(f"{self.path} is a damaged MDS shard ({one_line(error)}): {_COPY_AGAIN}.") from error

    def _column_of(self, sample):
        """Returns the bytes of the column in those of a sample."""
        unsized = sum(size is None for size in self._sizes)
        told = iter(np.frombuffer(sample, "<u4", unsized).tolist())
        sizes = [next(told) if size is None else size for size in self._sizes]
        if 4 * unsized + sum(sizes) != len(sample):
            raise ValueError("the sizes of a sample's columns do not add up")
        begin = 4 * unsized + sum(sizes[: self._place])
        return sample[begin : begin + sizes[self._place]]

    def _read(self):
        """Returns the shard's bytes, unpacked, after comparing them with what the index says of them."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}.") from error
        for name, digest in self._hashes.items():
            if name in _HASHES and hashlib.new(name, data).hexdigest() != digest:
                raise DamagedFile(f"{self.path} is damaged, as its {name} is not that of {INDEX}: {_COPY_AGAIN}.")
        if self._is_packed:
            data = self._unpacked(data)
        if len(data) != self._bytes:
            raise DamagedFile(
                f"{self.path} has {len(data):,} bytes, not {self._bytes:,} as {INDEX} says: {_COPY_AGAIN}."
            )
        return data

    def _unpacked(self, data):
        import pyarrow as pa

        try:
            return pa.CompressedInputStream(pa.BufferReader(data), "zstd").read(self._bytes + 1)
        except (OSError, pa.ArrowException) as error:
            raise DamagedFile(f"{self.path} cannot be unpacked ({one_line(error)}): {_COPY_AGAIN}.") from error


def _decoder(encoding, size):
    """Returns a function of a column's bytes that gives its integers as an array, or `None` where it holds none.

    Args:
        encoding: str. `ndarray[:dtype[:shape]]`; `bytes`, which hold int64 (as LLM Foundry writes them); or the name of
            a dtype, which is a single number where it has a `size`.
        size: int or `None`.
    """
    kind, _, details = encoding.partition(":")
    if kind == "bytes":
        return lambda data: np.frombuffer(data, "<i8")
    if kind in _INTEGERS and size is None:
        return lambda data: np.frombuffer(data, kind)
    dtype, _, shape = details.partition(":")
    if kind != "ndarray" or (dtype and dtype not in _INTEGERS):
        return None
    return lambda data: _array(data, dtype, bool(shape))


def _array(data, dtype, has_shape):
    place = 0
    if not dtype:
        dtype, place = _DTYPES[data[0]], 1
    if not has_shape:
        # Six bits are the number of the axes, two the width of their sizes.
        axes, width = data[place] >> 2, 1 << data[place] % 4
        shape = np.frombuffer(data, f"<u{width}", axes, place + 1)
        place += 1 + axes * width
        if axes != 1 or int(shape[0]) * np.dtype(dtype).itemsize != len(data) - place:
            raise ValueError(f"an array of the shape {shape.tolist()} is not a row of {dtype}")
    return np.frombuffer(data, dtype, offset=place)
