"""A run, told to people on the terminal: the progress bar, the result."""

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from budgetbert.budget import describe, describe_seconds


class Display:
    """Context that shows where a run stands: a bar with the time left on a terminal, else a line at each validation.

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
                f"{fraction:5.0%} of the budget, step {line['step']:>7,}, {describe(line['tokens']):>6} tokens: "
                f"validation loss {line['validation_loss']:.3f}, accuracy {line['validation_accuracy']:.1%}"
                f"{_also(line)}"
            )
            self._bar.update(self._task, completed=fraction)
            return
        text = (
            f"step {line['step']:,}  loss {line['loss'] or float('nan'):.3f}  {line['tokens_per_second']:,.0f} tokens/s"
        )
        self._bar.update(self._task, completed=fraction, description=f"{text}  MFU {line['mfu']:.0%}")


def _also(line):
    """What some runs have beside loss and accuracy: the phase, next-sentence prediction."""
    phase = f", phase {line['phase']}" if line["phase"] > 1 else ""
    name = "validation_next_sentence_accuracy"
    return phase + (f", next sentence {line[name]:.1%}" if name in line else "")


def print_result(final, run, budget, console):
    """Prints the final figures of a run.

    Args:
        final: dict, the last line of its log.
        run: `Run`.
        budget: `Budget`.
        console: `rich.console.Console`.
    """
    kinds = ", ".join(f"{kind.replace('_', ' ')} {describe_seconds(value)}" for kind, value in final["seconds"].items())
    table = Table(title="Result", show_header=False, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    loss, entropy = final["validation_loss"], final["validation_unigram_entropy"]
    for row in (
        ("validation loss", f"{loss:.3f} nats, from {final['first_validation_loss']:.3f} before the first step"),
        ("unigram entropy", f"{entropy:.3f} nats of the held-out rows: {'beaten' if loss < entropy else 'not beaten'}"),
        ("accuracy", f"{final['validation_accuracy']:.1%} of the masked tokens"),
        *(
            (f"phase {phase}", f"{value:.3f} nats at its end")
            for phase, value in final.get("phase_validation_loss", {}).items()
        ),
        ("spent", f"{describe_seconds(final['elapsed_seconds'])} of a budget of {budget}"),
        ("", f"({kinds})"),
        ("did", f"{final['step']:,} steps, {describe(final['tokens'])} tokens, {describe(final['flops'])} FLOPs"),
        ("on", f"{final['device']}, {final['tokens_per_second']:,.0f} tokens/s over all"),
        ("model", run.path("model.keras")),
        ("vocabulary", run.path("vocabulary.txt")),
        ("report", run.path("report.html")),
    ):
        table.add_row(*row)
    console.print(table)


def show_filled_masks(model):
    """Prints what a masked-LM makes of three sentences in the manner of the demo text.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor.
    """
    sentences = (
        "Returns a new array with the same [MASK] as the input.",
        "If the file does not [MASK], an error is raised.",
        "The default [MASK] of this argument is None.",
    )
    print("\nWhat the model fills in:")
    for sentence, masks in zip(sentences, model.fill_mask(sentences, k=5), strict=True):
        guesses = ", ".join(f"{token} {probability:.0%}" for token, probability in masks[0])
        print(f"  {sentence}\n      {guesses}")
