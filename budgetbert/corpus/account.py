"""The one list of what lay in the sources and what became of it, as the summary and the report show it.

For each source and together: files read and not read; documents read, left out by reason, for training, held out. The
documents that are read are those that are left out and those that are in the rows.
"""

import collections
import dataclasses

from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources.text import UNREAD

# In the order in which documents meet them: reason, name, and what it means with the options filled in.
REASONS = {
    "redirects": ("Redirects", "pages of a wiki that only point at another"),
    "other_namespaces": ("Other namespaces", "talk, user, category, template and other pages that are no articles"),
    "other_models": ("Other content", "pages of a wiki that are not wikitext"),
    "repeated_header": ("Repeated headers", "the header of a table that was joined to another"),
    "undecodable": ("Undecodable", "bytes that are not UTF-8"),
    "malformed": ("Malformed", "lines, rows or objects that are not what their file's format asks for"),
    "empty": ("Empty", "nothing is left once the document is cleaned"),
    "short_row": ("Short rows", "rows of ids that are shorter than the others"),
    "too_long": ("Too long", f"more than {formats.longest()}"),
    "too_short": ("Too short", "fewer than {min_characters:,} characters"),
    "other_language": ("Other languages", "not most probably in “{language}”"),
    "duplicate": ("Duplicates", "equal to an earlier document, white space aside"),
    "near_duplicate": ("Near-duplicates", "similar to an earlier document (MinHash of 5-grams, 0.8 or more)"),
    "repeated": ("Repeats", "too little is left without the stretches that stood before"),
    "incompressible": ("Incompressible", "{filter:g} tokens per character or more"),
    "over_weight": ("Over their share", "left out at random to give each source the share asked for"),
    "without_tokens": ("Without tokens", "nothing is left once the text is normalised"),
}
CHANGES = {
    "mojibake": ("Mojibake", "text that had been decoded wrongly was repaired"),
    "surrogates": ("Surrogates", "halves of surrogate pairs were joined or replaced by U+FFFD"),
    "control_characters": ("Control characters", "they were dropped"),
    "not_composed": ("Accents", "letters and accents were composed (NFC)"),
    "entities": ("HTML entities", "they became characters"),
    "tags": ("Tags", "tags, comments, notes, scripts and styles were dropped"),
    "links": ("Wiki links", "their words were kept"),
    "templates": ("Templates", "they were dropped"),
    "empty_brackets": ("Empty brackets", "they were dropped"),
}
# What a wiki has beside articles, and what was asked for, is not told as a loss.
_EXPECTED = {"redirects", "other_namespaces", "other_models", "over_weight"}
# The share of the documents that are left out from which on a note says so.
_TOLD_SHARE = 0.2


@dataclasses.dataclass
class Row:
    """A line of the account.

    Attributes:
        reason: str, its key in the manifest.
        name, meaning: str.
        of_sources: list of int, one a source.
        known: int or `None`. Of all sources, where the manifest does not have it of each.
    """

    reason: str
    name: str
    meaning: str
    of_sources: list
    known: int | None = None

    @property
    def together(self):
        """int, of all sources."""
        return sum(self.of_sources) if self.known is None else self.known


class Account:
    """What a manifest tells of the sources.

    Args:
        manifest: dict, as in `manifest.json`.

    Attributes:
        names: list of str, of each source as much of the end as tells it from the others.
        files, unread: `Row`, of the files read, and of the files and folders that are not.
        read: `Row`, of the documents read.
        lost: list of `Row`, of those left out, by reason.
        training, held_out: `Row`. `read` is the sum of all `lost` and of these two, in each source.
        changed: list of `Row`, of the documents in which cleaning changed something, by kind.
    """

    def __init__(self, manifest):
        self._sources, self._options = manifest["sources"], manifest["options"]
        self.names = short_names([source["source"] for source in self._sources])
        self.files = self._row("files", "Files", lambda source: source.get("files", 0))
        self.unread = self._row(
            "unread", "Not read", lambda source: sum(some["number"] for some in source.get("files_unread", {}).values())
        )
        self.read = self._row("documents_read", "Read", lambda source: source["documents_read"])
        self.training = self._row("training", "For training", lambda source: source.get("training", 0))
        self.held_out = self._row("held_out", "Held out", lambda source: source.get("held_out", 0))
        if "training" not in self._sources[0]:
            # Corpora that were prepared before have no such counts of each source.
            documents = manifest["counts"]["documents"]
            self.training.known, self.held_out.known = documents["train"], documents["validation"]
        self.lost = self._rows("removed", REASONS)
        self.changed = self._rows("cleaned", CHANGES)

    def _row(self, reason, name, count, meaning=""):
        return Row(reason, name, meaning, [count(source) for source in self._sources])

    def _rows(self, key, names):
        """Returns the rows of what the sources count under a key, in the order of `names`, others behind."""
        found = {reason for source in self._sources for reason, count in source.get(key, {}).items() if count}
        rows = []
        for reason in [*(known for known in names if known in found), *sorted(found - set(names))]:
            name, meaning = names.get(reason, (reason.replace("_", " ").capitalize(), ""))
            meaning = meaning.format(**self._options)
            rows.append(self._row(reason, name, lambda source, reason=reason: source[key].get(reason, 0), meaning))
        return rows

    def unread_files(self):
        """Yields for each source and reason the short name of the source, the number (int), the reason and names."""
        for name, source in zip(self.names, self._sources, strict=True):
            for reason, unread in source.get("files_unread", {}).items():
                more = unread["number"] - len(unread["names"])
                names = [*unread["names"], *([f"{more:,} more"] if more else [])]
                yield name, unread["number"], UNREAD[reason], names


def much_is_left_out(sources, removed):
    """Returns a note (str) for each source of which much is left out.

    Args:
        sources: list of str, their names.
        removed: list of dict of reason to number, for each source, and under "read" of the documents read.
    """
    notes = []
    for name, counts in zip(sources, removed, strict=True):
        read = counts.pop("read")
        lost = collections.Counter({reason: count for reason, count in counts.items() if reason not in _EXPECTED})
        if lost.total() > _TOLD_SHARE * read:
            (reason, most), *_ = lost.most_common(1)
            share, told = lost.total() / read, REASONS.get(reason, (reason,))[0].lower()
            counted = f"{lost.total():,} of {read:,} documents of {name}"
            notes.append(f"{counted} are left out ({share:.0%}), {most:,} of them as {told}.")
    return notes


def short_names(sources):
    """Returns of each path or name (list of str) as much of its end as tells it from the others."""

    def endings(source):
        parts = source.rstrip("/").split("/")
        return ["/".join(parts[-depth:]) for depth in range(1, len(parts) + 1)]

    known = [endings(source) for source in sources]
    taken = collections.Counter(ending for some in known for ending in some)
    return [next((ending for ending in some if taken[ending] == 1), some[-1]) for some in known]
