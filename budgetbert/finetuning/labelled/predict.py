"""Labels for a file of any size: streamed, in batches of similar length, in parts from which a killed run goes on."""

import collections
import itertools
import json
import os
import shutil

import pyarrow as pa
import pyarrow.parquet
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from budgetbert import files
from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.finetuning.labelled.columns import choose_columns
from budgetbert.finetuning.labelled.output import write_output
from budgetbert.models.loading import load_any
from budgetbert.reporting.numbers import counted

BATCH_SIZE = 64
# So many rows are read, sorted by length, and written as one part; a killed run loses less than one.
PART_ROWS = 4096
_TOLD_LINES = 5

Totals = collections.namedtuple("Totals", ("rows", "unreadable", "first", "columns"))


def predict(options, labeller_of, load_model=load_any):
    """Writes what a model says of each row of `--input` to `--output`; the same command goes on where it stopped.

    Args:
        options: object with an attribute for each flag of `recipes/predict.py`.
        labeller_of: function of a model that returns what labels texts, as `labelling.TextLabeller`, or `None`.
        load_model: function of a path that returns a model. Defaults to `load_any`.

    Returns:
        `Totals`: rows (int), how many of them could not be read (int), what is wrong with the first ones (list of str),
        and the `Columns` that were read.

    Raises:
        InputError: on bad input, before anything is predicted.
    """
    records = Records(options.input, "input", options.columns)
    model = load_model(options.model)
    labeller = labeller_of(model)
    if labeller is None:
        raise InputError(
            f"--model {options.model} holds a {type(model).__name__}, which labels no texts: give the model.keras of a "
            "finetuning."
        )
    if options.output.endswith(".npy") and not any(field.name == "vector" for field in labeller.fields):
        raise InputError(
            f"--output {options.output} is for vectors, and --model {options.model} gives labels: let it end in "
            ".jsonl, .csv or .parquet."
        )
    columns = choose_columns(
        f"--input {options.input}", records.names, options.text, options.text_pair, with_label=False, pair=labeller.pair
    )
    work = f"{options.output}.parts"
    os.makedirs(work, exist_ok=True)
    try:
        lock = files.Lock(work)
    except BlockingIOError as error:
        raise InputError(f"another process is at work in {work}: wait for it, or stop it.") from error
    with lock:
        _check_identity(work, options, columns)
        totals = _write_parts(work, records, columns, labeller, options.batch_size or BATCH_SIZE)
        write_output(_parts(work), options.output)
        shutil.rmtree(work)
    return totals


def report(totals, options):
    """Returns what a person should know of a finished prediction, a str."""
    told = f"{totals.columns}\n{counted(totals.rows, 'row')} of {options.input} are labelled in {options.output}"
    if not totals.unreadable:
        return f"{told}."
    return "\n  ".join((f"{told}; {totals.unreadable:,} of them could not be read, and have no label:", *totals.first))


def _check_identity(work, options, columns):
    """Raises an `InputError` where parts are those of another model, input or column; else writes what they are of."""
    identity = {
        "model": _state_of(options.model),
        "input": _state_of(options.input),
        "columns": list(columns.texts),
        "batch_size": options.batch_size or BATCH_SIZE,
    }
    path = os.path.join(work, "identity.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
        if other := [key for key, value in identity.items() if before.get(key) != value]:
            raise InputError(
                f"{work} holds what was predicted with another {' and '.join(other)}: delete it, or give another "
                "--output."
            )
        return
    files.write(path, json.dumps(identity))


def _state_of(path):
    """Returns names, sizes and times of change (list) of a file, or of all in a folder."""
    paths = [path] if os.path.isfile(path) else sorted(entry.path for entry in os.scandir(path) if entry.is_file())
    return [[os.path.abspath(name), os.path.getsize(name), os.stat(name).st_mtime_ns] for name in paths]


def _parts(work):
    return [os.path.join(work, name) for name in sorted(os.listdir(work)) if name.startswith("part-")]


def _write_parts(work, records, columns, labeller, batch_size):
    """Writes the parts that are not there yet; returns the `Totals` of all."""
    rows, unreadable, first = 0, 0, []
    progress = Progress(
        TextColumn("{task.fields[rows]:,} rows"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(),
    )
    stream = iter(records)
    with progress:
        shown = progress.add_task("", total=1.0, rows=0)
        for number in itertools.count():
            part = list(itertools.islice(stream, PART_ROWS))
            if not part:
                break
            usable = [_texts_of(record, columns, records.name) for record in part]
            problems = [problem for _, problem in usable if problem]
            path = os.path.join(work, f"part-{number:08d}.parquet")
            if not os.path.exists(path):
                _write_part(path, rows, usable, labeller, batch_size)
            rows, unreadable = rows + len(part), unreadable + len(problems)
            first += problems[: _TOLD_LINES - len(first)]
            progress.update(shown, completed=records.share, rows=rows)
    if not rows:
        raise InputError(f"--input {records.name} has no rows: give a file with some.")
    return Totals(rows, unreadable, first, columns)


def _texts_of(record, columns, name):
    """Returns the texts (list of str) of a `Record` and `None`, or `None` and why there are none."""
    if record.problem:
        return None, record.problem
    texts = [record.values.get(column) for column in columns.texts]
    for column, text in zip(columns.texts, texts, strict=True):
        if not isinstance(text, str) or not text.strip():
            return None, f"{name}, line {record.line:,}: it holds no text in the column {column!r}"
    return texts, None


def _write_part(path, rows_before, usable, labeller, batch_size):
    rows = [{"row": rows_before + number, "problem": problem} for number, (_, problem) in enumerate(usable, 1)]
    places = [place for place, (texts, _) in enumerate(usable) if texts]
    if places:
        columns = tuple(map(list, zip(*(usable[place][0] for place in places), strict=True)))
        for place, found in zip(places, labeller(columns, batch_size), strict=True):
            rows[place] |= found
    schema = pa.schema([("row", pa.int64()), *labeller.fields, ("problem", pa.string())])
    with files.replacing(path) as temporary:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows, schema), temporary)
