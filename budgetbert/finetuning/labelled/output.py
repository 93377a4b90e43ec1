"""Predictions as a file: .jsonl, .csv or .parquet, row by row, and vectors as .npy. Imports no Keras."""

import contextlib
import csv
import json
import os

import numpy as np

from budgetbert import files
from budgetbert.errors import InputError

ENDINGS = (".jsonl", ".csv", ".parquet", ".npy")


def check_output(path):
    """Raises an `InputError` where an `--output` can not be written, or is there already."""
    if not path.endswith(ENDINGS):
        told = path if len(path) <= 300 else f"{path[:300]}..."
        raise InputError(f"--output {told} ends in none of {', '.join(ENDINGS)}: its ending says the format.")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        told = folder if len(folder) <= 300 else f"{folder[:300]}..."
        raise InputError(f"--output {path[:300]} cannot be written: there is no folder {told}.")
    if len(os.path.basename(path)) > 200:
        raise InputError(f"--output {path[:300]}... cannot be written: give it a shorter name.")
    if os.path.lexists(path):
        raise InputError(f"--output {path} is there already: delete it, or give another name.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"--output {path} cannot be written to {folder}: give another folder.")


def write_output(parts, path):
    """Writes the predictions of parts to one file, whole or not at all.

    A .npy holds the vectors alone, NaN where a row has none. In .csv and .parquet the probability of each class is a
    column of its own; in .csv a list of names is joined by `|`, as it can be read again, and what else is nested stands
    as JSON.

    Args:
        parts: list of str. The paths of parquet files of one schema: `row` (from 1), what a labeller says of it, and
            `problem`, why it says nothing.
        path: str. Its ending says the format.
    """
    if path.endswith(".npy"):
        with files.replacing(path) as temporary:
            _write_vectors(parts, temporary)
        return
    with files.replacing(path) as temporary, _WRITERS[os.path.splitext(path)[1]](temporary) as write:
        for part in parts:
            write(_read(part))


def _read(part):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(part)


def _write_vectors(parts, path):
    import pyarrow.parquet

    facts = [pyarrow.parquet.ParquetFile(part) for part in parts]
    shape = sum(file.metadata.num_rows for file in facts), facts[0].schema_arrow.field("vector").type.list_size
    # An open file keeps the name, to which NumPy would add an ending.
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for part in parts:
            rows = _read(part).column("vector").to_pylist()
            missing = [np.nan] * shape[1]
            file.write(np.array([missing if row is None else row for row in rows], "<f4").tobytes())


def _flat(table):
    """Returns a table with a column for each class in place of `probabilities`."""
    if "probabilities" not in table.column_names:
        return table
    place = table.column_names.index("probabilities")
    found = table.column(place).combine_chunks()
    table = table.remove_column(place)
    for number, (field, column) in enumerate(zip(found.type, found.flatten(), strict=True)):
        table = table.add_column(place + number, f"probability of {field.name}", column)
    return table


@contextlib.contextmanager
def _jsonl(path):
    with open(path, "w", encoding="utf-8") as file:
        yield lambda table: file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())


@contextlib.contextmanager
def _csv(path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)

        def write(table):
            table = _flat(table)
            if not file.tell():
                writer.writerow(table.column_names)
            # Names of columns may be alike, so rows are not read as dicts.
            for row in zip(*(column.to_pylist() for column in table.columns), strict=True):
                writer.writerow(map(_cell, row))

        yield write


def _cell(value):
    if not isinstance(value, (list, dict)):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "|".join(value)
    return json.dumps(value, ensure_ascii=False)


@contextlib.contextmanager
def _parquet(path):
    import pyarrow.parquet

    with contextlib.ExitStack() as stack:
        writers = []

        def write(table):
            table = _flat(table)
            if not writers:
                writers.append(stack.enter_context(pyarrow.parquet.ParquetWriter(path, table.schema)))
            writers[0].write_table(table)

        yield write


_WRITERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
