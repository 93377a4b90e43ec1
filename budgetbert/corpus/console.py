"""What a preparation shows: its progress on stderr, a summary of the corpus on stdout."""

import contextlib
import time

import rich.box
import rich.progress
from rich.table import Table
from rich.text import Text

from budgetbert.corpus import store
from budgetbert.corpus.account import Account
from budgetbert.terminal import LastingConsole

# With more sources than these the summary shows them together.
_MOST_COLUMNS = 4


class Progress:
    """A progress bar per stage of the work, on stderr. Use as a context manager."""

    def __init__(self):
        self._progress = rich.progress.Progress(
            rich.progress.TextColumn("{task.description:<24}"),
            rich.progress.BarColumn(bar_width=24),
            rich.progress.TextColumn("{task.fields[rate]}"),
            rich.progress.TimeRemainingColumn(),
            console=LastingConsole(stderr=True),
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
    manifest, account = corpus.manifest, Account(corpus.manifest)
    counts = manifest["counts"]
    case = "lower-cased" if corpus.normalizer.lowercase else "cased"
    accents = "without accents" if corpus.normalizer.strip_accents else "with accents"
    start = ", each starting with [CLS]" if manifest["row_start"] == "cls" else ""
    entropy = manifest["validation_unigram_entropy"]
    facts = Table.grid(padding=(0, 2))
    for name, fact in (
        ("tokens", _in_splits(counts["tokens"])),
        ("rows", f"{_in_splits(counts['rows'])}, of {corpus.sequence_length} tokens{start}"),
        ("vocabulary", f"{len(corpus.vocabulary):,} entries, {case}, {accents}"),
        ("taken from", _taken(manifest)),
        ("unknown tokens", f"{100 * counts['unknown_token_rate']:.3f} %"),
        ("unigram entropy", f"{entropy:.3f} nats held out: the loss of knowing word counts alone"),
        ("cleaning", ", ".join(f"{row.name.lower()} in {row.together:,}" for row in account.changed)),
        ("source", ", ".join(source["source"] for source in manifest["sources"])),
        ("prepared in", f"{manifest['seconds']:,.0f} s"),
    ):
        if fact:
            facts.add_row(name, Text(fact, overflow="fold"))
    console = LastingConsole(highlight=False)
    console.print(f"\nPrepared corpus in {corpus.directory}", markup=False, soft_wrap=True)
    console.print(_sources(account), facts)
    for name, number, reason, names in account.unread_files():
        told = f"Not read of {name}: {number:,} {reason} ({', '.join(names)})"
        console.print(told, markup=False, soft_wrap=True)
    for note in manifest["notes"]:
        console.print(f"Note: {note}", markup=False)
    report = corpus.directory / store.REPORT
    if report.exists():
        console.print(f"Report: {report}", markup=False, soft_wrap=True)


def _taken(manifest):
    """Returns what of the vocabulary and normaliser came from a model (str), empty where nothing did."""
    vocabulary = manifest["vocabulary"]
    if "from" not in vocabulary:
        return ""
    told = f"{vocabulary['from']}: {vocabulary['old_entries']:,} entries, normaliser {manifest['normalizer']['kind']}"
    added = [entry for entry, _ in vocabulary["added"]]
    return f"{told}; {len(added):,} new ones ({', '.join(added[:8])} ...)" if added else told


def _in_splits(counts):
    return f"{counts['train']:,} for training, {counts['validation']:,} held out"


def _sources(account):
    """The table of what lay in the sources and what became of it: what is indented is part of what is read."""
    apart = 1 < len(account.names) <= _MOST_COLUMNS
    table = Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for name in (*(account.names if apart else ()), "together" if apart else ""):
        table.add_column(Text(name, overflow="fold"), justify="right")
    table.add_column("", justify="right")

    def add(name, row, share=False, **style):
        numbers = (*(row.of_sources if apart else ()), row.together)
        part = f"{row.together / max(1, account.read.together):.1%}" if share else ""
        table.add_row(name, *(f"{number:,}" if number else "–" for number in numbers), part, **style)

    if account.files.together:
        add("files", account.files)
        if account.unread.together:
            add("not read", account.unread)
        table.add_section()
    add("documents read", account.read)
    for row in account.lost:
        add(f"  {row.name.lower()}", row, share=True, style="dim")
    add("  for training", account.training, share=True)
    add("  held out", account.held_out, share=True)
    return table
