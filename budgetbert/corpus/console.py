"""What a preparation shows: its progress on stderr, a summary of the corpus on stdout."""

import contextlib
import time

import rich.box
import rich.progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from budgetbert.corpus import store


class Progress:
    """A progress bar per stage of the work, on stderr. Use as a context manager."""

    def __init__(self):
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.description:<24}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[rate]}"),
            rich.progress.TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()

    @contextlib.contextmanager
    def stage(self, description, total=None):
        """Shows one stage while its block runs.

        Args:
            description: str.
            total: number, what `done` will be at the end. Defaults to `None`: unknown.

        Yields:
            A function of `done` (as `total`), and the numbers of documents and characters so far, as far as they are
            known to the stage.
        """
        started = time.monotonic()
        task = self._progress.add_task(description, total=total, rate="")

        def show(done, documents=None, characters=None):
            told = [] if documents is None else [f"{documents:,} documents"]
            if characters is not None:
                rate = characters / 1e6 / max(time.monotonic() - started, 1e-3)
                told += [f"{characters / 1e6:,.1f} MB", f"{rate:,.1f} MB/s"]
            self._progress.update(task, completed=done, rate=", ".join(told))

        yield show
        self._progress.update(task, total=1, completed=1)  # A bar of unknown length is full now, too.


def print_summary(corpus):
    """Prints what a prepared corpus holds.

    Args:
        corpus: `budgetbert.corpus.store.PreparedCorpus`.
    """
    manifest = corpus.manifest
    counts = manifest["counts"]
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "training", "held out"):
        table.add_column(heading, justify="right" if heading else "left")
    for what in ("documents", "tokens", "rows"):
        table.add_row(what, *(f"{counts[what][split]:,}" for split in ("train", "validation")))
    case = "lower-cased" if corpus.lowercase else "cased"
    accents = "without accents" if corpus.strip_accents else "with accents"
    start = ", each starting with [CLS]" if manifest["row_start"] == "cls" else ""
    entropy = manifest["validation_unigram_entropy"]
    facts = Table.grid(padding=(0, 2))
    for name, fact in (
        ("rows", f"{corpus.sequence_length} tokens{start}"),
        ("vocabulary", f"{len(corpus.vocabulary):,} entries, {case}, {accents}"),
        ("unknown tokens", f"{100 * counts['unknown_token_rate']:.3f} %"),
        ("unigram entropy", f"{entropy:.3f} nats held out: the loss of knowing word counts alone"),
        ("source", ", ".join(source["source"] for source in manifest["sources"])),
        ("prepared in", f"{manifest['seconds']:,.0f} s"),
    ):
        facts.add_row(name, Text(fact, overflow="fold"))
    console = Console(highlight=False)
    console.print(f"\nPrepared corpus in {corpus.directory}", markup=False, soft_wrap=True)
    console.print(table, facts)
    for note in manifest["notes"]:
        console.print(f"Note: {note}", markup=False)
    report = corpus.directory / store.REPORT
    if report.exists():
        console.print(f"Report: {report}", markup=False, soft_wrap=True)
