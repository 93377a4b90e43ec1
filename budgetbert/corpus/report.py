"""`report.html`: a prepared corpus on one page that needs nothing else, made from what stands in its directory."""

import collections
import datetime
import re

import numpy as np
from markupsafe import Markup, escape

from budgetbert.budget import describe, describe_seconds
from budgetbert.corpus import store
from budgetbert.corpus.decoding import decoded_row
from budgetbert.corpus.formats import LONGEST_DOCUMENT_BYTES
from budgetbert.corpus.passes import EXAMPLE_CHARACTERS
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import length_chart, rank_chart

_ROWS = {"train": 10, "validation": 2}  # shown of each split
_MOST_SHARED_COLUMNS = 4  # sources that have columns of their own in the table of what was left out
_MOST_CHARTS, _MOST_SHARDS = 12, 100
_FREQUENT = 24
_ROW_KINDS = {
    "packed": ("packed rows", "documents run on from row to row, [SEP] between them"),
    "sentences": ("rows of sentences", "whole sentences of one document between [CLS] and [SEP]"),
    "pairs": (
        "rows of sentence pairs",
        "[CLS] segment A [SEP] segment B [SEP], over half of the Bs from another place",
    ),
}
_ORDERS = {
    "shuffled": "stored as the documents come; the loader permutes them",
    "frequent_first": "stored by falling mean log-frequency of their tokens",
    "short_sentences_first": "stored by falling number of full stops",
}
# In the order in which documents meet them: reason, name, and what it means with the options filled in.
_REASONS = {
    "redirects": ("Redirects", "pages of a wiki that only point at another"),
    "other_namespaces": ("Other namespaces", "talk, user, category, template and other pages that are no articles"),
    "other_models": ("Other content", "pages of a wiki that are not wikitext"),
    "undecodable": ("Undecodable", "bytes that are not UTF-8"),
    "malformed": ("Malformed", "lines that are not what their file's format asks for"),
    "empty": ("Empty", "nothing is left once the document is cleaned"),
    "too_long": ("Too long", f"more than {LONGEST_DOCUMENT_BYTES:,} bytes"),
    "too_short": ("Too short", "fewer than {min_characters:,} characters"),
    "other_language": ("Other languages", "not most probably in “{language}”"),
    "duplicate": ("Duplicates", "equal to an earlier document, white space aside"),
    "near_duplicate": ("Near-duplicates", "similar to an earlier document (MinHash of 5-grams, 0.8 or more)"),
    "repeated": ("Repeats", "too little is left without the stretches that stood before"),
    "incompressible": ("Incompressible", "{filter:g} tokens per character or more"),
    "over_weight": ("Over their share", "left out at random to give each source the share asked for"),
    "without_tokens": ("Without tokens", "nothing is left once the text is normalised"),
}


def write_report(directory):
    """Writes `report.html` of a prepared corpus, whole or not at all; reads its manifest and a few of its rows.

    Args:
        directory: str or `Path`. Of the prepared corpus.

    Returns:
        str, the path of the page.

    Raises:
        InputError: if the directory holds no prepared corpus, or a damaged one.
    """
    corpus = store.open_corpus(directory)
    return pages.write(str(corpus.directory / store.REPORT), render(corpus))


def render(corpus):
    """Returns the page of a `PreparedCorpus` as str."""
    manifest = corpus.manifest
    names = short_names([source["source"] for source in manifest["sources"]])
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    kind, meaning = _ROW_KINDS[corpus.rows_kind]
    vocabulary = f"a vocabulary of {len(corpus.vocabulary):,}, {_case(corpus)}"
    return pages.render(
        "corpus/report_page.html",
        title=" + ".join(shown),
        status="Prepared corpus",
        subtitle=f"{kind}, {corpus.sequence_length:,} tokens each, {manifest['order'].replace('_', ' ')}; {vocabulary}",
        headline=_headline(manifest),
        tiles=_tiles(corpus),
        notes=manifest["notes"],
        sources=_sources(manifest, names),
        ledger=_ledger(manifest, names),
        lengths=_lengths(manifest, names),
        tokens_told=_tokens(manifest),
        rows_note=f"{kind.capitalize()}: {meaning}. Those for training are {_ORDERS[corpus.order]}.",
        row_groups=_row_groups(corpus),
        files=_files(corpus),
        command=pages.command_words(manifest.get("circumstances", {}).get("command")),
        tables=_tables(corpus),
    )


def short_names(sources):
    """Returns of each path or name (list of str) as much of its end as tells it from the others."""

    def endings(source):
        parts = source.rstrip("/").split("/")
        return ["/".join(parts[-depth:]) for depth in range(1, len(parts) + 1)]

    known = [endings(source) for source in sources]
    taken = collections.Counter(ending for some in known for ending in some)
    return [next((ending for ending in some if taken[ending] == 1), some[-1]) for some in known]


def _case(corpus):
    case = "lower-cased" if corpus.lowercase else "cased"
    return f"{case}, {'without' if corpus.strip_accents else 'with'} accents"


def _headline(manifest):
    counts, length = manifest["counts"], manifest["sequence_length"]
    tokens, rows = counts["tokens"], counts["rows"]
    padding = 1 - sum(tokens.values()) / (sum(rows.values()) * length)
    return {
        "tokens": describe(tokens["train"]),
        "rows": f"{rows['train']:,}",
        "length": f"{length:,}",
        "held_out": f"{tokens['validation']:,}",
        "held_out_rows": f"{rows['validation']:,}",
        "entropy": f"{manifest['validation_unigram_entropy']:.3f}",
        "padding": None if manifest["rows_kind"] == "packed" else f"{padding:.1%}",
    }


def _tiles(corpus):
    manifest = corpus.manifest
    counts, sources = manifest["counts"], manifest["sources"]
    read, kept = counts["documents_read"], sum(source["documents"] for source in sources)
    characters, characters_read = (sum(source[key] for source in sources) for key in ("characters", "characters_read"))
    tokens = sum(counts["tokens"].values())
    item = np.dtype(manifest["dtype"]).itemsize
    on_disk = sum(counts["rows"].values()) * corpus.sequence_length * item
    tiles = (
        ("Documents", f"{kept:,}", f"of {read:,} read"),
        ("Characters", describe(characters), f"of {describe(characters_read)} read"),
        ("Characters per token", f"{characters / max(1, tokens):.2f}", "special tokens too"),
        ("Unknown tokens", _rate(counts["unknown_token_rate"]), "in all rows"),
        ("Rows on disk", _bytes(on_disk), f"{manifest['dtype']}, {len(manifest['shards']):,} shards"),
        ("Prepared in", describe_seconds(manifest["seconds"]), _speed(characters_read, manifest["seconds"])),
    )
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


def _speed(characters, seconds):
    return f"{characters / 1e6 / seconds:.1f} M characters/s" if seconds else ""


def _rate(rate):
    return "none" if not rate else f"{rate:.2%}" if rate >= 1e-4 else f"{1e6 * rate:.2g} per million"


def _share(part, whole):
    if not whole or not part:
        return "–"
    share = part / whole
    if share == 1:
        return "100%"
    return f"{share:.1%}" if share >= 0.0005 else "< 0.1%"


def _bytes(count):
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _sources(manifest, names):
    sources, weights = manifest["sources"], manifest["options"].get("weights")
    tokens = sum(source["tokens"] for source in sources)
    keys = ("documents_read", "documents", "characters_read", "characters", "tokens")
    rows = [
        {
            "name": name,
            "path": source["source"],
            "cells": [f"{source[key]:,}" for key in keys],
            "share": _share(source["tokens"], tokens),
            "asked": f"{weight:.1%}" if weight else None,
        }
        for name, source, weight in zip(names, sources, weights or [None] * len(names), strict=True)
    ]
    total = [f"{sum(source[key] for source in sources):,}" for key in keys]
    return {"rows": rows, "total": total if len(rows) > 1 else None, "weighted": bool(weights)}


def _ledger(manifest, names):
    """What was read, less what was left out and why, is what is kept; per source and in all."""
    sources, counts, options = manifest["sources"], manifest["counts"], manifest["options"]
    read, columns = counts["documents_read"], len(sources) <= _MOST_SHARED_COLUMNS and len(sources) > 1
    removed = {reason: told["documents"] for reason, told in manifest["filters"].items()}
    reasons = [*(key for key in _REASONS if removed.get(key)), *(key for key in removed if key not in _REASONS)]

    def line(name, per_source, total, **more):
        cells = [f"{count:,}" if count or "meaning" not in more else "–" for count in per_source] if columns else []
        return {"name": name, "cells": cells, "total": f"{total:,}", "share": _share(total, read), **more}

    lost = []
    for number, reason in enumerate(reasons):
        name, meaning = _REASONS.get(reason, (reason.replace("_", " ").capitalize(), ""))
        told = manifest["filters"][reason]
        shade = f"{1 - 0.65 * number / max(1, len(reasons) - 1):.2f}"
        per_source = [source["removed"].get(reason, 0) for source in sources]
        more = {"meaning": meaning.format(**options), "shade": shade, "examples": _examples(told["examples"])}
        lost.append(line(name, per_source, told["documents"], flex=_flex(told["documents"], read), **more))
    documents = counts["documents"]
    kept = sum(source["documents"] for source in sources)
    split = [f"{documents['train']:,} for training", f"{documents['validation']:,} held out"]
    if counts["documents_without_tokens"]:
        split.append(f"{counts['documents_without_tokens']:,} without tokens once they are normalised")
    return {
        "names": [_breakable(name) for name in names] if columns else [],
        "read": line("Read", [source["documents_read"] for source in sources], read),
        "lost": lost,
        "kept": line("Kept", [source["documents"] for source in sources], kept, flex=_flex(kept, read)),
        "split": ", ".join(split),
    }


def _examples(starts):
    return [f"{start}…" if len(start) == EXAMPLE_CHARACTERS else start for start in starts if start.strip()]


def _breakable(name):
    """A name that may go on in the next line behind the marks in it."""
    return Markup(re.sub(r"([/_.:-])", r"\1<wbr>", str(escape(name))))


def _flex(part, whole):
    return f"{1000 * part / max(1, whole):.3f}"


def _lengths(manifest, names):
    """A chart for each source, or for those with the most documents, all over the same lengths."""
    sources = [(name, one) for name, one in zip(names, manifest["sources"], strict=True) if one["documents"]]
    largest = sorted((source["documents"] for _, source in sources), reverse=True)[:_MOST_CHARTS]
    sources = [(name, source) for name, source in sources if source["documents"] >= largest[-1]][:_MOST_CHARTS]
    occupied = np.flatnonzero(np.sum([source["lengths_by_power_of_two"] for _, source in sources], axis=0))
    # at least two powers of ten, so that the axis has ticks to be read by
    low, high = int(occupied[0]), max(int(occupied[-1]) + 1, int(occupied[0]) + 7)
    charts = []
    for name, source in sources:
        svg = length_chart(f"Lengths of the documents of {name}", source["lengths_by_power_of_two"], low=low, high=high)
        mean = source["characters"] / source["documents"]
        charts.append({"name": name, "mean": f"{mean:,.0f} on average", "svg": Markup(svg)})
    return charts


def _tokens(manifest):
    told, counts = manifest["token_frequencies"], manifest["counts"]
    vocabulary = manifest["vocabulary"]
    words = [(entry, count) for entry, count in told["most_frequent"] if entry not in vocabulary["special_ids"]]
    points = [(rank, count) for rank, (_, count) in enumerate(words, start=1) if count]
    # the special tokens, of which there may be more than of any word, are taken out of the ranks
    special = len(told["most_frequent"]) - len(words)
    points += [(rank - special, count) for rank, count in told["by_rank"] if count and rank - special > len(words)]
    charts = {
        place: Markup(rank_chart(*map(list, zip(*points, strict=True)), width=width, height=height))
        for place, (width, height) in {"wide": (8.8, 3.3), "narrow": (4.3, 2.9)}.items()
    }
    total = sum(counts["tokens"].values())
    return {
        **charts,
        "unknown": _rate(counts["unknown_token_rate"]),
        "never": f"{told['never']:,}",
        "never_share": _share(told["never"], vocabulary["size"]),
        "size": f"{vocabulary['size']:,}",
        "frequent": [{"entry": entry, "share": f"{count / total:.2%}"} for entry, count in words[:_FREQUENT]],
    }


def _row_groups(corpus):
    """Rows of each split, chosen by the corpus's fingerprint: always the same of the same corpus."""
    generator = np.random.default_rng(int(corpus.fingerprint[:16], 16))
    groups = []
    for split, wanted in _ROWS.items():
        rows = corpus.rows(split)
        chosen = np.sort(generator.choice(len(rows), min(wanted, len(rows)), replace=False))
        labels = corpus.labels(split)[chosen] if corpus.rows_kind == "pairs" else [None] * len(chosen)
        shown = [
            {"number": f"{number:,}", **decoded_row(corpus, ids), "label": _label(label)}
            for number, ids, label in zip(chosen.tolist(), rows[chosen].tolist(), labels, strict=True)
        ]
        groups.append({"name": {"train": "Training", "validation": "Held out"}[split], "of": f"{len(rows):,}",
                       "rows": shown})  # fmt: skip
    return groups


def _label(label):
    return None if label is None else "B is from another place" if label else "B follows A"


def _files(corpus):
    """The files of the text and of the rows, with what tells whether they are the same."""
    item = np.dtype(corpus.manifest["dtype"]).itemsize * corpus.sequence_length
    text = [
        {
            "name": source["source"],
            "number": f"{source['files']:,}" if "files" in source else "–",
            "size": _bytes(source["bytes"]) if "bytes" in source else "–",
            "sha256": source["sha256"],
        }
        for source in corpus.manifest["sources"]
    ]
    shards = [
        {
            "name": shard["file"],
            "number": f"{shard['rows']:,}",
            "size": _bytes(shard["rows"] * item),
            "sha256": shard["sha256"],
        }
        for shard in corpus.manifest["shards"]
    ]
    return [
        {"title": "Text that was read", "counted": "files", "number": f"{len(text):,}", "rows": text},
        {"title": "Shards", "counted": "rows", "number": f"{len(shards):,}", "rows": shards[:_MOST_SHARDS]},
    ]


def _tables(corpus):
    manifest = corpus.manifest
    circumstances = dict(manifest.get("circumstances", {}))
    circumstances.pop("command", None)
    packages = circumstances.pop("packages", {})
    finished = circumstances.pop("finished", None)
    if finished:
        when = datetime.datetime.fromtimestamp(finished, datetime.UTC)
        circumstances = {"finished": f"{when:%Y-%m-%d %H:%M} UTC", **circumstances}
    vocabulary = manifest["vocabulary"]
    kind = manifest["normalizer"].get("kind", "bert")
    return pages.fact_tables(
        ("Options", manifest["options"]),
        (
            "Vocabulary and normaliser",
            {
                "entries": vocabulary["size"],
                "ids stored as": manifest["dtype"],
                **{f"id of {token}": index for token, index in vocabulary["special_ids"].items()},
                "sha256": vocabulary["sha256"],
                "normaliser": {"bert": "BERT's", "cramming": "Cramming's: ASCII alone"}.get(kind, kind),
                "case": "folded" if corpus.lowercase else "kept",
                "accents": "dropped" if corpus.strip_accents else "kept",
                "fingerprint of the rows": corpus.fingerprint,
            },
        ),
        ("Circumstances", {**circumstances, "seconds": manifest["seconds"]}),
        ("Versions", {name: version for name, version in packages.items() if version}),
    )
