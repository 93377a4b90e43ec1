"""Overlays runs in one picture and prints a table of what each did.

Run       python tools/compare_runs.py runs/a runs/b --x tokens --y validation_loss --output comparison.png
"""

import os

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # reading needs no backend

import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from budgetbert import command_line
from budgetbert.budget import describe, describe_seconds
from budgetbert.command_line import InputError
from budgetbert.training.record import read_record

_X = {
    "steps": ("step", lambda value: f"{value:,.0f}"),
    "tokens": ("tokens", describe),
    "flops": ("flops", describe),
    "seconds": ("elapsed_seconds", lambda value: f"{value:,.0f}"),
}
_UNITS = {"loss": "nats", "validation_loss": "nats", "batch_size": "rows", "elapsed_seconds": "s", "memory": "bytes"}
_X_LABELS = {"steps": "optimizer steps", "tokens": "tokens", "flops": "model FLOPs", "seconds": "seconds"}

flags.DEFINE_enum("x", "tokens", list(_X), "What the runs are laid over.")
flags.DEFINE_string("y", "validation_loss", "What is compared: any number of a log line, as loss or gradient_norm.")
flags.DEFINE_string("output", "comparison.png", "The picture; its ending says the format.")
FLAGS = flags.FLAGS


def read_series(records, x, y):
    """Returns the two lists of each record; raises an `InputError` where a run has no such numbers."""
    series = [record.series(x, y) for record in records]
    for record, (at, _) in zip(records, series, strict=True):
        if not at:
            lines = (*record.training[-1:], *record.validation[-1:])
            known = {key for line in lines for key, value in line.items() if isinstance(value, int | float)}
            held = f"it holds {', '.join(sorted(known))}" if known else "it holds nothing yet"
            raise InputError(f"the log of {record.directory} has no {y!r} to compare: {held}.")
    return series


def short_names(directories):
    """Returns the last part of each path, or the whole paths where these are not unique."""
    names = [os.path.basename(os.path.abspath(directory)) for directory in directories]
    return names if len(set(names)) == len(names) else list(directories)


def draw(names, series, path):
    """Draws the series over each other, each named at its end.

    Args:
        names: list of str.
        series: list of tuples of two lists.
        path: str, the file.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    for name, (at, values) in zip(names, series, strict=True):
        axes.plot(at, values, label=name, linewidth=1.4, marker="o" if len(at) <= 30 else None, markersize=3)
    axes.xaxis.set_major_formatter(lambda value, _: _X[FLAGS.x][1](value) if value else "0")
    axes.set_xlabel(_X_LABELS[FLAGS.x])
    unit = _UNITS.get(FLAGS.y)
    axes.set_ylabel(FLAGS.y.replace("_", " ") + (f", {unit}" if unit else ""))
    axes.grid(axis="y", color="#e4e1db", linewidth=0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.margins(x=0.01)
    axes.legend(frameon=False)
    try:
        figure.savefig(path, dpi=140)
    except (OSError, ValueError) as error:
        raise InputError(f"--output {path} cannot be written ({error}): give a file that ends in .png.") from error
    finally:
        pyplot.close(figure)


def print_table(names, records, series):
    """Prints what each run did, and its y at the largest x that all of them reached."""
    common = min(at[-1] for at, _ in series)
    table = Table(box=None, padding=(0, 1), header_style="cyan")
    for head in ("run", "steps", "tokens", "FLOPs", "time", "tokens/s", "MFU", "first", "last validation loss"):
        table.add_column(head, justify="left" if head == "run" else "right", overflow="fold")
    table.add_column(f"{FLAGS.y.replace('_', ' ')} at {_X[FLAGS.x][1](common)} {FLAGS.x}", justify="right")
    for name, record, (at, values) in zip(names, records, series, strict=True):
        position, losses = record.position, record.series("step", "validation_loss")[1]
        seconds = position["elapsed_seconds"]
        mfu = record.training_mfu
        table.add_row(
            name if record.final else f"{name} (unfinished)",
            f"{position['step']:,}",
            describe(position["tokens"]),
            describe(position["flops"]),
            describe_seconds(seconds),
            f"{position['tokens'] / seconds:,.0f}" if seconds else "",
            "" if mfu is None else f"{mfu:.0%}",
            *(f"{loss:.3f}" for loss in (losses[0], losses[-1])) if losses else ("", ""),
            f"{np.interp(common, at, values):.4g}",
        )
    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)


def main(*directories):
    if not directories:
        raise InputError("no run is given: name the --output_dir of two or more.")
    records = [read_record(directory) for directory in directories]
    series = read_series(records, _X[FLAGS.x][0], FLAGS.y)
    names = short_names(directories)
    draw(names, series, FLAGS.output)
    print_table(names, records, series)
    print(f"\n{FLAGS.output}")


if __name__ == "__main__":
    command_line.run(main, arguments=True)
