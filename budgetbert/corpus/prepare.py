"""Raw text -> a prepared corpus, and what decides whether there is one already.

Memory is bounded; the files are byte-identical however many processes share the work, and however often it is killed
and started again.
"""

import json
import os
import sys
import time
from pathlib import Path

from budgetbert import files
from budgetbert.corpus import manifest, ordering, ready, report, staging, store
from budgetbert.corpus.console import Progress, print_summary
from budgetbert.corpus.model_vocabulary import read_model_vocabulary
from budgetbert.corpus.options import Options
from budgetbert.corpus.sources import token_ids
from budgetbert.corpus.sources.text import parse_sources
from budgetbert.corpus.stages import vocabulary
from budgetbert.corpus.stages.encode import encode
from budgetbert.corpus.stages.pool import Workers
from budgetbert.corpus.stages.read import read
from budgetbert.corpus.stages.select import highest_held_out, select
from budgetbert.corpus.stages.shards import write_shards
from budgetbert.errors import InputError, one_line
from budgetbert.tokenization.vocabulary import read_vocabulary, standalone_tokenizer


def prepare_corpus(sources, output_dir, *, workers=None, **options):
    """Prepares a corpus, unless `output_dir` holds just this one already.

    A document is held out for validation if its hash is among the lowest `validation_fraction`, and in any case the
    documents of lowest hash that fill one row. The hash is that of the cleaned text with white space collapsed: the
    same documents are held out whatever the other options, and whatever files they are in.

    What a killed preparation finished stands in `<output_dir>.preparing`, and the same call goes on from there, also
    where the hub or a disk failed. It needs about as much disk as the text has characters, and is deleted at the end.

    Args:
        sources: str as for `--corpus`, see `sources.text.parse_sources`; or a folder of token ids with their tokenizer,
            see `sources.token_ids.find`, of which `ready` makes the rows.
        output_dir: str or `Path`. It appears when it is complete.
        workers: int, or a `datatrove.DatatroveWorkers`. The number of processes, which import the calling script: it
            has to do its work under `if __name__ == "__main__"`. Defaults to `None`: one per CPU core that this process
            may use.
        **options: the fields of `budgetbert.corpus.options.Options`.

    Returns:
        `budgetbert.corpus.store.PreparedCorpus`.

    Raises:
        InputError: if the sources cannot be read or hold too little text, or if `output_dir` holds something else.
    """
    started = time.monotonic()
    output_dir = Path(output_dir).resolve()
    if output_dir.is_mount():  # It is put in place by a rename, once it is whole.
        raise InputError(f"{output_dir} is a mount point: give a directory in it.")
    options, given = Options(**options), None
    workers = Workers(workers) if workers is None or isinstance(workers, int) else workers
    if ids := token_ids.find(sources, options.text_field, options.split):
        opened, tokenizer = [ids], ready.open_tokenizer(ids, options)
        given = tokenizer[0]
    else:
        if options.vocabulary:
            given = read_vocabulary(options.vocabulary)
        elif options.vocabulary_from:
            of_model = read_model_vocabulary(options.vocabulary_from)
            options, given = options.with_normalizer(of_model.normalizer), of_model.vocabulary
        opened = parse_sources(sources, options.text_field, options.split, options.document)
    options = options.for_sources(sources)
    for source in opened:
        root = getattr(source, "root", None)
        if root and output_dir.is_relative_to(root.resolve()):
            raise InputError(f"{output_dir} lies inside the text of {source.name}: choose another output directory.")
    weights = [source.weight for source in opened] if opened[0].weight else None
    wanted = options.for_manifest(given, weights)
    if given:
        ordering.check(options.order, given)

    def identify():
        return [source.identity() for source in opened]

    if output_dir.exists() and (not output_dir.is_dir() or any(output_dir.iterdir())):
        corpus = _open_equal(output_dir, wanted, identify)
        staging.remove_left_over(output_dir)
        if not (output_dir / store.REPORT).exists():
            _write_report(output_dir)
        return corpus
    with (
        staging.opened(output_dir, wanted, identify) as (directory, identities),
        Progress() as progress,
        workers,
    ):
        stage = staging.Staging(directory, workers, progress)
        corpus = stage.folder("corpus")
        if ids:
            facts = ready.write_rows(corpus, ids, tokenizer, options, stage)
        else:
            facts = prepare_rows(corpus, opened, weights, options, given, stage)
        if identities != identify():
            raise InputError(f"{sources} changed while it was read: prepare it when nothing else writes there.")
        counts = zip(identities, facts.pop("source_counts"), strict=True)
        written = {
            "format_version": store.FORMAT_VERSION,
            "normalizer": options.make_normalizer().config(),
            **facts,
            "sources": [
                identity | source.told_files() | count for source, (identity, count) in zip(opened, counts, strict=True)
            ],
            "options": wanted,
            "seconds": round(time.monotonic() - started, 1),
            "circumstances": manifest.circumstances(workers.number),
        }
        files.write(corpus / store.MANIFEST, json.dumps(files.with_sum(written), indent=1))
        files.sync_directory(corpus)
        os.replace(corpus, output_dir)
        files.sync_directory(directory)
        files.sync_directory(output_dir.parent)
    _write_report(output_dir)
    return store.open_corpus(output_dir)


def prepare_rows(corpus, sources, weights, options, given, stage):
    """Writes the vocabulary and the rows, stage by stage.

    Args:
        corpus: `Path` of the folder for them.
        sources: list of what `parse_sources` returns.
        weights: list of float, the shares of the sources, or `None`.
        options: `Options`.
        given: list of str, the entries of a vocabulary, or `None`: it is trained.
        stage: `staging.Staging`.

    Returns:
        dict, what the manifest says of the result.
    """
    names, normalizer = [source.name for source in sources], options.make_normalizer()
    ledger = manifest.Ledger(len(sources))
    if given and not options.vocabulary_from:
        ledger.notes += _mismatch(given, normalizer)
    documents = read(sources, options, stage, ledger)
    documents = select(documents, names, weights, options, stage, ledger)
    entries, added = given, []
    if options.extend_vocabulary:
        arguments = (vocabulary.CHARACTERS, documents, normalizer, stage)
        added = vocabulary.extend(given, options.extend_vocabulary, *arguments)
        entries = [*given, *(entry for entry, _ in added)]
        if len(added) < options.extend_vocabulary:
            ledger.notes.append(
                f"{len(added):,} new entries are added, not {options.extend_vocabulary:,}: beside them no other word "
                "or piece of the text would save a piece."
            )
    if not given:
        size = options.vocabulary_size
        arguments = (documents, normalizer, stage, options.alphabet_size)
        entries = vocabulary.train("vocabulary", size, vocabulary.CHARACTERS, *arguments)
        if len(entries) < size:
            ledger.notes.append(
                f"the text fills {len(entries):,} of the {size:,} entries asked for: they hold "
                f"{f'{options.alphabet_size:,} characters' if options.alphabet_size else 'every character'} of its "
                "words, and every piece that is repeated in them. Give more text, or a smaller --vocabulary_size."
            )
        ordering.check(options.order, entries)
    store.write_vocabulary(corpus / store.VOCABULARY, entries)
    files.write(corpus / "tokenizer.json", standalone_tokenizer(entries, normalizer).to_str(pretty=True))
    encoded = encode(documents, entries, highest_held_out(documents, entries, options), options, stage)
    shards, frequencies = write_shards(corpus, encoded, entries, options, stage)
    facts = manifest.facts(corpus, names, documents, entries, encoded, shards, frequencies, options, ledger)
    if options.vocabulary_from:
        facts["vocabulary"] |= {"from": options.vocabulary_from, "old_entries": len(given), "added": added}
    if options.order in ordering.SORTED:
        stage.release_memory(documents)
        frequencies = frequencies["train"]
        facts["order_sha256"] = ordering.sort_rows(corpus, shards, options.order, entries, frequencies, stage)
    return facts | {"notes": ledger.notes}


def is_prepared(corpus):
    """Returns whether a `--corpus` names a prepared directory. A text folder may have a manifest of its own."""
    return all(os.path.exists(os.path.join(corpus, name)) for name in (store.MANIFEST, store.VOCABULARY))


def check_sources(corpus):
    """Raises an `InputError` where raw text that a `--corpus` names is not there, or is token ids."""
    if token_ids.find(corpus):
        raise InputError(
            f"{corpus} holds token ids: make a corpus of them with recipes/prepare_corpus.py --corpus {corpus} "
            "--output_dir DIR, and give that as --corpus."
        )
    parse_sources(corpus)


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


def _write_report(directory):
    """Draws the page of a corpus that is in place; where that fails, a warning says so, as the corpus is whole."""
    try:
        report.write_report(directory)
    # The page rests on libraries for charts and templates, and on room for one more file.
    except Exception as error:
        print(
            f"The corpus in {directory} is whole, but its page cannot be written ({one_line(error)}): try again with "
            f"python -m budgetbert.report {directory}.",
            file=sys.stderr,
        )


def _open_equal(output_dir, options, identify):
    """Opens the corpus in a directory that is not empty if it is the one that was asked for.

    Args:
        output_dir: `Path`.
        options, identify: as for `staging.opened`.
    """
    if not (output_dir / store.MANIFEST).exists():
        raise InputError(f"{output_dir} holds something that is not a prepared corpus: choose another directory.")
    corpus = store.open_corpus(output_dir)
    # Corpora of before this option have documents as `auto` has them.
    there = {"document": "auto"} | corpus.manifest.get("options", {})
    for name, value in options.items():
        if there.get(name) != value:
            raise InputError(
                f"{output_dir} holds another corpus: {name} is {there.get(name)} there and {value} here: "
                "choose another directory, or delete that one."
            )
    identities = identify()
    if [source["sha256"] for source in corpus.manifest["sources"]] != [source["sha256"] for source in identities]:
        raise InputError(
            f"{output_dir} was prepared from other text than {', '.join(source['source'] for source in identities)} "
            "holds now: choose another directory, or delete that one."
        )
    return corpus


def _mismatch(entries, normalizer):
    """Returns a note if a given vocabulary (list of str) seems to be made for another normaliser."""
    words = [entry.removeprefix("##") for entry in entries if not (entry.startswith("[") and entry.endswith("]"))]
    # What is a piece of its own has spaces around it, and is one word.
    lost = sum(normalizer.separated(word).split() != [word] for word in words)
    if lost <= 0.1 * len(words):  # A few entries of any published vocabulary are not in its own normal form.
        return []
    return [
        f"{lost:,} entries of the given vocabulary cannot occur in text that is normalised like this: "
        "are --lowercase and --strip_accents as it wants them?"
    ]
