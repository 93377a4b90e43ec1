"""What the manifest tells of a preparation."""

import collections
import platform
import sys
import time

import numpy as np
from absl import flags

from budgetbert.command_line import InputError
from budgetbert.corpus import store
from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.vocabulary import special_ids
from budgetbert.reporting.versions import package_versions

# Those that decide what a document, a token or a row is.
_PACKAGES = (
    *("budgetbert", "numpy", "pyarrow", "tokenizers", "ftfy", "mwparserfromhell", "sentencex", "datasets"),
    *("py3langid", "datasketch", "pydivsufsort"),
)


def facts(job, entries, encoded, shards, frequencies):
    """Returns the parts of the manifest that tell what the corpus holds and what was left out.

    Args:
        job: `Job`, all stages of which are done.
        entries: list of str, the vocabulary.
        encoded: what `rows.encode` returned.
        shards, frequencies: what `rows.write_shards` returned.

    Raises:
        InputError: if a split has no row.
    """
    counts = {what: dict.fromkeys(store.SPLITS, 0) for what in ("documents", "tokens", "rows")}
    without_tokens = 0
    tokens = [0] * len(job.sources)
    for first, record in encoded["records"]:
        without_tokens += record["without_tokens"]
        tokens[job.parts.records[first]["source"]] += sum(record["tokens"].values())
        for split in record["documents"]:
            counts["documents"][split] += record["documents"][split]
            counts["tokens"][split] += record["tokens"][split]
    for shard in shards:
        counts["rows"][shard["split"]] += shard["rows"]
    length = job.options["sequence_length"]
    if not all(counts["rows"].values()):
        train, validation = (counts["tokens"][split] for split in store.SPLITS)
        raise InputError(
            f"{job.names} is too small: it gives {train} tokens for training and {validation} for validation, "
            f"and a row has {length}: add text, or make --sequence_length smaller."
        )
    ids, everywhere = special_ids(entries), sum(frequencies.values())
    special = list(ids.values())
    unknown = int(everywhere[ids["[UNK]"]])
    counts |= {
        "documents_read": job.parts.documents_read,
        "documents_without_tokens": without_tokens,
        "unknown_token_rate": unknown / max(1, unknown + int(np.delete(everywhere, special).sum())),
    }
    removed = sum(job.removed, collections.Counter())
    if counts["documents_read"] != removed.total() + sum(counts["documents"].values()) + without_tokens:
        raise RuntimeError(f"the counts do not add up: {counts}, removed {removed}")
    return {
        "rows_kind": job.options["rows"],
        "row_start": job.options["row_start"],
        "order": job.options["order"],
        "sequence_length": length,
        "dtype": str(token_dtype(len(entries))),
        "vocabulary": {"size": len(entries), "sha256": store.vocabulary_sha256(entries), "special_ids": ids},
        "counts": counts,
        "filters": {
            reason: {"documents": removed[reason], "examples": job.examples[reason]} for reason in sorted(removed)
        },
        "source_counts": [
            counted | {"tokens": count} for counted, count in zip(_source_counts(job), tokens, strict=True)
        ],
        "token_frequencies": _told_frequencies(entries, everywhere),
        "validation_fraction": job.options["validation_fraction"],
        "validation_unigram_entropy": _entropy(np.delete(frequencies["validation"], special)),
        "shards": shards,
    }


def circumstances(workers):
    """Returns what the manifest tells of a preparation that decides nothing: when, how and with what it was made."""
    parsed = flags.FLAGS.is_parsed()  # else the command is not one of ours: a notebook's, a test's
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


def _source_counts(job):
    """What the manifest says of each source: what came in, what went, what is left, and how long that is."""
    sums = ("documents_read", "characters_read", "empty_files")
    told = [
        dict.fromkeys(sums, 0) | {"removed": dict(sorted(removed.items())), "documents": 0, "characters": 0}
        for removed in job.removed
    ]
    histograms = np.zeros((len(told), 32), np.int64)
    for index, _, lengths, _ in job.numbers():
        record = job.parts.records[index]
        of_source = told[record["source"]]
        for name in sums:
            of_source[name] += record[name]
        of_source["documents"] += len(lengths)
        of_source["characters"] += int(lengths.sum())
        places = np.log2(np.maximum(lengths, 1)).astype(np.int64)
        histograms[record["source"]] += np.bincount(places, minlength=32)
    # documents of 1 character, of 2 and 3, of 4 to 7, and so on
    return [
        some | {"lengths_by_power_of_two": histogram.tolist()} for some, histogram in zip(told, histograms, strict=True)
    ]


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
