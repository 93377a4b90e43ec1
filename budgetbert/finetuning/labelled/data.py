"""Labelled files as examples: read, checked, and a part of them held out. Imports no Keras."""

import collections
import dataclasses
import functools

import numpy as np
from sklearn.model_selection import train_test_split

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.finetuning.data import Examples, sample
from budgetbert.finetuning.labelled.columns import choose_columns
from budgetbert.finetuning.labelled.labels import KINDS, check, decide, is_missing
from budgetbert.finetuning.tasks import Split, Task
from budgetbert.reporting.numbers import counted

HELD_OUT = 0.1
_TOLD_LINES = 5


@dataclasses.dataclass(frozen=True)
class Labelled:
    """A labelled file, and those beside it, ready to finetune on.

    Args:
        kind: `labels.Kind`.
        why: str. Why it is that kind.
        columns: `Columns`.
        task: `Task`.
        examples: dict of `"train"`, `"dev"` and perhaps `"test"` to `Examples`.
        told: tuple of str, sentences for people.
        counts: dict, what `metrics.json` says of the data.
        make_head: function that returns the head of `Finetuning`, as `judging.JudgedTextHead`. It imports Keras. Where
            `reads_pairs` it takes `apart`, whether two texts are encoded apart.
        settings: dict that JSON can hold: what beside the protocol decides the result. Defaults to nothing.
    """

    kind: object
    why: str
    columns: object
    task: Task
    examples: dict
    told: tuple
    counts: dict
    make_head: object
    settings: dict = dataclasses.field(default_factory=dict)

    @property
    def reads_pairs(self):
        """bool, whether it is one label for two texts, which can be encoded together or apart."""
        return self.kind.name in KINDS and self.task.pair


class _Part:
    """The rows of one file whose texts can be read.

    Args:
        flag: str, `"train"`, `"dev"` or `"test"`.
        name: str. Its path or name.
        given: object with the attributes `text`, `text_pair`, `label` and `task`.
        columns: `Columns` of the training file, or `None` where this is it.
    """

    def __init__(self, flag, name, given, columns=None):
        records = Records(name, flag, given.columns)
        self.flag, self.name = flag, name
        named = columns or given
        first, second = (*columns.texts, None)[:2] if columns else (given.text, given.text_pair)
        self.columns = choose_columns(
            f"--{flag} {name}", records.names, first, second, named.label, pair=columns and len(columns.texts) == 2
        )
        self.texts, self.cells, self.lines = tuple([] for _ in self.columns.texts), [], []
        self.broken = []
        self.where = f"--{flag} {name}, column {self.columns.label!r},"
        for record in records:
            problem = record.problem or self._add(record, given.task)
            if problem:
                self.broken.append((record.line, problem))
        total = len(self.lines) + len(self.broken)
        if not self.lines or 2 * len(self.broken) > total:
            first = f", the first because {self.broken[0][1]}" if self.broken else ""
            raise InputError(
                f"--{flag} {name} has {counted(len(self.lines), 'row')} of {total:,} with text and label{first}: mend "
                "the file, or name other columns."
            )

    def _add(self, record, task):
        """Adds a row; returns why it cannot be used, or `None`."""
        texts = [record.values.get(column) for column in self.columns.texts]
        cell = record.values.get(self.columns.label)
        for column, text in zip(self.columns.texts, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                held = "no text" if text is None or isinstance(text, str) else f"{type(text).__name__}, not text,"
                return f"{self.name}, line {record.line:,}: it holds {held} in the column {column!r}"
        if is_missing(cell, task):
            return f"{self.name}, line {record.line:,}: it holds no label in the column {self.columns.label!r}"
        for column, text in zip(self.texts, texts, strict=True):
            column.append(text)
        self.cells.append(cell)
        self.lines.append(record.line)
        return None

    @property
    def told(self):
        """list of str: how many rows could not be read, with their lines."""
        return told_of_broken(self.name, self.broken)


def told_of_broken(name, broken):
    """Returns a list with a sentence on the rows of a file (str) that cannot be used, tuples of line and reason."""
    if not broken:
        return []
    lines = told_of_lines([line for line, _ in broken])
    return [f"{counted(len(broken), 'row')} of {name} cannot be used ({lines}; the first: {broken[0][1]})."]


def told_of_lines(lines):
    """Returns the first of some numbers of lines (list of int), for people."""
    more = " and so on" if len(lines) > _TOLD_LINES else ""
    return f"line {', '.join(f'{line:,}' for line in lines[:_TOLD_LINES])}{more}"


def read_labelled(given):
    """Reads what `--train`, `--dev` and `--test` name.

    Args:
        given: object with the attributes `train`, `dev`, `test`, `task`, `text`, `text_pair`, `pairs`, `label`
            and `max_train_examples`, as the flags of `recipes/finetune.py`.

    Returns:
        `Labelled`.

    Raises:
        InputError: if a file cannot be read or its labels cannot be learned.
    """
    train = _Part("train", given.train, given)
    if given.pairs != "auto" and len(train.columns.texts) == 1:
        raise InputError(
            f"--pairs {given.pairs} is for two texts, and --train {given.train} is read with one: give --text_pair."
        )
    others = {
        flag: _Part(flag, name, given, train.columns) for flag in ("dev", "test") if (name := getattr(given, flag))
    }
    reading = decide(train.cells, train.lines, given.task, train.where)
    kind = reading.kind
    labels = {part.flag: reading.read(part.cells, part.lines, part.where) for part in (train, *others.values())}
    check(kind, labels["train"], train.lines, train.where)
    names = _names(kind, labels["train"])
    for part in others.values():
        _refuse_unknown(kind, labels[part.flag], names, part)
    told = [f"{part.flag}: {note}" for part in (train, *others.values()) for note in part.told]
    examples = {
        flag: Examples(part.texts, _encoded(kind, labels[flag], names), (), stem=flag)
        for flag, part in {"train": train, **others}.items()
    }
    if "dev" not in examples:
        strata = _strata(kind, examples["train"].labels)
        examples |= _hold_out(examples["train"], strata)
        drawn = "drawn at random" if strata is None else "the labels in their shares"
        told.append(
            f"dev: held out of {given.train}, {drawn}, {counted(len(examples['dev']), 'row')}, the same in each run; "
            "give --dev for others."
        )
    counts = {"rows": {flag: len(part) for flag, part in examples.items()}}
    counts["unusable_rows"] = {part.flag: len(part.broken) for part in (train, *others.values())}
    keys = {flag: list(zip(*part.texts, strict=True)) for flag, part in examples.items()}
    counts["also_in_train"] = also_in_train(keys, told)
    task = _task(kind, names, train.columns, examples)
    if given.max_train_examples:
        examples["train"] = sample(examples["train"], given.max_train_examples, task)
        told += [f"train: {note}." for note in examples["train"].notes]
    make_head = functools.partial(_make_head, task)
    return Labelled(kind, reading.why, train.columns, task, examples, tuple(told), counts, make_head)


def _make_head(task, apart=False):
    from budgetbert.finetuning.labelled.judging import JudgedTextHead

    return JudgedTextHead(task, apart)


def _names(kind, labels):
    """Returns the names of the classes (tuple of str): numbers in their order, else the alphabet's."""
    if kind.name == "regress":
        return ()
    found = {name for names in labels for name in names} if kind.name == "multilabel" else set(labels)
    try:
        return tuple(sorted(found, key=float))
    except ValueError:
        return tuple(sorted(found))


def _refuse_unknown(kind, labels, names, part):
    """Raises an `InputError` where another file has a label that the training file lacks."""
    if kind.name == "regress":
        return
    known = set(names)
    for label, line in zip(labels, part.lines, strict=True):
        for name in [label] if kind.name == "classify" else label:
            if name not in known:
                raise InputError(
                    f"{part.where} line {line:,}: the label {name!r:.60} is none of those of --train "
                    f"({', '.join(names):.200}): mend it, or add examples of it there."
                )


def _encoded(kind, labels, names):
    """Returns labels as the array that `Examples` hold."""
    if kind.name == "regress":
        return np.array(labels, np.float32)
    numbers = {name: number for number, name in enumerate(names)}
    if kind.name == "classify":
        return np.array([numbers[label] for label in labels], np.int32)
    encoded = np.zeros((len(labels), len(names)), np.float32)
    for row, several in enumerate(labels):
        encoded[row, [numbers[name] for name in several]] = 1.0
    return encoded


def _hold_out(examples, strata):
    """Returns the training examples and those of the development set, in their order, as a dict."""
    number = max(round(HELD_OUT * len(examples)), 1 if strata is None else len(set(strata)))
    if number > len(examples) // 2:
        raise InputError(
            f"--train has {counted(len(examples), 'row')}, too few to hold some out of each class: give more, or --dev."
        )
    kept, held = train_test_split(np.arange(len(examples)), test_size=number, random_state=0, stratify=strata)
    return {
        flag: dataclasses.replace(examples.take(np.sort(part)), stem=flag)
        for flag, part in (("train", kept), ("dev", held))
    }


def _strata(kind, labels):
    """Returns what is to be held out in its share (list of int), or `None`: of several labels a text's rarest one."""
    if kind.name == "regress":
        return None
    if kind.name == "classify":
        return labels.tolist()
    uses = labels.sum(axis=0)
    rarest = [int(np.where(row > 0, uses, np.inf).argmin()) if row.any() else -1 for row in labels]
    counts = collections.Counter(rarest)
    if any(count == 1 for count in counts.values()):
        return None
    return rarest


def also_in_train(keys, told, noun="row", shared="stand in the training examples too"):
    """Counts the examples of other parts that the training part has too, and tells of them.

    Args:
        keys: dict of `"train"`, `"dev"` and perhaps `"test"` to list of what an example is known by.
        told: list of str, to which a sentence for each part is added.
        noun: str. What an example is. Defaults to `"row"`.
        shared: str. What is said of them.

    Returns:
        dict of the other parts' names to int.
    """
    seen, found = set(keys["train"]), {}
    for flag, others in keys.items():
        if flag == "train":
            continue
        found[flag] = sum(key in seen for key in others)
        if found[flag]:
            told.append(f"{flag}: {found[flag]:,} of {counted(len(others), noun)} {shared}, so its scores flatter.")
    return found


def _task(kind, names, columns, examples):
    labels = examples["train"].labels
    several = kind.name == "multilabel"
    scale = (float(labels.mean()), float(labels.std()) or 1.0) if kind.name == "regress" else None
    splits = {flag: (Split(flag, len(part)),) for flag, part in examples.items()}
    title = {"classify": "Classes", "multilabel": "Labels", "regress": "Scores"}[kind.name]
    return Task(
        *(kind.name, title, columns.texts, columns.label, names, kind.metrics),
        **{"train": splits["train"][0], "dev": splits["dev"], "test": splits.get("test", ())},
        several=several,
        scale=scale,
    )
