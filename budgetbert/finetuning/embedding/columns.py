"""Which columns of a file hold texts that belong together, and which a score. Imports no Keras."""

import dataclasses

from budgetbert.corpus.sources.blocks import shown_names
from budgetbert.errors import InputError
from budgetbert.finetuning.labelled.columns import Columns, check_header, choose_columns

# The usual names of columns in public data sets, in the order in which they are looked for.
_TRIPLETS = (
    *(("anchor", "positive", "negative"), ("query", "positive", "negative"), ("query", "pos", "neg")),
    *(("premise", "entailment", "contradiction"), ("sent0", "sent1", "hard_neg"), ("query", "answer", "negative")),
    *(("question", "positive", "negative"), ("sentence1", "sentence2", "sentence3")),
)
_PAIRS = (
    *(("anchor", "positive"), ("query", "positive"), ("query", "pos"), ("query", "document"), ("query", "passage")),
    *(("query", "answer"), ("query", "text"), ("question", "answer"), ("question", "context"), ("title", "body")),
    *(("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("question1", "question2"), ("text1", "text2")),
    *(("text_a", "text_b"), ("sentence_a", "sentence_b"), ("premise", "hypothesis"), ("source", "target")),
    *(("set1", "set2"), ("sent0", "sent1"), ("original", "paraphrase"), ("title", "abstract")),
)
_SCORES = ("score", "scores", "similarity", "similarity_score", "relatedness_score")
_ROLES = ("anchor", "positive", "negative")


def are_pairs_alone(names):
    """Returns whether columns (list of str) are two or three texts that belong together by their usual names alone."""
    found = {name.lower() for name in names}
    return len(found) == len(names) and any(found == set(usual) for usual in (*_TRIPLETS, *_PAIRS))


@dataclasses.dataclass(frozen=True)
class PairColumns(Columns):
    """The columns that are used: one with texts, or two or three with texts that belong together."""

    def __str__(self):
        roles = ("text",) if len(self.texts) == 1 else ("first", "second") if self.label else _ROLES
        parts = [f"{role} {name!r}" for role, name in zip(roles, self.texts, strict=False)]
        parts += [f"score {self.label!r}"] if self.label else []
        told = f" (from the header: {', '.join(map(repr, self.guessed))})" if self.guessed else ""
        return f"columns: {', '.join(parts)}{told}"


def choose_pair_columns(name, names, text=None, text_pair=None, negative=None, label=None):
    """Chooses the columns: as they were named, else by the header where it says so without doubt.

    Args:
        name: str. The file, for messages.
        names: list of str. Its columns.
        text, text_pair, negative, label: str, the columns that were named, or `None`. Where a text is named, none is
            guessed.

    Returns:
        `PairColumns`.

    Raises:
        InputError: if a named column is not there, or one that nobody named is in doubt.
    """
    for flag, column in {"text": text, "text_pair": text_pair, "negative": negative, "label": label}.items():
        if column is not None and names.count(column) != 1:
            what = "no column" if column not in names else f"{names.count(column)} columns"
            mend = "name one of them" if column not in names else "rename all but one"
            raise InputError(f"{name} has {what} {column!r:.100} but {shown_names(names)}: {mend} with --{flag}.")
    if (text_pair and not text) or (negative and not text_pair):
        raise InputError("--text_pair belongs to a --text, and --negative to both: name them, too.")
    given = [column for column in (text, text_pair, negative, label) if column is not None]
    if len(set(given)) < len(given):
        raise InputError(f"--text, --text_pair, --negative and --label name {shown_names(given)}: give each another.")
    free = [column for column in names if column not in given and names.count(column) == 1]
    texts = tuple(filter(None, (text, text_pair, negative)))
    if not texts:
        texts = _guessed(name, names, free)
        if len(texts) == 2 and label is None:
            label = next((column for column in free if column.lower() in _SCORES), None)
    if label and len(texts) != 2:
        raise InputError(
            f"{name} has scores in the column {label!r} and {len(texts)} texts: scores are of pairs, so name two texts "
            "with --text and --text_pair."
        )
    chosen = (*texts, *([label] if label else ()))
    return PairColumns(texts, label, tuple(column for column in chosen if column not in given))


def _guessed(name, names, free):
    """Returns the columns of texts (tuple of str) that the header tells."""
    by_lower = {column.lower(): column for column in free}
    for usual in (*_TRIPLETS, *_PAIRS):
        if all(column in by_lower for column in usual):
            return tuple(map(by_lower.get, usual))
    check_header(name, names)
    others = [column for column in free if column.lower() not in _SCORES]
    if len(others) in (1, 2) and len(free) == len(names):
        return tuple(others)
    return choose_columns(name, names, with_label=False, pair=False).texts
