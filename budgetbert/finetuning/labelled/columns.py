"""Which columns of a file hold the texts and the labels. Imports no Keras."""

import dataclasses

from budgetbert.corpus.sources.blocks import shown_names
from budgetbert.errors import InputError

# The usual names of columns in public data sets. Of pairs the first name with its partner counts.
_PAIRS = (
    *(("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("question1", "question2"), ("text1", "text2")),
    *(("text_a", "text_b"), ("sentence_a", "sentence_b"), ("premise", "hypothesis"), ("question", "sentence")),
    *(("question", "context"), ("question", "passage")),
)
_TEXTS = (
    *("text", "sentence", "review", "content", "body", "message", "comment", "tweet", "utterance", "document", "query"),
    *("question", "headline", "title", "description"),
)
# Those of lists of words, and of their tags.
_WORDS = ("tokens", "words")
_TAGS = ("ner_tags", "tags", "pos_tags", "upos", "xpos", "labels", "entities")
_LABELS = (
    *("label", "labels", "category", "categories", "class", "target", "intent", "sentiment", "topic", "emotion"),
    *("score", "rating", "stars", "tags", "gold_label", "similarity", "is_duplicate", "toxic", "y"),
)
# What no name of a column is like.
_LONGEST_NAME, _MOST_WORDS, _ENDS = 60, 5, (".", "!", "?", "…", "。", "！", "？")


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a file that are used.

    Args:
        texts: tuple of one or two str.
        label: str, or `None` where no labels are read.
        guessed: tuple of str. Those of them that nobody named.
    """

    texts: tuple
    label: str | None
    guessed: tuple

    def __str__(self):
        parts = [f"text {self.texts[0]!r}", *(f"second text {name!r}" for name in self.texts[1:])]
        parts += [f"label {self.label!r}"] if self.label else []
        told = f" (from the header: {', '.join(map(repr, self.guessed))})" if self.guessed else ""
        return f"columns: {', '.join(parts)}{told}"


def choose_columns(name, names, text=None, text_pair=None, label=None, with_label=True, pair=None, of_words=False):
    """Chooses the columns: as they were named, else by the header where it says so without doubt.

    Args:
        name: str. The file, for messages.
        names: list of str. Its columns.
        text, text_pair, label: str, the columns that were named, or `None`.
        with_label: bool. Whether there is a label. Defaults to `True`.
        pair: bool. Whether there are two texts; `None` (default) where the header may say so.
        of_words: bool. Whether text and label are lists of words and of their tags. Defaults to `False`.

    Returns:
        `Columns`.

    Raises:
        InputError: if a named column is not there, or one that nobody named is in doubt.
    """
    given = {"text": text, "text_pair": text_pair, "label": label if with_label else None}
    for flag, column in given.items():
        if column is not None and names.count(column) != 1:
            what = "no column" if column not in names else f"{names.count(column)} columns"
            mend = "name one of them" if column not in names else "rename all but one"
            raise InputError(f"{name} has {what} {column!r:.100} but {shown_names(names)}: {mend} with --{flag}.")
    columns = [column for column in given.values() if column is not None]
    if len(set(columns)) < len(columns):
        raise InputError(f"--text, --text_pair and --label name {shown_names(columns)}: give each another column.")
    if text_pair and not text:
        raise InputError("--text_pair names the second of two texts: name the first with --text.")
    if pair is False and text_pair:
        raise InputError(f"--text_pair {text_pair} is a second text, and the model reads one: leave it out.")
    free = [column for column in names if column not in columns and names.count(column) == 1]
    if with_label and len(names) == 1:
        raise InputError(
            f"{name} has one column, {shown_names(names)}, and text and label are two: a .csv has commas between them, "
            "a .tsv tabs."
        )
    if with_label and label is None:
        label = _guess(name, names, free, _TAGS if of_words else _LABELS, "label", text is not None)
        free.remove(label)
    texts = tuple(filter(None, (text, text_pair)))
    if not texts:
        texts = _pair(free) if pair is not False else None
        if texts is None and not pair:
            texts = (_guess(name, names, free, _WORDS if of_words else _TEXTS, "text", True),)
    if pair and len(texts or ()) < 2:
        raise InputError(
            f"{name} has the columns {shown_names(names)}, and the model reads two texts: name them with --text and "
            "--text_pair."
        )
    chosen = (*texts, *([label] if label else ()))
    return Columns(texts, label, tuple(column for column in chosen if column not in given.values()))


def _pair(free):
    """Returns the two columns (tuple of str) that are a usual pair, or `None`."""
    by_lower = {column.lower(): column for column in free}
    found = [tuple(map(by_lower.get, pair)) for pair in _PAIRS if all(name in by_lower for name in pair)]
    return found[0] if len(found) == 1 else None


def check_header(name, names):
    """Raises an `InputError` where the names of columns (list of str) look like a row, which would not be read.

    Args:
        name: str. The file, for messages.
        names: list of str. Its columns, none of which has a usual name.
    """
    found = next((column for column in names if _is_like_a_text(column)), None)
    if found is not None:
        raise InputError(
            f"{name} begins with {found!r:.60} where names of columns are looked for, and it looks like a row: "
            "name the columns of a table without a header with --columns NAME,NAME, or, if it is a name, say so with "
            "--text."
        )


def _is_like_a_text(column):
    words = column.split()
    return (
        len(column) > _LONGEST_NAME or len(words) > _MOST_WORDS or column.strip().endswith(_ENDS) or _is_number(column)
    )


def _is_number(column):
    try:
        float(column)
    except ValueError:
        return False
    return True


def _guess(name, names, free, usual, flag, may_be_last):
    """Returns the one free column with a usual name, or the only one that there is."""
    found = [column for column in free if column.lower() in usual]
    if len(found) == 1:
        return found[0]
    if not found:
        check_header(name, names)
    if may_be_last and len(free) == 1:
        return free[0]
    doubt = f"{', '.join(map(repr, found))} may each be it" if found else "none has a usual name for it"
    raise InputError(
        f"{name} has the columns {shown_names(names)}, of which the {flag} is in doubt ({doubt}): name it with "
        f"--{flag}, or all columns of a table without a header with --columns."
    )
