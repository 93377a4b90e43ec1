"""Raw text -> a prepared corpus, and what decides whether there is one already.

Memory is bounded; the files are byte-identical however many processes share the work, and however often it is killed
and started again.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.util
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from budgetbert import normalization
from budgetbert.command_line import InputError
from budgetbert.corpus import hub, manifest, ordering, parts, quality, reading, report, rows, selection, store
from budgetbert.corpus.console import Stages, print_summary
from budgetbert.corpus.job import Job
from budgetbert.corpus.parallel import WorkerKilled, Workers
from budgetbert.corpus.sources import parse_sources
from budgetbert.corpus.vocabulary import read_vocabulary, standalone_tokenizer

VOCABULARY_SIZE = 32_768
# The demo text is 10 MB. Of 32,768 entries most would occur too rarely in it to be learnt.
DEMO_VOCABULARY_SIZE = 8_192
VALIDATION_FRACTION = 0.005
DEMO_VALIDATION_FRACTION = 0.03  # 500 rows; 0.005 of 10 MB would be 60, and their loss noisy
# The trainer itself takes 250 MB (see `vocabulary`), and what is rare in 1 GB gets no entry.
_VOCABULARY_CHARACTERS = 2**30
_LEAST_SUBSTRING = 20  # Cramming takes 75, Lee et al. 2022 50 tokens, some 200 bytes
_STAGING_FORMAT = 2  # counts up when what the stages leave changes


def prepare_corpus(
    sources,
    output_dir,
    *,
    vocabulary_size=None,
    vocabulary=None,
    lowercase=True,
    strip_accents=True,
    normalizer="bert",
    sequence_length=128,
    rows="packed",
    row_start="none",
    order="shuffled",
    dedup="exact",
    filter="none",
    min_characters=0,
    language=None,
    drop_repeated_lines=False,
    validation_fraction=None,
    text_field="text",
    split="train",
    workers=None,
):
    """Prepares a corpus, unless `output_dir` holds just this one already.

    A document is held out for validation if its hash is among the lowest `validation_fraction`, and in any case the
    documents of lowest hash that fill one row. The hash is that of the cleaned text with white space collapsed: the
    same documents are held out whatever the other options, and whatever files they are in.

    What a killed preparation finished stands in `<output_dir>.preparing`, and the same call goes on from there. It
    needs about as much disk as the text has characters, and is deleted at the end.

    Args:
        sources: str as for `--corpus`, see `sources.parse_sources`.
        output_dir: str or `Path`. It appears when it is complete.
        vocabulary_size: int, rounded up to a multiple of 64. Defaults to `None`: 8,192 for `demo`, else 32,768.
        vocabulary: str, path of a vocabulary to use instead of training one. Defaults to `None`.
        lowercase, strip_accents: bool. The flags of the `Normalizer`. Default to `True`.
        normalizer: str, "bert", or "cramming", which also drops what is not ASCII. Defaults to "bert".
        sequence_length: int. The number of tokens in a row. Defaults to 128.
        rows: str, "packed", "sentences" or "pairs", see `packing`. Defaults to "packed".
        row_start: str. "cls" puts [CLS] at the start of every packed row, "none" puts nothing. Defaults to "none".
        order: str. How training rows are stored: "shuffled" (as they come; the loader permutes them),
            "frequent_first" or "short_sentences_first", see `ordering`. Defaults to "shuffled".
        dedup: str, "none", "exact", "near" or "substring:N"; the last two include "exact", see `deduplication`.
            Defaults to "exact": what stands twice is read twice as often, and no published recipe means that.
        filter: str, "none", or "t=0.3": the compressibility filter of `quality.compressible`. Defaults to "none".
        min_characters: int. Shorter documents are left out. Defaults to 0.
        language: str, such as "en": documents in others are left out, see `quality.in_language`. Defaults to `None`.
        drop_repeated_lines: bool. Whether `cleaning.drop_repeated_lines` is applied. Defaults to `False`.
        validation_fraction: float between 0 and 0.5. Defaults to `None`: 0.03 for `demo` alone, else 0.005.
        text_field: str. The field or column of JSON, parquet and the hub's data sets. Defaults to "text".
        split: str. The split of the hub's data sets. Defaults to "train".
        workers: int, or a `datatrove.DatatroveWorkers`. The number of processes, which import the calling script: it
            has to do its work under `if __name__ == "__main__"`. Defaults to `None`: one per CPU core that this process
            may use.

    Returns:
        `budgetbert.corpus.store.PreparedCorpus`.

    Raises:
        InputError: if the sources cannot be read or hold too little text, or if `output_dir` holds something else.
    """
    started = time.monotonic()
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    output_dir = Path(output_dir).resolve()
    if output_dir.is_mount():  # it is put in place by a rename, once it is whole
        raise InputError(f"{output_dir} is a mount point: give a directory in it.")
    given = read_vocabulary(vocabulary) if vocabulary else None
    if vocabulary_size is None:
        vocabulary_size = DEMO_VOCABULARY_SIZE if sources == "demo" else VOCABULARY_SIZE
    if validation_fraction is None:
        validation_fraction = DEMO_VALIDATION_FRACTION if sources == "demo" else VALIDATION_FRACTION
    options = {
        "vocabulary": hashlib.sha256("\n".join(given).encode()).hexdigest()
        if given
        else -(-vocabulary_size // 64) * 64,
        "lowercase": lowercase,
        "strip_accents": strip_accents,
        "normalizer": normalizer,
        "sequence_length": sequence_length,
        "rows": rows,
        "row_start": row_start,
        "order": order,
        "dedup": dedup,
        "filter": _filter_threshold(filter),
        "min_characters": min_characters,
        "language": language,
        "drop_repeated_lines": drop_repeated_lines,
        "validation_fraction": validation_fraction,
        "text_field": text_field,
        "split": split,
    }
    processes = Workers(workers) if isinstance(workers, int) else workers
    _check(options, processes.number)
    opened = parse_sources(sources, processes.number, text_field, split)
    for source in opened:
        root = getattr(source, "root", None)
        if root and output_dir.is_relative_to(root.resolve()):
            raise InputError(f"{output_dir} lies inside the text of {source.name}: choose another output directory.")
    weights = [source.weight for source in opened]
    options["weights"] = weights if any(weights) else None
    identities = [source.identity() for source in opened]
    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        corpus = _open_equal(output_dir, options, identities)
        _remove_left_over(output_dir)
        return corpus
    with _staging(output_dir, options, identities) as staging, Stages() as stages, processes:
        job = Job(opened, staging, options, _normalizer(options), processes, stages)
        facts = _run(job, given)
        if identities != [source.identity() for source in opened]:
            raise InputError(f"{sources} changed while it was read: prepare it when nothing else writes there.")
        notes = [*(_mismatch(given, job.normalizer) if given else []), *job.notes]
        counts = zip(identities, facts.pop("source_counts"), strict=True)
        told = {
            "format_version": store.FORMAT_VERSION,
            "normalizer": dataclasses.asdict(job.normalizer),
            **facts,
            "notes": notes,
            "sources": [identity | count for identity, count in counts],
            "options": options,
            "seconds": round(time.monotonic() - started, 1),
            "circumstances": manifest.circumstances(processes.number),
        }
        store.write_file(staging / "corpus" / store.MANIFEST, json.dumps(told, indent=1).encode())
        report.write_report(staging / "corpus")
        store.sync_directory(staging / "corpus")
        os.replace(staging / "corpus", output_dir)
        store.sync_directory(staging.parent)
    return store.open_corpus(output_dir)


def _run(job, given):
    """Runs the stages, and returns what the manifest says of the result; `given` are the entries of a vocabulary."""
    reading.read(job)
    selection.select(job)
    threshold = selection.highest_held_out(job)
    wanted = job.options["vocabulary"]
    entries = given or job.trained("vocabulary", wanted, _VOCABULARY_CHARACTERS)
    if not given and len(entries) < wanted:
        told = f"the text has too few words for a vocabulary of {wanted:,}; it has {len(entries):,} entries."
        job.notes.append(told)
    store.write_vocabulary(job.corpus / store.VOCABULARY, entries)
    standalone = standalone_tokenizer(entries, job.normalizer).to_str(pretty=True)
    store.write_file(job.corpus / "tokenizer.json", standalone.encode())
    encoded = rows.encode(job, entries, threshold)
    shards, frequencies = rows.write_shards(job, entries, encoded)
    return manifest.facts(job, entries, encoded, shards, frequencies)


def is_prepared(corpus):
    """Returns whether a `--corpus` names a prepared directory. A text folder may have a manifest of its own."""
    return all(os.path.exists(os.path.join(corpus, name)) for name in (store.MANIFEST, store.VOCABULARY))


def check_sources(corpus):
    """Raises an `InputError` where raw text that a `--corpus` names is not there."""
    parse_sources(corpus, workers=1)


def open_or_prepare(corpus, work_directory, **preparation):
    """Opens a prepared corpus, or prepares one from raw text and prints its summary.

    Args:
        corpus: str, the value of a training recipe's `--corpus`: a prepared directory, or sources as for
            `prepare_corpus`.
        work_directory: str or `Path`. Where a corpus is prepared; if it is there already, it is only opened.
        **preparation: options of `prepare_corpus`; they do not apply to a prepared directory.

    Returns:
        `budgetbert.corpus.store.PreparedCorpus`.

    Raises:
        InputError: as `open_corpus` and `prepare_corpus`.
    """
    if is_prepared(corpus):
        return store.open_corpus(corpus)
    prepared = prepare_corpus(corpus, work_directory, **preparation)
    print_summary(prepared)
    return prepared


_CHOICES = {
    "rows": ("packed", "sentences", "pairs"),
    "row_start": ("none", "cls"),
    "order": ("shuffled", *ordering.ORDERS),
    "normalizer": normalization.KINDS,
}


def _check(options, workers):
    # 8 tokens are the shortest row with a token to predict: 0.15 x 8 rounds to 1.
    for name, low, high in (("sequence_length", 8, 65_536), ("validation_fraction", 0.0, 0.5)):
        if not low <= options[name] <= high:
            raise InputError(f"--{name}={options[name]} is out of range: give {low} to {high}.")
    if isinstance(options["vocabulary"], int) and not 256 <= options["vocabulary"] <= 2**20:
        raise InputError(f"--vocabulary_size={options['vocabulary']} is out of range: give 256 to {2**20}.")
    for name, choices in _CHOICES.items():
        if options[name] not in choices:
            raise InputError(f"--{name}={options[name]} is unknown: give {' or '.join(choices)}.")
    if options["row_start"] == "cls" and options["rows"] != "packed":
        raise InputError(f"--row_start=cls is for packed rows: those of --rows={options['rows']} have [CLS] anyway.")
    if not re.fullmatch(r"none|exact|near|substring:\d+", options["dedup"]):
        raise InputError(f"--dedup={options['dedup']} is unknown: give none, exact, near or substring:N.")
    if options["dedup"].startswith("substring:") and int(options["dedup"].partition(":")[2]) < _LEAST_SUBSTRING:
        raise InputError(
            f"--dedup={options['dedup']} would drop common phrases: give at least substring:{_LEAST_SUBSTRING} (bytes)."
        )
    needed = {"near": ("datasketch", "xxhash"), "substring": ("pydivsufsort",)}
    for name in needed.get(options["dedup"].partition(":")[0], ()):
        if not importlib.util.find_spec(name):
            told = f"--dedup={options['dedup']} needs {name}, which is not installed"
            raise InputError(f"{told}: pip install budgetbert[deduplication].")
    if options["min_characters"] < 0:
        raise InputError(f"--min_characters={options['min_characters']} is out of range: give 0 or more.")
    if options["language"]:
        quality.in_language("", options["language"])  # refuses an unknown one now and not after hours
    if workers < 1:
        raise InputError(f"--workers={workers} is out of range: give at least 1.")


def _filter_threshold(filter):
    """Returns the t of `--filter t=0.3` as a float, or None for none."""
    if filter == "none":
        return None
    match = re.fullmatch(r"t=(\d*\.?\d+)", filter)
    if not match or not 0 < float(match[1]) < 1:
        raise InputError(f"--filter={filter} is unknown: give none, or t=0.3 with another number between 0 and 1.")
    return float(match[1])


def _normalizer(options):
    return normalization.Normalizer(options["lowercase"], options["strip_accents"], options["normalizer"])


def _open_equal(output_dir, options, identities):
    """Opens the corpus in a directory that is not empty if it is the one that was asked for."""
    if not (output_dir / store.MANIFEST).exists():
        raise InputError(f"{output_dir} holds something that is not a prepared corpus: choose another directory.")
    corpus = store.open_corpus(output_dir)
    there = corpus.manifest.get("options", {})
    for name, value in options.items():
        if there.get(name) != value:
            raise InputError(
                f"{output_dir} holds another corpus: {name} is {there.get(name)} there and {value} here: "
                "choose another directory, or delete that one."
            )
    if [source["sha256"] for source in corpus.manifest["sources"]] != [source["sha256"] for source in identities]:
        raise InputError(
            f"{output_dir} was prepared from other text than {', '.join(source['source'] for source in identities)} "
            "holds now: choose another directory, or delete that one."
        )
    return corpus


def _staging_path(output_dir):
    return Path(f"{output_dir}.preparing")


def _remove_left_over(output_dir):
    """Removes what a preparation leaves that is killed when the corpus is in place already."""
    staging = _staging_path(output_dir)
    with contextlib.suppress(OSError):  # there is none, or it is just being removed
        descriptor = os.open(staging, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(staging, ignore_errors=True)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _staging(output_dir, options, identities):
    """The directory beside `output_dir` with what a killed preparation finished, locked; deleted when all is done."""
    staging = _staging_path(output_dir)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staging, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{output_dir} cannot be made: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(f"{output_dir} is being prepared by another process: wait for it.") from error
    try:
        plan = {"format": _STAGING_FORMAT, "boot": _boot(), "options": options, "sources": identities}
        _start_over_unless(staging, plan | {"packages": manifest.packages()})
        yield staging
        finished = True
    except InputError as error:  # the same text and options end like this again, unless the trouble was outside
        # the disk or the network failed, not the text: of a damaged file the errno is None
        unreadable = isinstance(error.__cause__, OSError) and error.__cause__.errno is not None
        finished = not (unreadable or isinstance(error, hub.Unreachable | WorkerKilled))
        raise
    except BaseException:
        finished = False
        raise
    finally:
        if finished:
            shutil.rmtree(staging, ignore_errors=True)
        os.close(descriptor)


def _start_over_unless(staging, plan):
    """Empties the directory unless what it holds belongs to this plan, and says what happens."""
    path = staging / "plan.json"
    plan = json.dumps(plan, indent=1, sort_keys=True)
    left = [entry for entry in staging.iterdir() if entry.name != path.name]
    if left:
        same = path.exists() and path.read_text() == plan
        told = "Going on with" if same else "Other text, options or packages than in"
        print(f"{told} {staging}", end="", file=sys.stderr)
        print("." if same else ", or another boot: starting over.", file=sys.stderr)
        if same:
            return
        path.unlink(missing_ok=True)  # first: what is half deleted belongs to no plan
        for entry in left:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    parts.write(path, lambda temporary: Path(temporary).write_text(plan))


def _boot():
    """What differs after a restart of the machine, which may lose files that were not synced."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _mismatch(given, normalizer):
    """A note if a given vocabulary seems to be made for another normaliser."""
    words = [entry.removeprefix("##") for entry in given if not (entry.startswith("[") and entry.endswith("]"))]
    lost = sum(normalizer(word) != word for word in words)
    if lost <= 0.1 * len(words):  # a few entries of any published vocabulary are not in its own normal form
        return []
    return [
        f"{lost:,} entries of the given vocabulary cannot occur in text that is normalised like this: "
        "are --lowercase and --strip_accents as it wants them?"
    ]
