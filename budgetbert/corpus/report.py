"""`report.html`: a prepared corpus on one page that needs nothing else, made from what stands in its directory."""

import datetime
import itertools
import re

import numpy as np
from markupsafe import Markup, escape

from budgetbert import files
from budgetbert.corpus import store
from budgetbert.corpus.account import Account
from budgetbert.corpus.stages.parts import EXAMPLE_CHARACTERS
from budgetbert.errors import InputError
from budgetbert.reporting import numbers
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import length_chart, rank_chart

# How many of each are shown. With up to four sources, each has a column in the table of what was left out.
_ROWS = {"train": 10, "validation": 2}
_MOST_COLUMNS, _MOST_CHARTS, _MOST_SHARDS, _FREQUENT = 4, 12, 100, 24
# Of rows with more tokens than the first number the second is shown; the rest unfolds.
_LONG_ROW, _SHOWN_TOKENS = 256, 200
_NO_SPACE_BEFORE = re.compile(r" (?=[.,;:!?%)\]}…’”»])")
_NO_SPACE_BEHIND = re.compile(r"(?<=[(\[{“‘«]) ")
_CONTRACTION = re.compile(r"(?<=\w) ?(['’]) (?=(?:s|t|d|m|ll|re|ve)\b)")
_ROW_KINDS = {
    "packed": ("packed rows", "documents run on from row to row, [SEP] between them"),
    "sentences": ("rows of sentences", "whole sentences of one document between [CLS] and [SEP]"),
    "pairs": (
        "rows of sentence pairs",
        "[CLS] segment A [SEP] segment B [SEP], over half of the Bs from another place",
    ),
}
_NORMALIZERS = {
    "bert": "BERT's",
    "cramming": "Cramming's: ASCII alone",
    "checkpoint": "that of published BERT checkpoints, in every character",
}
_ORDERS = {
    "shuffled": "permuted in each epoch",
    "frequent_first": "read once by falling mean log-frequency of their tokens, then permuted",
    "short_sentences_first": "read once by falling number of full stops, then permuted",
    "stored": "read once as they were stored, then permuted",
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
    try:
        page = render(corpus)
    # What only the page asks for is looked at here, by using it.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"{corpus.directory / store.MANIFEST} is damaged ({error!r:.200}): delete the directory and prepare the "
            "corpus again."
        ) from error
    return files.write(str(corpus.directory / store.REPORT), page)


def render(corpus):
    """Returns the page of a `PreparedCorpus` as str."""
    manifest = corpus.manifest
    account = Account(manifest)
    names = account.names
    shown = names if len(names) <= 3 else [*names[:2], f"{len(names) - 2} more"]
    kind, meaning = _ROW_KINDS[corpus.rows_kind]
    normalizer = corpus.normalizer
    accents = "without accents" if normalizer.strip_accents else "with accents"
    case = f"{'lower-cased' if normalizer.lowercase else 'cased'}, {accents}"
    weights = manifest["options"].get("weights") or [None] * len(names)
    order, tokens, rows = manifest["order"].replace("_", " "), *(manifest["counts"][key] for key in ("tokens", "rows"))
    return pages.render(
        "corpus/report_page.html",
        title=" + ".join(shown),
        status="Prepared corpus",
        subtitle=f"{kind}, {corpus.sequence_length:,} tokens each, {order}; a vocabulary of "
        f"{len(corpus.vocabulary):,}, {case}",
        tiles=_tiles(corpus),
        manifest=manifest,
        counts=manifest["counts"],
        padding=1 - sum(tokens.values()) / (sum(rows.values()) * corpus.sequence_length),
        sources=list(zip(names, manifest["sources"], weights, strict=True)),
        account=account,
        ledger=_ledger(manifest, account),
        lengths=_lengths(manifest, names) if _has_characters(manifest) else [],
        has_characters=_has_characters(manifest),
        rank_charts=_rank_charts(manifest),
        frequent=_words(manifest)[:_FREQUENT],
        rows_note=f"{kind.capitalize()}: {meaning}. Those for training are {_ORDERS[corpus.order]}.",
        row_groups=_row_groups(corpus),
        row_bytes=_row_bytes(corpus),
        shards=manifest["shards"][:_MOST_SHARDS],
        command=pages.command_words(manifest.get("circumstances", {}).get("command")),
        tables=_tables(corpus),
    )


def _has_characters(manifest):
    """Returns whether the corpus was made of text, and not of token ids."""
    return "characters" in manifest["sources"][0]


def _row_bytes(corpus):
    return np.dtype(corpus.manifest["dtype"]).itemsize * corpus.sequence_length


def _tiles(corpus):
    manifest = corpus.manifest
    counts, sources, seconds = manifest["counts"], manifest["sources"], manifest["seconds"]
    kept, characters, read = (
        sum(source.get(key, 0) for source in sources) for key in ("documents", "characters", "characters_read")
    )
    speed = f"{read / 1e6 / seconds:.1f} M characters/s" if seconds and read else ""
    per_token = characters / max(1, sum(counts["tokens"].values()))
    on_disk = sum(counts["rows"].values()) * _row_bytes(corpus)
    of_text = (
        ("Characters", numbers.short(characters), f"of {numbers.short(read)} read"),
        ("Characters per token", numbers.number(per_token, 2), "special tokens too"),
    )
    tiles = (
        ("Documents", numbers.number(kept), f"of {counts['documents_read']:,} read"),
        *(of_text if _has_characters(manifest) else ()),
        ("Unknown tokens", numbers.rate(counts["unknown_token_rate"]), "in all rows"),
        ("Rows on disk", numbers.size(on_disk), f"{manifest['dtype']}, {len(manifest['shards']):,} shards"),
        ("Prepared in", numbers.duration(seconds), speed),
    )
    return [{"name": name, "value": value, "note": note} for name, value, note in tiles]


def _ledger(manifest, account):
    """The rows of the account, with examples, and a shade for each reason why documents were left out."""
    lost = []
    for number, row in enumerate(account.lost):
        starts = manifest["filters"].get(row.reason, {}).get("examples", ())
        lost.append(
            {
                "row": row,
                "shade": f"{1 - 0.65 * number / max(1, len(account.lost) - 1):.2f}",
                "examples": [f"{one}…" if len(one) == EXAMPLE_CHARACTERS else one for one in starts if one.strip()],
            }
        )
    # A long name may go on in the next line behind the marks in it.
    columns = [Markup(re.sub(r"([/_.:-])", r"\1<wbr>", str(escape(name)))) for name in account.names]
    return {"columns": columns if 1 < len(columns) <= _MOST_COLUMNS else [], "lost": lost}


def _lengths(manifest, names):
    """A chart for each source, or for those with the most documents, all over the same lengths."""
    sources = [(name, one) for name, one in zip(names, manifest["sources"], strict=True) if one["documents"]]
    largest = sorted((source["documents"] for _, source in sources), reverse=True)[:_MOST_CHARTS]
    sources = [(name, source) for name, source in sources if source["documents"] >= largest[-1]][:_MOST_CHARTS]
    occupied = np.flatnonzero(np.sum([source["lengths_by_power_of_two"] for _, source in sources], axis=0))
    # There are at least two powers of ten, so that the axis has ticks to be read by.
    low, high = int(occupied[0]), max(int(occupied[-1]) + 1, int(occupied[0]) + 7)
    charts = []
    for name, source in sources:
        svg = length_chart(f"Lengths of the documents of {name}", source["lengths_by_power_of_two"], low=low, high=high)
        charts.append({"name": name, "mean": source["characters"] / source["documents"], "svg": Markup(svg)})
    return charts


def _words(manifest):
    """The most frequent entries and their numbers, without the special ones."""
    special = manifest["vocabulary"]["special_ids"]
    return [(entry, count) for entry, count in manifest["token_frequencies"]["most_frequent"] if entry not in special]


def _rank_charts(manifest):
    frequencies, words = manifest["token_frequencies"], _words(manifest)
    points = [(rank, count) for rank, (_, count) in enumerate(words, start=1) if count]
    # The special tokens, of which there may be more than of any word, are taken out of the ranks.
    special = len(frequencies["most_frequent"]) - len(words)
    by_rank = [(rank - special, count) for rank, count in frequencies["by_rank"] if count]
    points += [(rank, count) for rank, count in by_rank if rank > len(words)]
    ranks, counts = map(list, zip(*points, strict=True))
    return {
        place: Markup(rank_chart(ranks, counts, width=width, height=height))
        for place, (width, height) in {"wide": (8.8, 3.3), "narrow": (4.3, 2.9)}.items()
    }


def _row_groups(corpus):
    """Rows of each split, chosen by the corpus's fingerprint: always the same of the same corpus."""
    generator = np.random.default_rng(int(corpus.fingerprint[:16], 16))
    groups = []
    for split, wanted in _ROWS.items():
        rows = corpus.rows(split)
        chosen = np.sort(generator.choice(len(rows), min(wanted, len(rows)), replace=False))
        labels = corpus.labels(split)[chosen].tolist() if corpus.rows_kind == "pairs" else [None] * len(chosen)
        shown = [
            {"number": number, "label": label, **decoded_row(corpus, ids)}
            for number, ids, label in zip(chosen.tolist(), rows[chosen].tolist(), labels, strict=True)
        ]
        groups.append({"name": {"train": "Training", "validation": "Held out"}[split], "of": len(rows), "rows": shown})
    return groups


def decoded_row(corpus, ids):
    """Returns a row's ids (list of int) as people read them.

    Returns:
        dict of `head` and `rest`, each a list of lines, which are lists of dicts: `text`, and `kind`, "text",
        "special" or "unknown". A line ends behind each [SEP], and [PAD]s are counted. `rest` is what a long row has
        beyond 200 tokens, and `rest_tokens` its number.
    """
    text = len(ids)
    while text and ids[text - 1] == corpus.special_ids["[PAD]"]:
        text -= 1
    cut = _SHOWN_TOKENS if text > _LONG_ROW else len(ids)
    return {
        "head": _lines(corpus, ids[:cut]),
        "rest": _lines(corpus, ids[cut:]),
        "rest_tokens": len(ids) - cut,
    }


def _lines(corpus, ids):
    special = {index: token for token, index in corpus.special_ids.items()}
    lines = [[]]
    for token, group in itertools.groupby(ids, special.get):
        group = list(group)
        if token is None:
            lines[-1].append({"kind": "text", "text": _spaced([corpus.vocabulary[index] for index in group])})
        elif token == "[PAD]":
            line = lines[-1] or lines[-2 if len(lines) > 1 else -1]
            line.append({"kind": "special", "text": f"{token} × {len(group):,}"})
        else:
            for _ in group:
                lines[-1].append({"kind": "unknown" if token == "[UNK]" else "special", "text": token})
                if token == "[SEP]":
                    lines.append([])
    return [line for line in lines if line]


def _spaced(words):
    """Joins word pieces; the spaces that a tokenizer puts around marks go where they can only be its."""
    text = words[0] + "".join(word[2:] if word.startswith("##") else f" {word}" for word in words[1:])
    return _CONTRACTION.sub(r"\1", _NO_SPACE_BEHIND.sub("", _NO_SPACE_BEFORE.sub("", text)))


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
    return pages.fact_tables(
        ("Options", manifest["options"]),
        (
            "Vocabulary and normaliser",
            {
                "entries": vocabulary["size"],
                "ids stored as": manifest["dtype"],
                **{f"id of {token}": index for token, index in vocabulary["special_ids"].items()},
                "sha256": vocabulary["sha256"],
                "normaliser": _NORMALIZERS[corpus.normalizer.kind],
                "case": "folded" if corpus.normalizer.lowercase else "kept",
                "accents": "dropped" if corpus.normalizer.strip_accents else "kept",
                "fingerprint of the rows": corpus.fingerprint,
            },
        ),
        ("Circumstances", {**circumstances, "seconds": manifest["seconds"]}),
        ("Versions", {name: version for name, version in packages.items() if version}),
    )
