"""The rows of a prepared corpus, read from their shards when they are asked for.

They are read with `pread` and not mapped into memory: where a shard is cut short, or its disk fails, during a run, a
map ends the process with SIGBUS and no word, a read is an error that can be told.
"""

import functools
import math
import os

import numpy as np

from budgetbert.errors import UnreadableRows

# A process may have 1,024 files open, and a corpus has far more shards.
OPEN_SHARDS = 64
# Rows are looked through in stretches of so many bytes.
_STRETCH_BYTES = 2**20


class Shard:
    """One `.npy` file of rows, open for reading until nothing refers to it.

    Args:
        path: `Path`.
        shape: tuple of int, the number of rows and the shape of one.
        dtype: of the rows.

    Raises:
        UnreadableRows: if the header of the file, or its size in bytes, is another.
    """

    def __init__(self, path, shape, dtype):
        self._path, self._descriptor = path, None
        try:
            with open(path, "rb") as file:
                version = np.lib.format.read_magic(file)
                if version != (1, 0):
                    raise ValueError(version)
                header = np.lib.format.read_array_header_1_0(file)
                self._begin, size = file.tell(), os.fstat(file.fileno()).st_size
                self._descriptor = os.dup(file.fileno())
        except FileNotFoundError as error:
            raise UnreadableRows(f"{path} is missing") from error
        except OSError as error:
            raise UnreadableRows(f"{path} cannot be read ({error.strerror})") from error
        # NumPy reads the header as Python source, and raises whatever that leads to.
        except Exception as error:
            raise UnreadableRows(f"{path} is truncated or no shard") from error
        self._row_bytes = math.prod(shape[1:]) * np.dtype(dtype).itemsize
        whole, is_as_stated = self._begin + shape[0] * self._row_bytes, header == (shape, False, np.dtype(dtype))
        if is_as_stated and size < whole:
            raise UnreadableRows(f"{path} is truncated or no shard")
        if not is_as_stated or size != whole:
            raise UnreadableRows(f"{path} does not hold {shape} ids of {dtype} as the manifest says")

    def __del__(self):
        if self._descriptor is not None:
            os.close(self._descriptor)

    def read(self, row, into):
        """Fills a buffer with rows, from row number `row` on.

        Args:
            row: int.
            into: memoryview of bytes, as many as the wanted rows have.

        Raises:
            UnreadableRows: if the file no longer gives them.
        """
        offset = self._begin + row * self._row_bytes
        try:
            # Mostly the first read gives all.
            while (count := os.preadv(self._descriptor, [into], offset)) < len(into):
                if not count:
                    raise UnreadableRows(f"{self._path} has become shorter since it was opened")
                into, offset = into[count:], offset + count
        except OSError as error:
            raise UnreadableRows(f"{self._path} can no longer be read ({error.strerror})") from error


class Rows:
    """The rows of one split across its shards.

    `len(rows)` is their number; `rows[indices]` with an integer array (any order, repeats allowed) or a slice returns
    an array [n, *shape] in the stored dtype. Only the last few shards stay open.

    Args:
        shards: list of (path, number of rows).
        shape: tuple, of one row.
        dtype: of the rows.
        limit: int or `None`. What all values are below: more is damage. Defaults to `None`: there is no limit.
    """

    def __init__(self, shards, shape, dtype, limit=None):
        self._paths = [path for path, _ in shards]
        self._counts = np.array([count for _, count in shards], np.int64)
        self._ends = np.cumsum(self._counts)
        self._shape, self._dtype, self._limit = shape, np.dtype(dtype), limit
        self._shard = functools.lru_cache(OPEN_SHARDS)(self._open)

    # The open files stay behind.
    def __reduce__(self):
        return Rows, (list(zip(self._paths, self._counts.tolist(), strict=True)), self._shape, self._dtype, self._limit)

    def _open(self, index):
        return Shard(self._paths[index], (int(self._counts[index]), *self._shape), self._dtype)

    def __len__(self):
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, indices):
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(len(self)))
        indices = np.asarray(indices)
        if indices.ndim != 1 or indices.dtype.kind not in "iu":
            raise TypeError(f"rows are taken by a slice or a 1-D integer array, not {indices.dtype} {indices.shape}.")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(self):
            raise IndexError(f"rows {indices.min()} to {indices.max()} were asked for; there are {len(self)}.")
        rows = np.empty((len(indices), *self._shape), dtype=self._dtype)
        if not rows.size:
            return rows
        owners = np.searchsorted(self._ends, indices, side="right")
        places = indices.astype(np.int64) - (self._ends - self._counts)[owners]
        # Rows that stand one after another in a shard are one read.
        breaks = np.flatnonzero((np.diff(places) != 1) | (np.diff(owners) != 0)) + 1
        begins = np.concatenate([[0], breaks])
        ends = [*breaks.tolist(), len(indices)]
        left, row_bytes = memoryview(rows).cast("B"), rows.nbytes // len(rows)
        for begin, end, owner, place in zip(
            begins.tolist(), ends, owners[begins].tolist(), places[begins].tolist(), strict=True
        ):
            self._shard(owner).read(place, left[begin * row_bytes : end * row_bytes])
        self._check_values(rows)
        return rows

    def look_through(self, most_bytes):
        """Reads the rows as far as so many bytes go, of more of them stretches spread evenly, and checks their values.

        Raises:
            UnreadableRows: if a value is not below the limit.
        """
        row_bytes = math.prod(self._shape) * self._dtype.itemsize
        stretch = max(1, _STRETCH_BYTES // row_bytes)
        number = max(1, most_bytes // (stretch * row_bytes))
        if number * stretch >= len(self):
            starts = range(0, len(self), stretch)
        else:
            starts = np.linspace(0, len(self) - stretch, number).astype(np.int64).tolist()
        for start in starts:
            self[start : start + stretch]

    def _check_values(self, rows):
        if self._limit is None or not rows.size or int(rows.max()) < self._limit:
            return
        names = sorted({path.name for path in self._paths})
        named = names[0] if len(names) == 1 else f"one of {names[0]} to {names[-1]}"
        raise UnreadableRows(
            f"{self._paths[0].parent} is damaged, as {named} holds {int(rows.max())} and all values in it are below "
            f"{self._limit}"
        )
