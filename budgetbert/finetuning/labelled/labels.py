"""What the labels of a file are: classes, several labels at once, or scores. Imports no Keras."""

import collections
import dataclasses
import math

from budgetbert.errors import InputError
from budgetbert.reporting.numbers import counted

# Signs that may stand between several labels of one cell of a table.
_SEPARATORS = ("|", ";", ",")
# Whole numbers that differ more than this, and are not 0, 1, 2 ... in a row, are scores.
_MOST_NUMBERED = 20
# Labels with more words than this, on average, are texts.
_WORDS_OF_A_TEXT = 5


@dataclasses.dataclass(frozen=True)
class Kind:
    """A task on texts.

    Args:
        name: str, as typed at `--task`.
        metrics: tuple of str, of `finetuning.metrics.METRICS`. The first decides which seed is the median.
        what: str, for people.
        sequence_length: int. Tokens of a row, where the model has so many positions. Defaults to `None`: the
            protocol's.
        batch_size: int. Examples of an update. Defaults to `None`: those of `finetuning_rule`.
    """

    name: str
    metrics: tuple
    what: str
    sequence_length: int | None = None
    batch_size: int | None = None


KINDS = {
    kind.name: kind
    for kind in (
        Kind("classify", ("accuracy", "f1_macro"), "one class for each text"),
        Kind("multilabel", ("f1_micro", "f1_macro", "exact_match"), "any number of labels for each text"),
        Kind("regress", ("spearman", "pearson", "mean_absolute_error"), "a score for each text"),
    )
}


def is_missing(cell, name):
    """Returns whether a cell holds no label for a task of a name; of several labels, none may be right."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return True
    return name != "multilabel" and isinstance(cell, str) and not cell.strip()


@dataclasses.dataclass(frozen=True)
class Reading:
    """How labels are read, the same for all files of a finetuning.

    Args:
        kind: `Kind`.
        why: str. Why it was taken.
        separator: str. What stands between several labels of a cell of a table.
    """

    kind: Kind
    why: str
    separator: str

    def read(self, cells, lines, where):
        """Returns labels (list of str, of tuples of str, or of float) of cells in lines (lists) of a file (str).

        Raises:
            InputError: if one is no label of this kind.
        """
        if self.kind.name == "regress":
            return [_score(cell, line, where) for cell, line in zip(cells, lines, strict=True)]
        if self.kind.name == "classify":
            return [_name(cell, line, where) for cell, line in zip(cells, lines, strict=True)]
        parts = ([str(cell) for cell in several] if isinstance(several, (list, tuple)) else
                 _parts(str(several), self.separator) for several in cells)  # fmt: skip
        return [tuple(dict.fromkeys(several)) for several in parts]


def decide(cells, lines, name, where):
    """Decides which `Kind` of task labels are for.

    Args:
        cells: list of what stands in the column of labels, without missing ones.
        lines: list of int. Where each stands.
        name: str, a key of `KINDS`, or `"auto"`.
        where: str. The file, for messages.

    Returns:
        `Reading`.

    Raises:
        InputError: if the labels are of mixed types, or numbers that may be anything.
    """
    kinds = {}
    for cell, line in zip(cells, lines, strict=True):
        kinds.setdefault(_type_of(cell), (cell, line))
    if len(kinds) > 1:
        told = ", ".join(f"{kind} ({cell!r:.60} in line {line:,})" for kind, (cell, line) in kinds.items())
        raise InputError(f"{where} mixes labels of several types: {told}: make them of one.")
    why = "as --task says"
    if name == "auto":
        name, why = _decide_by_labels(cells, where)
    return Reading(KINDS[name], why, _separator(cells) or _SEPARATORS[0])


def check(kind, labels, lines, where):
    """Raises an `InputError` where nothing can be learned from labels; the arguments are a `Kind`, and of `Reading`."""
    {"classify": _check_classes, "multilabel": _check_several, "regress": _check_scores}[kind.name](
        labels, lines, where
    )


def _type_of(cell):
    if isinstance(cell, bool):
        return "true or false"
    if isinstance(cell, (int, float)):
        return "a number"
    if isinstance(cell, str):
        return "text"
    return "a list" if isinstance(cell, (list, tuple)) else type(cell).__name__


def number_of(cell):
    """Returns a finite number (float), or `None`."""
    try:
        value = float(cell)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _decide_by_labels(cells, where):
    """Returns the name of a `Kind`, and why the labels are that."""
    if isinstance(cells[0], (list, tuple)):
        return "multilabel", "each label is a list"
    numbers = None if isinstance(cells[0], bool) else [number_of(cell) for cell in cells]
    if numbers and None not in numbers:
        return _decide_by_numbers(numbers, where)
    if numbers and 2 * sum(number is not None and number != int(number) for number in numbers) > len(cells):
        place = numbers.index(None)
        raise InputError(
            f"{where} mixes scores and text: most labels are numbers with fractions, and {cells[place]!r:.60} is none: "
            "mend it, or give --task classify."
        )
    if separator := _separator(cells):
        return "multilabel", f"{separator!r} stands between labels that also stand alone or in other company"
    return "classify", "the labels are names"


def _decide_by_numbers(numbers, where):
    count, distinct = len(numbers), sorted(set(numbers))
    if any(number != int(number) for number in distinct):
        return "regress", "the labels are numbers with fractions"
    if len(distinct) > 2 and 2 * len(distinct) > count:
        raise InputError(
            f"{where} has {len(distinct):,} different whole numbers in {counted(count, 'row')}: if they are scores "
            "give --task regress, if they number the rows name another column with --label."
        )
    in_a_row = distinct == list(range(int(distinct[0]), int(distinct[0]) + len(distinct))) and distinct[0] in (0, 1)
    if len(distinct) <= _MOST_NUMBERED or in_a_row:
        scores = "; if they are scores, give --task regress" if len(distinct) > 2 else ""
        return "classify", f"the labels are {len(distinct)} whole numbers{scores}"
    return "regress", f"the labels are {len(distinct):,} different whole numbers, not 0, 1, 2 and so on"


def _separator(cells):
    """Returns the sign that stands between several labels of a cell, or `None`."""
    wholes = {cell.strip() for cell in cells if isinstance(cell, str)}
    for separator in _SEPARATORS:
        joined = [whole for whole in wholes if separator in whole]
        uses = collections.Counter(part for whole in wholes for part in set(_parts(whole, separator)))
        # The parts of one name, such as `Arts, crafts`, stand nowhere else.
        if joined and all(any(uses[part] > 1 for part in _parts(whole, separator)) for whole in joined):
            return separator
    return None


def _parts(text, separator):
    return [part.strip() for part in text.split(separator) if part.strip()]


def _name(cell, line, where):
    if isinstance(cell, (list, tuple)):
        raise InputError(f"{where}, line {line:,}: the label is a list: give --task multilabel.")
    return str(cell).strip()


def _score(cell, line, where):
    score = None if isinstance(cell, bool) else number_of(cell)
    if score is None:
        raise InputError(f"{where}, line {line:,}: the label {cell!r:.60} is no number: mend it, or leave it out.")
    return score


def _check_classes(labels, lines, where):
    counts = collections.Counter(labels)
    mean_words = sum(len(label.split()) for label in labels) / len(labels)
    if mean_words > _WORDS_OF_A_TEXT and 2 * len(counts) > len(labels):
        raise InputError(
            f"{where} holds texts, not labels ({labels[0]!r:.80} in line {lines[0]:,}): name another column with "
            "--label."
        )
    if len(counts) == 1:
        raise InputError(f"{where} has one label, {labels[0]!r:.60}, in all {len(labels):,} rows: give at least two.")
    if len(counts) > 2 and 2 * len(counts) > len(labels):
        raise InputError(
            f"{where} has {len(counts):,} labels in {counted(len(labels), 'row')}: is it a regression? Give --task "
            "regress, or name another column with --label."
        )
    _refuse_single(counts, lambda name: lines[labels.index(name)], "class", where)


def _check_several(labels, lines, where):
    counts = collections.Counter(name for several in labels for name in several)
    if not counts:
        raise InputError(f"{where} has no label in any of {len(labels):,} rows: name another column with --label.")
    if len(counts) > 2 and 2 * len(counts) > len(labels):
        raise InputError(
            f"{where} has {len(counts):,} labels in {counted(len(labels), 'row')}: give each at least two examples, or "
            "name another column with --label."
        )
    if set(counts.values()) == {len(labels)}:
        raise InputError(f"{where} has the same labels in all {len(labels):,} rows: there is nothing to learn.")
    _refuse_single(
        counts, lambda name: lines[next(i for i, several in enumerate(labels) if name in several)], "label", where
    )


def _refuse_single(counts, line_of, noun, where):
    single = [name for name, count in counts.items() if count == 1]
    if single:
        more = f" and {len(single) - 1:,} more" if len(single) > 1 else ""
        raise InputError(
            f"{where} has one example of the {noun} {single[0]!r:.60} (line {line_of(single[0]):,}){more}: give each "
            "at least two, or leave it out."
        )


def _check_scores(scores, lines, where):
    if len(set(scores)) == 1:
        raise InputError(
            f"{where} has one score, {scores[0]:g}, in all {len(scores):,} rows: there is nothing to learn."
        )
