"""What the manifest of a prepared corpus must say, before anything is read by it."""

import math
import re

from budgetbert.corpus.packing import token_dtype
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS

SPLITS = ("train", "validation")
# What a row may be, and with what a packed one may start.
ROW_KINDS, ROW_STARTS = ("packed", "sentences", "pairs"), ("none", "cls")
# The orders in which training may read rows first, besides shuffled: sorted, by a file of the order, or as they stand.
SORTED = ("frequent_first", "short_sentences_first")
ORDERS = (*SORTED, "stored")
_SHARD_NAME = re.compile(r"(train|validation)-\d{5}\.npy")
_LONGEST_ROW, _MOST_ENTRIES = 65_536, 2**32
_MOST_ROWS = 2**48


def find_damage(manifest):
    """Returns what is wrong with a manifest, as a phrase, or `None`.

    Args:
        manifest: what `manifest.json` holds, of a format version that is known.

    Example:
        >>> find_damage({"format_version": 2, "rows_kind": "loose"})
        "its rows_kind is 'loose'"
    """
    if not isinstance(manifest, dict):
        return "it is no object"
    for name, is_right in _ENTRIES.items():
        if name not in manifest:
            return f"it has no {name}"
        if not is_right(manifest[name]):
            return _told(name, manifest[name])
    if manifest["dtype"] != str(token_dtype(manifest["vocabulary"]["size"])):
        return _told("dtype", manifest["dtype"])
    return _find_damaged_shard(manifest)


def _find_damaged_shard(manifest):
    rows, names = dict.fromkeys(SPLITS, 0), set()
    for number, shard in enumerate(manifest["shards"]):
        where = f"shard {number}"
        if not isinstance(shard, dict):
            return _told(where, shard)
        name = shard.get("file")
        if not isinstance(name, str) or not _SHARD_NAME.fullmatch(name) or name in names:
            return f"it names the shard {str(name)[:100]!r}, which is not one of ours"
        if shard.get("split") != name.partition("-")[0]:
            return _told(f"split of {name}", shard.get("split"))
        if not _is_count(shard.get("rows"), 1, _MOST_ROWS):
            return _told(f"number of rows of {name}", shard.get("rows"))
        for key in ("sha256", *(("labels_sha256",) if manifest["rows_kind"] == "pairs" else ())):
            if not _is_sum(shard.get(key)):
                return _told(f"{key} of {name}", shard.get(key))
        names.add(name)
        rows[shard["split"]] += shard["rows"]
    for split, number in rows.items():
        if not number:
            return f"it has no rows for {split}"
        if manifest["counts"]["rows"][split] != number:
            return _told(f"number of rows for {split}", manifest["counts"]["rows"][split])
    if manifest["format_version"] > 1 and manifest["order"] in SORTED and not _is_sum(manifest.get("order_sha256")):
        return _told("order_sha256", manifest.get("order_sha256"))
    return None


def _told(name, value):
    return f"its {name} is {str(value)[:100]!r}"


def _is_count(value, least, most):
    return type(value) is int and least <= value <= most


def _is_amount(value):
    return type(value) in (int, float) and 0 <= value < math.inf


def _is_sum(value):
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _are_special(ids, size):
    """Returns whether all special tokens have a place of their own in a vocabulary of so many entries."""
    known = isinstance(ids, dict) and set(ids) == set(SPECIAL_TOKENS)
    return known and all(_is_count(index, 0, size - 1) for index in ids.values()) and len({*ids.values()}) == len(ids)


def _is_vocabulary(told):
    whole = isinstance(told, dict) and {"size", "sha256", "special_ids"} <= set(told)
    whole = whole and _is_count(told["size"], len(SPECIAL_TOKENS), _MOST_ENTRIES) and _is_sum(told["sha256"])
    return whole and _are_special(told["special_ids"], told["size"])


def _is_normalizer(told):
    whole = isinstance(told, dict) and {"lowercase", "strip_accents"} <= set(told)
    try:
        return whole and all(type(told[name]) is bool for name in told if name != "kind") and bool(Normalizer(**told))
    except (TypeError, ValueError):  # It has an entry that no normaliser has, or an unknown kind.
        return False


def _are_counts(told):
    whole = isinstance(told, dict) and _is_amount(told.get("unknown_token_rate"))
    by_split = [told.get(what) for what in ("documents", "tokens", "rows")] if whole else []
    return whole and all(
        isinstance(counts, dict) and all(_is_count(counts.get(split), 0, 2**62) for split in SPLITS)
        for counts in by_split
    )


def _are_sources(told):
    def is_source(source):
        return isinstance(source, dict) and isinstance(source.get("source"), str)

    return isinstance(told, list) and all(is_source(source) for source in told)


_ENTRIES = {
    "format_version": lambda value: _is_count(value, 1, 2),
    "rows_kind": ROW_KINDS.__contains__,
    "row_start": ROW_STARTS.__contains__,
    "order": ("shuffled", *ORDERS).__contains__,
    "sequence_length": lambda value: _is_count(value, 1, _LONGEST_ROW),
    "dtype": ("uint16", "uint32").__contains__,
    "normalizer": _is_normalizer,
    "vocabulary": _is_vocabulary,
    "validation_unigram_entropy": _is_amount,
    "counts": _are_counts,
    "sources": _are_sources,
    "options": lambda value: isinstance(value, dict),
    "notes": lambda value: isinstance(value, list) and all(isinstance(note, str) for note in value),
    "seconds": _is_amount,
    "shards": lambda value: isinstance(value, list),
}
