"""What the manifest tells of a preparation."""

import collections
import itertools
import platform
import sys
import time

import numpy as np
from absl import flags

from budgetbert.corpus import account, store
from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.stages.parts import EXAMPLES
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import counted
from budgetbert.reporting.versions import package_versions
from budgetbert.tokenization.vocabulary import special_ids

# The shares of unknown tokens from which on a corpus is refused, and from which on they are told. Published
# vocabularies leave less than 0.1 % of their languages unknown.
_MOST_UNKNOWN, _TOLD_UNKNOWN = 0.5, 0.01
# The share of one label from which on pairs are refused, and told. Of ordinary text 52 to 53 % are random.
_MOST_LABEL, _TOLD_LABEL = 0.95, 0.7
_COUNTED = ("documents", "tokens")
# By what factor the held-out share may be off before it is told.
_TOLD_FACTOR = 2
# Those that decide what a document, a token or a row is.
_PACKAGES = (
    *("budgetbert", "numpy", "pyarrow", "tokenizers", "ftfy", "mwparserfromhell", "sentencex", "datasets"),
    *("py3langid", "datasketch", "pydivsufsort"),
)


class Ledger:
    """What was left out of each source and why, and what the user should know.

    Args:
        sources: int, the number of sources.

    Attributes:
        removed: list of a `collections.Counter` for each source: how many documents were left out, by reason.
        examples: dict of reason to the starts of the first documents that were left out.
        notes: list of str.
    """

    def __init__(self, sources):
        self.removed = [collections.Counter() for _ in range(sources)]
        self.examples = collections.defaultdict(list)
        self.notes = []

    def leave_out(self, source, reason, number, examples=()):
        """Counts documents of a source, and keeps the first few of all starts of such documents."""
        self.removed[source][reason] += number
        self.add_examples(reason, examples)

    def add_examples(self, reason, examples):
        """Keeps the first few of all `examples` (list of str) of what was left out for a reason."""
        self.examples[reason] += examples[: EXAMPLES - len(self.examples[reason])]


def facts(corpus, sources, documents, entries, encoded, shards, frequencies, options, ledger):
    """Returns the parts of the manifest that tell what the corpus holds and what was left out.

    Args:
        corpus: `Path` of the folder of the shards.
        sources: list of str, their names.
        documents: `parts.Documents`.
        entries: list of str, the vocabulary.
        encoded: what `encode.encode` returned.
        shards: list of dict, what `shards.write_shards` returned.
        frequencies: dict of each split to how often each entry occurs in its rows, an int64 array [entries].
        options: `Options`.
        ledger: `Ledger`.

    Raises:
        InputError: if a split has no row, or the rows are of no use: most tokens are unknown, or all labels alike.
    """
    counts = {what: dict.fromkeys(store.SPLITS, 0) for what in ("documents", "tokens", "rows")}
    names, in_rows = ", ".join(sources), [collections.Counter() for _ in sources]
    without_tokens = [[] for _ in sources]
    together = {some.folder: some.records for some in encoded.values()}  # Of both splits, or of each.
    for first, record in itertools.chain(*together.values()):
        source = documents.records[first]["source"]
        of_source = in_rows[source]
        without_tokens[source] += record["without_tokens"]
        of_source["tokens"] += sum(record["tokens"].values())
        for split in record["documents"]:
            of_source[split] += record["documents"][split]
            counts["documents"][split] += record["documents"][split]
            counts["tokens"][split] += record["tokens"][split]
    for shard in shards:
        counts["rows"][shard["split"]] += shard["rows"]
    length = options.sequence_length
    about_tokens, unknown_rate = of_tokens(names, entries, frequencies, ledger)
    for source, lengths in enumerate(without_tokens):
        if lengths:
            ledger.leave_out(source, "without_tokens", len(lengths))
    all_without = sum(map(len, without_tokens))
    if counts["documents"]["validation"] and not counts["documents"]["train"]:
        held_out = counts["documents"]["validation"]
        kept = "the only document that is" if held_out == 1 else f"all {held_out:,} documents that are"
        raise InputError(
            f"{kept} kept of {names} {'is' if held_out == 1 else 'are'} held out, so none is left for training: add "
            "text, or make --validation_fraction or --sequence_length smaller."
        )
    if not all(counts["rows"].values()):
        train, validation = (counts["tokens"][split] for split in store.SPLITS)
        lost = f" (left out as without tokens: {counted(all_without, 'document')})" if all_without else ""
        raise InputError(
            f"{names} is too small: it gives {counted(train, 'token')} for training and {validation:,} for validation, "
            f"and a row has {length}{lost}: add text, or make --sequence_length smaller."
        )
    counts |= {
        "documents_read": sum(record["documents_read"] for record in documents.records),
        "documents_without_tokens": all_without,
        "unknown_token_rate": unknown_rate,
    }
    check_held_out(counts, options.validation_fraction, ledger)
    if options.rows == "pairs":
        _check_labels(corpus, names, [shard for shard in shards if shard["split"] == "train"], ledger)
    removed = sum(ledger.removed, collections.Counter())
    source_counts = _source_counts(documents, in_rows, without_tokens, ledger)
    for told in source_counts:
        if told["documents_read"] != sum(told["removed"].values()) + told["documents"]:
            raise RuntimeError(f"the counts do not add up: {told}")
    lost = [told["removed"] | {"read": told["documents_read"]} for told in source_counts]
    ledger.notes += account.much_is_left_out(sources, lost)
    return {
        "rows_kind": options.rows,
        "row_start": options.row_start,
        "order": options.order,
        "sequence_length": length,
        **about_tokens,
        "counts": counts,
        "filters": {
            reason: {"documents": removed[reason], "examples": ledger.examples[reason]} for reason in sorted(removed)
        },
        "source_counts": source_counts,
        "validation_fraction": options.validation_fraction,
        "shards": shards,
    }


def of_tokens(names, entries, frequencies, ledger):
    """Returns what the manifest tells of the tokens in all rows, a dict, and which share of them is unknown (float).

    Args:
        names: str, of the sources.
        entries: list of str, the vocabulary.
        frequencies: dict of the number of times (int64 array) that each entry occurs in the rows of each split.
        ledger: `Ledger`.

    Raises:
        InputError: if most of them are unknown, or all alike.
    """
    ids, everywhere = special_ids(entries), sum(frequencies.values())
    special = list(ids.values())
    unknown, known = int(everywhere[ids["[UNK]"]]), np.delete(everywhere, special)
    unknown_rate = unknown / max(1, unknown + int(known.sum()))
    _check_tokens(names, unknown_rate, known, ledger)
    return {
        "dtype": str(token_dtype(len(entries))),
        "vocabulary": {"size": len(entries), "sha256": store.vocabulary_sha256(entries), "special_ids": ids},
        "token_frequencies": _told_frequencies(entries, everywhere),
        "validation_unigram_entropy": _entropy(np.delete(frequencies["validation"], special)),
    }, unknown_rate


def _check_tokens(names, rate, known, ledger):
    """Refuses rows that most tokens of are unknown, or that have one known token alone; notes a few in a hundred."""
    mend = (
        "give a vocabulary of the text's language or none, so that one is trained, or a larger --vocabulary_size or "
        "--alphabet_size"
    )
    if rate > _MOST_UNKNOWN:
        raise InputError(f"{rate:.1%} of the tokens of {names} are unknown, so there is little to learn: {mend}.")
    if np.count_nonzero(known) == 1:
        raise InputError(f"{names} repeats a single token, so there is nothing to learn: add other text.")
    if rate > _TOLD_UNKNOWN:
        ledger.notes.append(f"{rate:.1%} of the tokens are unknown: {mend}.")


def check_held_out(counts, wanted, ledger):
    """Notes a share of held-out tokens that is twice as large as was asked for, or half as large."""
    (_, documents), (train, validation) = ([counts[what][split] for split in store.SPLITS] for what in _COUNTED)
    share = validation / (train + validation)
    if wanted / _TOLD_FACTOR <= share <= wanted * _TOLD_FACTOR:
        return
    number = f"{documents:,} of {sum(counts['documents'].values()):,} documents"
    ledger.notes.append(
        f"{number} with {share:.2%} of the tokens are held out for validation, not {wanted:.2%}: documents are held "
        "out whole, and at least so many that they fill a row. Add text, split long documents, or give another "
        "--validation_fraction."
    )


def _check_labels(corpus, names, shards, ledger):
    """Refuses pairs of which (nearly) all are random or none is, as the label then is the same whatever a row says."""
    labels = [np.load(corpus / store.labels_name(shard["file"]), allow_pickle=False) for shard in shards]
    random, pairs = sum(int(some.sum()) for some in labels), sum(map(len, labels))
    told = f"{random:,} of the {pairs:,} pairs of {names} have a second segment from another place"
    why = "a document of one sentence has no other pair: prepare them with --rows packed, or give longer documents"
    most = max(random, pairs - random)
    if most > _MOST_LABEL * pairs:
        raise InputError(f"{told}, so there is nothing to tell apart: {why}.")
    if most > _TOLD_LABEL * pairs:
        ledger.notes.append(f"{told}, where about half should: {why}.")


def circumstances(workers):
    """Returns what the manifest tells of a preparation that decides nothing: when, how and with what it was made."""
    parsed = flags.FLAGS.is_parsed()  # Else the command is not one of ours but a notebook's, a test's.
    return {
        "command": sys.argv if parsed else None,
        "finished": round(time.time()),
        "workers": workers,
        "platform": platform.platform(),
        "packages": packages(),
    }


def packages():
    """Returns a dict of the versions (str) of what decides the result: of Python, and of packages."""
    return {"python": platform.python_version(), **package_versions(_PACKAGES)}


def _source_counts(documents, in_rows, without_tokens, ledger):
    """What the manifest says of each source: what came in, what went, what is left, and how long that is.

    Args:
        documents: `parts.Documents`.
        in_rows: list of a `collections.Counter` for each source, of what of it is in the rows.
        without_tokens: list of the lengths (list of int) of the documents of each source that are kept and in no row.
        ledger: `Ledger`.

    Returns:
        list of dict.
    """
    sums = ("documents_read", "characters_read", "empty_files")
    told = [
        dict.fromkeys(sums, 0)
        | {"removed": dict(sorted(removed.items())), "cleaned": collections.Counter(), "characters": 0}
        | {"training": kept["train"], "held_out": kept["validation"], "tokens": kept["tokens"]}
        for removed, kept in zip(ledger.removed, in_rows, strict=True)
    ]
    histograms = -np.stack([_by_power_of_two(lengths) for lengths in without_tokens])
    for of_source, lengths in zip(told, without_tokens, strict=True):
        of_source["characters"] -= sum(lengths)
    for record, _, lengths, _ in documents.kept_numbers():
        of_source = told[record["source"]]
        for name in sums:
            of_source[name] += record[name]
        of_source["cleaned"].update(record["cleaned"])
        of_source["characters"] += int(lengths.sum())
        histograms[record["source"]] += _by_power_of_two(lengths)
    return [
        some
        | {"cleaned": dict(sorted(some["cleaned"].items())), "documents": some["training"] + some["held_out"]}
        | {"lengths_by_power_of_two": histogram.tolist()}
        for some, histogram in zip(told, histograms, strict=True)
    ]


def _by_power_of_two(lengths):
    """Returns how many lengths (int array) are 1, 2 or 3, 4 to 7, and so on: an int64 array [32]."""
    places = np.log2(np.maximum(lengths, 1)).astype(np.int64)
    return np.bincount(places, minlength=32)


def _told_frequencies(entries, frequencies):
    """The most frequent entries, the frequencies at ranks 1, 2, 4 ... and the number of entries that never occur."""
    order = np.argsort(-frequencies, kind="stable")
    ranks = 2 ** np.arange(len(entries).bit_length())
    return {
        "most_frequent": [[entries[index], int(frequencies[index])] for index in order[:50]],
        "by_rank": [[int(rank), int(frequencies[order[rank - 1]])] for rank in ranks if rank <= len(entries)],
        "never": int(np.count_nonzero(frequencies == 0)),
    }


def _entropy(frequencies):
    """Returns -sum p ln p (float, nats) of an array of counts."""
    probabilities = frequencies[frequencies > 0] / frequencies.sum()
    return float(-(probabilities * np.log(probabilities)).sum())
