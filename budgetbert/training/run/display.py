"""A run on the terminal: the progress bar, and the result at its end."""

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from budgetbert.reporting.numbers import nats, number, share, short
from budgetbert.reporting.page import phrases


class Display:
    """Context that shows where a run stands: a line at each validation and incident, on a terminal a bar beside them.

    Args:
        console: `rich.console.Console`.
    """

    def __init__(self, console):
        self._console = console
        self._bar = Progress(
            TextColumn("[bold]training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self):
        self._bar.start()
        return self

    def __exit__(self, *error):
        self._bar.stop()

    def __call__(self, line, fraction):
        """Shows a log line, or an incident, at a spent fraction of the budget."""
        if "incident" in line:
            self._console.print(f"{fraction:5.0%} of the budget: {line.get('message', line['incident'])}")
            return
        if "validation_loss" in line:
            self._console.print(
                f"{fraction:5.0%} of the budget, step {line['step']:>7,}, {short(line['tokens']):>6} tokens: "
                f"validation loss {nats(line['validation_loss'])}, accuracy {share(line['validation_accuracy'], 1)}"
                f"{_also(line)}"
            )
            self._bar.update(self._task, completed=fraction)
            return
        mfu = "" if line["mfu"] is None else f"  MFU {share(line['mfu'])}"
        text = f"step {number(line['step'])}  loss {nats(line['loss'])}  {number(line['tokens_per_second'])} tokens/s"
        self._bar.update(self._task, completed=fraction, description=f"{text}{mfu}")


def _also(line):
    """Returns what some runs have beside loss and accuracy: the phase, next-sentence prediction, the old text."""
    phase = f", phase {line['phase']}" if line["phase"] > 1 else ""
    name, old = "validation_next_sentence_accuracy", "validation_old_loss"
    told = phase + (f", next sentence {share(line[name], 1)}" if name in line else "")
    return told + (f"; old text {nats(line[old])}" if old in line else "")


def print_result(final, run, budget, console):
    """Prints the final figures of a run.

    Args:
        final: dict, the last line of its log.
        run: `Run`.
        budget: `Budget`.
        console: `rich.console.Console`.
    """
    print_phrases(phrases("training/run/result.txt", final=final, run=run, budget=budget), "Result", console)


def print_phrases(rows, title, console):
    """Prints tuples of a name and a phrase as a table without lines.

    Args:
        rows: list of tuples of two str.
        title: str.
        console: `rich.console.Console`.
    """
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
