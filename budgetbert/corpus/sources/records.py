"""Files with columns, row by row with all their columns: tables, JSON, parquet and data sets of the hub."""

import collections
import itertools
import os
from pathlib import Path

from budgetbert.corpus.sources import compression, formats, hub, json_values, parquet, tables
from budgetbert.errors import InputError, one_line
from budgetbert.reporting.numbers import counted

_KINDS = ("csv", "tsv", "jsonl", "json", "parquet")
USABLE = ".csv, .tsv, .jsonl, .json and .parquet, all but .parquet also with .gz, .bz2, .xz, .zst, or hf:NAME:CONFIG"
_BLOCK_BYTES = 2**20
# The objects of JSON may differ in their fields: so many of them say which there are.
_NAMED_BY = 100
# Flags to the splits of a data set of the hub.
_SPLITS = {"dev": "validation", "test": "test"}


class Record(collections.namedtuple("Record", ("values", "line", "problem"))):
    """A row of a file with columns.

    Attributes:
        values: dict of the columns' names to values, of the types that the file has: str alone in a table. `None` where
            the row cannot be read.
        line: int. Where it begins, from 1: of parquet and of the hub, and of JSON's longest, the number of the row.
        problem: str, why it cannot be read, without a full stop, or `None`.
    """


class Records:
    """The rows of a file; each iteration reads it anew, and holds some MB of it at most.

    Args:
        name: str. The path of a file, also compressed, or `hf:NAME[:CONFIG]`.
        flag: str. The flag that named it: for messages, and for the split of a data set of the hub.
        columns: str, the names of the columns of a table without a header, with commas between; by default its first
            row holds them.

    Raises:
        InputError: if there is no such file or data set, or it is of another kind.

    Attributes:
        share: float. How much of a file the present iteration has read, from 0 to 1; of the hub `None`.
        names: list of str. The columns.
    """

    def __init__(self, name, flag, columns=None):
        self.name, self.flag, self._split = name, flag, _SPLITS.get(flag, "train")
        self._given = None
        self.is_of_hub = name.startswith("hf:")
        self.share = None if self.is_of_hub else 0.0
        if self.is_of_hub:
            path = name.removeprefix("hf:").partition(":")[0]
            if not path:
                raise InputError(f"--{flag} {name} names no data set: write hf:NAME or hf:NAME:CONFIG.")
            self._revision = None if os.path.isdir(path) else hub.revision_of(name, path)
        else:
            self._check_file()
        if columns is not None:
            self._given = self._check_columns(columns)
        self.names = self._given or self._find_names()

    def _check_columns(self, columns):
        """Returns the names (list of str) of `--columns`."""
        names = [name.strip() for name in columns.split(",")]
        if not all(names) or len(set(names)) < len(names):
            raise InputError(f"--columns {columns!r:.100} has to be different names with commas between.")
        if self.is_of_hub or formats.kind_of(self.name) not in ("csv", "tsv"):
            raise InputError(
                f"--columns names the columns of .csv and .tsv files without a header, and --{self.flag} {self.name} "
                "has names of its own: leave it out."
            )
        first = self._first_row()
        if first and len(first) != len(names):
            raise InputError(
                f"--columns {columns} names {counted(len(names), 'column')}, and the first row of --{self.flag} "
                f"{self.name} has {len(first):,}: name each of them."
            )
        return names

    def _first_row(self):
        with open(self.name, "rb") as raw, compression.opened(Path(self.name), raw) as from_start:
            return next(self._rows_of_table(from_start), ([],))[0]

    def _check_file(self):
        try:
            is_file, exists = os.path.isfile(self.name), os.path.exists(self.name)
            size = os.stat(self.name).st_size if exists else None
            if size is None:
                os.lstat(self.name)
        except (OSError, ValueError) as error:
            told = self.name if len(self.name) <= 300 else f"{self.name[:300]}..."
            reason = error.strerror if isinstance(error, OSError) else one_line(error)
            raise InputError(f"--{self.flag} {told} cannot be read: {reason}.") from error
        if not is_file or formats.kind_of(self.name) not in _KINDS:
            raise InputError(f"--{self.flag} {self.name} is no file with columns that can be read: {USABLE} are.")
        if not size:
            raise InputError(f"--{self.flag} {self.name} is empty: give a file with a header and rows.")

    def _find_names(self):
        if not self.is_of_hub and formats.kind_of(self.name) == "parquet":
            with open(self.name, "rb") as raw, parquet.opened(self.name, raw) as file:
                return file.schema_arrow.names
        if not self.is_of_hub and formats.kind_of(self.name) in ("csv", "tsv"):
            return [tables.printable(name) for name in self._first_row()]
        found = (record.values for record in itertools.islice(self, _NAMED_BY) if record.values)
        return list(dict.fromkeys(name for values in found for name in values))

    def __iter__(self):
        """Yields a `Record` for each row.

        Raises:
            InputError: if the file is damaged, or the hub does not answer.
        """
        if self.is_of_hub:
            yield from self._read_hub()
            return
        self.share = 0.0
        kind, size = formats.kind_of(self.name), os.path.getsize(self.name)
        read = {"parquet": self._read_parquet, "csv": self._read_table, "tsv": self._read_table}
        with open(self.name, "rb") as raw:
            for record in read.get(kind, self._read_json)(raw):
                if kind != "parquet" and not raw.closed:
                    self.share = raw.tell() / size
                yield record
        self.share = 1.0

    def _read_parquet(self, raw):
        for values, number, share in parquet.rows(self.name, raw):
            self.share = share
            problem = f"{self.name}, row {number:,}: it holds text that is not UTF-8" if values is None else None
            yield Record(values, number, problem)

    def _rows_of_table(self, from_start):
        kind = formats.kind_of(self.name)
        return tables.rows(kind, self.name, from_start, formats.LONGEST_DOCUMENT_BYTES)

    def _read_table(self, raw):
        with compression.opened(Path(self.name), raw) as from_start:
            names = self._given
            for row, number, _, problem in self._rows_of_table(from_start):
                if names is None:
                    names = [tables.printable(name) for name in row]
                    continue
                for cell in row or ():
                    problem = problem or tables.checked(cell, self.name, number)[1]
                if problem:
                    yield Record(None, number, problem[1])
                else:
                    yield Record(dict(zip(names, row, strict=True)), number, None)

    def _read_json(self, raw):
        with compression.opened(Path(self.name), raw) as from_start:
            records = self._read_objects(from_start)
            first = list(itertools.islice(records, 2))
            rows = _rows_within(first[0].values) if len(first) == 1 and formats.kind_of(self.name) == "json" else None
            if rows is None:
                yield from itertools.chain(first, records)
            else:
                yield from (Record(row, number, None) for number, row in enumerate(rows, 1))

    def _read_objects(self, from_start):
        kind, read = formats.kind_of(self.name), 0
        for block in formats.text_blocks(kind, self.name, from_start(), _BLOCK_BYTES):
            for found, _, line, problem in json_values.objects(block):
                read += 1
                sentence = problem and problem[1]
                if not problem and not isinstance(found, dict):
                    sentence = f"{self.name}, line {line:,}: it holds no JSON object"
                yield Record(None if sentence else found, line, sentence)
            for _ in range(block.removed["too_long"]):
                read += 1
                limit = formats.LONGEST_DOCUMENT_BYTES
                yield Record(None, read, f"{self.name}, about row {read:,}: it has over {limit:,} bytes")

    def _read_hub(self):
        import datasets

        try:
            rows = hub.open_rows(self.name, self._split, self._revision)
            classes = {
                name: feature.names
                for name, feature in (rows.features or {}).items()
                if isinstance(feature, datasets.ClassLabel)
            }
            for number, row in enumerate(rows, 1):
                # A class that is not known has the number -1.
                for name in classes.keys() & row.keys():
                    value = row[name]
                    row[name] = None if value is None or value < 0 else classes[name][value]
                yield Record(row, number, None)
        except InputError:
            raise
        except Exception as error:
            # `datasets` rests on a dozen libraries, each with errors of its own.
            raise hub.Unreachable(f"--{self.flag} {self.name} cannot be read ({one_line(error)}).") from error


def _rows_within(found):
    """Returns the rows (list of dict) of the only object of a file.

    They are its values where all are objects, as in a file of rows by their ids, or those of its only list of objects,
    as behind `"data"`; `None` where it is a row itself.
    """
    values = list(found.values()) if found else []
    if len(values) > 1 and _are_objects(values):
        return values
    lists = [value for value in values if isinstance(value, list) and value and _are_objects(value)]
    return lists[0] if len(lists) == 1 else None


def _are_objects(values):
    return all(isinstance(value, dict) for value in values)
