"""Predictions as a file: .jsonl, .csv or .parquet, row by row. Imports no Keras."""

import contextlib
import csv
import json
import os

from budgetbert import files
from budgetbert.errors import InputError

ENDINGS = (".jsonl", ".csv", ".parquet")


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


def write_output(parts, path, problem, names):
    """Writes the predictions of parts to one file, whole or not at all.

    A row of a classification has `row` (from 1), `label` and `probability`, and the probability of each class; where a
    text may have several labels, `labels`, those with a probability over a half; of a regression `row` and `score`.
    `problem` says why a row has none, else it is empty.

    Args:
        parts: list of str. The paths of parquet files with `row`, `outputs` and `problem`.
        path: str. Its ending says the format.
        problem: str, as `models.logits.problem_type` says it.
        names: list of str, the labels; `None` of a regression.
    """
    with files.replacing(path) as temporary, _WRITERS[os.path.splitext(path)[1]](temporary, problem, names) as write:
        for part in parts:
            write([_row(found, problem, names) for found in _read(part)])


def _read(part):
    import pyarrow.parquet

    return pyarrow.parquet.read_table(part).to_pylist()


def _row(found, problem, names):
    """Returns the row (dict) of the output for one of a part."""
    outputs, row = found["outputs"], {"row": found["row"]}
    if problem == "regression":
        row["score"] = None if outputs is None else outputs[0]
    elif problem == "multi_label_classification":
        row["labels"] = None if outputs is None else [n for n, value in zip(names, outputs, strict=True) if value > 0.5]
    else:
        best = None if outputs is None else max(range(len(outputs)), key=outputs.__getitem__)
        row["label"] = None if best is None else names[best]
        row["probability"] = None if best is None else outputs[best]
    if problem != "regression":
        row["probabilities"] = None if outputs is None else dict(zip(names, outputs, strict=True))
    return {**row, "problem": found["problem"]}


def _flat(row, names):
    """Returns a row with a column for each class, as tables have it."""
    if "probabilities" not in row:
        return row
    found = row["probabilities"] or {}
    flat = {key: value for key, value in row.items() if key not in ("probabilities", "problem")}
    return {**flat, **{f"probability of {name}": found.get(name) for name in names}, "problem": row["problem"]}


@contextlib.contextmanager
def _jsonl(path, problem, names):
    with open(path, "w", encoding="utf-8") as file:
        yield lambda rows: file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


@contextlib.contextmanager
def _csv(path, problem, names):
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        head = []

        def write(rows):
            for row in (_flat(row, names) for row in rows):
                if not head:
                    head.append(writer.writerow(row))
                # Several labels of one cell are read again as they are written here.
                writer.writerow("|".join(value) if isinstance(value, list) else value for value in row.values())

        yield write


@contextlib.contextmanager
def _parquet(path, problem, names):
    import pyarrow as pa
    import pyarrow.parquet

    fields = [("row", pa.int64())]
    fields += {
        "regression": [("score", pa.float32())],
        "multi_label_classification": [("labels", pa.list_(pa.string()))],
    }.get(problem, [("label", pa.string()), ("probability", pa.float32())])
    fields += [(f"probability of {name}", pa.float32()) for name in names or ()]
    schema = pa.schema([*fields, ("problem", pa.string())])
    with pa.parquet.ParquetWriter(path, schema) as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist([_flat(row, names) for row in rows], schema))


_WRITERS = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
