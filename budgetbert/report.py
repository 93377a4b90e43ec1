"""Pages and comparisons of runs, prepared corpora and GLUE results, from what stands in their directories.

Run       python -m budgetbert.report DIR [DIR ...] --x tokens --y validation_loss --output comparison.png

Each directory gets its page. Two or more runs are also laid over each other in one picture, with a table of what each
did; of two GLUE results the second is the baseline of the first. No Keras is imported, and no text is read again.
"""

import os

import numpy as np
from absl import flags
from rich.table import Table

from budgetbert import command_line
from budgetbert.corpus import report as corpus_report
from budgetbert.corpus.store import MANIFEST
from budgetbert.errors import InputError
from budgetbert.finetuning import report as glue_report
from budgetbert.reporting import charts
from budgetbert.reporting.numbers import duration, nats, number, share, short, significant
from budgetbert.terminal import LastingConsole
from budgetbert.training.run import report as run_report
from budgetbert.training.run.record import read_record

# What runs are laid over: the key of a log line, the name of the axis, and how it is written.
_X = {
    "steps": ("step", "optimizer steps", number),
    "tokens": ("tokens", "tokens", short),
    "flops": ("flops", "model FLOPs", short),
    "seconds": ("elapsed_seconds", "seconds", number),
}
_UNITS = {"loss": "nats", "validation_loss": "nats", "batch_size": "rows", "elapsed_seconds": "s", "memory": "bytes"}

flags.DEFINE_enum("x", "tokens", list(_X), "What runs are laid over.")
flags.DEFINE_string("y", "validation_loss", "What is compared: any number of a log line, as loss or gradient_norm.")
flags.DEFINE_string("output", "comparison.png", "The picture of several runs; its ending says the format.")


def main(*paths):
    if not paths:
        raise InputError("nothing is given: name the --output_dir of a run, a corpus or a GLUE result.")
    kinds = {path: _kind(path) for path in paths}
    runs, results = ([path for path, kind in kinds.items() if kind == wanted] for wanted in ("run", "glue"))
    if len(results) > 2:
        raise InputError(f"{len(results)} GLUE results are given: name one, or a result and its baseline.")
    records = [read_record(path) for path in runs]
    series = _series(records, _X[flags.FLAGS.x][0], flags.FLAGS.y) if len(runs) > 1 else None
    for path, kind in kinds.items():
        if kind == "glue":
            baselines = results[1:] if path == results[0] else ()
            print(glue_report.write_report(path, *baselines))
        else:
            print({"run": run_report, "corpus": corpus_report}[kind].write_report(path))
    if len(results) == 2:
        print(f"\n{glue_report.comparison(*results)}")
    if series:
        names = _short_names(runs)
        _draw(names, series, flags.FLAGS.x, flags.FLAGS.y, flags.FLAGS.output)
        _print_table(names, records, series, flags.FLAGS.x, flags.FLAGS.y)
        print(f"\n{flags.FLAGS.output}")


def _kind(path):
    """Returns what a path is: `"glue"`, `"corpus"` or `"run"`; what holds none of them is refused as a run."""
    if path.endswith(".json") or os.path.exists(os.path.join(path, "glue.json")):
        return "glue"
    return "corpus" if os.path.exists(os.path.join(path, MANIFEST)) else "run"


def _series(records, x, y):
    """Returns the two lists of each record; raises an `InputError` where a run has no such numbers."""
    series = [record.series(x, y) for record in records]
    for record, (at, _) in zip(records, series, strict=True):
        if not at:
            lines = (*record.training[-1:], *record.validation[-1:])
            known = {key for line in lines for key, value in line.items() if isinstance(value, int | float)}
            held = f"it holds {', '.join(sorted(known))}" if known else "it holds nothing yet"
            raise InputError(f"the log of {record.directory} has no {y!r} to compare: {held}.")
    return series


def _short_names(directories):
    """Returns the last part of each path, or the whole paths where these are not unique."""
    names = [os.path.basename(os.path.abspath(directory)) for directory in directories]
    return names if len(set(names)) == len(names) else list(directories)


def _draw(names, series, x, y, path):
    unit = f", {_UNITS[y]}" if y in _UNITS else ""
    _, label, format_x = _X[x]
    try:
        charts.draw_comparison(names, series, label, y.replace("_", " ") + unit, format_x, path)
    except (OSError, ValueError) as error:
        raise InputError(f"--output {path} cannot be written ({error}): give a file that ends in .png.") from error


def _print_table(names, records, series, x, y):
    """Prints what each run did, and its y at the largest x that all of them reached."""
    common = min(at[-1] for at, _ in series)
    table = Table(box=None, padding=(0, 1), header_style="cyan")
    for head in ("run", "steps", "tokens", "FLOPs", "time", "tokens/s", "MFU", "first", "last validation loss"):
        table.add_column(head, justify="left" if head == "run" else "right", overflow="fold")
    table.add_column(f"{y.replace('_', ' ')} at {_X[x][2](common)} {x}", justify="right")
    for name, record, (at, values) in zip(names, records, series, strict=True):
        position, losses = record.position, record.series("step", "validation_loss")[1]
        seconds = position["elapsed_seconds"]
        table.add_row(
            name if record.final else f"{name} (unfinished)",
            number(position["step"]),
            short(position["tokens"]),
            short(position["flops"]),
            duration(seconds),
            number(position["tokens"] / seconds if seconds else None),
            share(record.training_mfu),
            *(map(nats, (losses[0], losses[-1])) if losses else ("", "")),
            significant(np.interp(common, at, values)),
        )
    LastingConsole().print(table)


if __name__ == "__main__":
    command_line.run(main, arguments=True)
