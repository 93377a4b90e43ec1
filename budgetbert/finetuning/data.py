"""GLUE's files as they are: unquoted TSV in the official layout, also compressed, or the hub. Imports no Keras."""

import contextlib
import dataclasses
import io
import os
import zlib

import numpy as np

from budgetbert.errors import InputError
from budgetbert.files import DamagedArchive, open_archive
from budgetbert.finetuning.tasks import TASKS

HUB = "nyu-mll/glue"
_LAYOUT = "the official layout is DIR/CoLA/train.tsv, also .tsv.xz"


@dataclasses.dataclass(frozen=True)
class Examples:
    """The examples of one split.

    Args:
        texts: tuple of one or two lists of str; three of a pair and what does not belong to it.
        labels: int array of classes, float array of scores, or, where a text may have several labels, a float array
            (examples, classes) of 0 and 1; `None` where the file has none.
        notes: tuple of str. What differs from the official split.
        suffix: str. Of its metrics' names.
        stem: str. The name of its split.
    """

    texts: tuple
    labels: np.ndarray | None
    notes: tuple
    suffix: str = ""
    stem: str = ""

    def __len__(self):
        return len(self.texts[0])

    @property
    def fingerprint(self):
        """str, of texts and labels."""
        sum_of = zlib.crc32(b"" if self.labels is None else np.ascontiguousarray(self.labels))
        for column in self.texts:
            for text in column:
                sum_of = zlib.crc32(text.encode(), sum_of)
        return f"{sum_of:08x}"

    def take(self, indices):
        """Returns the examples of an int array of indices."""
        texts = tuple([column[i] for i in indices] for column in self.texts)
        return dataclasses.replace(self, texts=texts, labels=None if self.labels is None else self.labels[indices])


class Folder:
    """A folder in GLUE's official layout: `CoLA/train.tsv`, each file also as `.tsv.xz`.

    Args:
        directory: str.

    Raises:
        InputError: if there is no such folder, or it holds none of the tasks.
    """

    def __init__(self, directory):
        self._directory = directory
        if not os.path.isdir(directory):
            raise InputError(f"--glue_dir {directory} is no folder: {_LAYOUT}; or give hub.")
        if not any(map(self.has, TASKS.values())):
            raise InputError(f"--glue_dir {directory} holds none of GLUE's tasks: {_LAYOUT}; or give hub.")

    def has(self, task):
        """Returns whether there is anything of a `Task`."""
        return any(self._find(task, split) for split in (task.train, *task.dev, *task.test) if split)

    def missing(self, task):
        """Returns the name (str) of a file that finetuning on a `Task` needs and that is not there, or `None`."""
        for split in (task.train, *task.dev):
            if split and not self._find(task, split):
                return os.path.join(self._directory, task.title, f"{split.stem}.tsv")
        return None

    def read(self, task, split):
        """Returns the `Examples` of a `Split` of a `Task`, `None` if there is no such file.

        Raises:
            InputError: if the file is damaged, has not the task's columns, or a label is none of its labels.
        """
        path = self._find(task, split)
        if path is None:
            return None
        header, rows = _read_rows(path)
        is_test = split in task.test
        texts = (task.test_texts or task.texts) if is_test else task.texts
        # Files without named columns, CoLA's, have no header: their first line is an example.
        named = isinstance(texts[0], str)
        rows, first_line = (rows, 2) if named else ([header, *rows], 1)
        places = [_column(header, name) for name in texts]
        label = _column(header, task.label)
        if None in places or (label is None and not is_test):
            wanted = next(name for name in (*texts, task.label) if _column(header, name) is None)
            raise InputError(f"{path} has no column {wanted!r} in its first line: {_LAYOUT}.")
        rows, notes = _complete(rows, len(header), max(*places, label or 0), task, path, first_line)
        labels = None
        if label is not None and not (is_test and task.name != "ax"):
            labels = _labels([row[label] for row in rows], task, path, first_line)
        columns = tuple([row[place] for row in rows] for place in places)
        return _examples(columns, labels, notes, split)

    def _find(self, task, split):
        """Returns the path of a split's file, `None` if there is none."""
        folders = [task.title] if task.name != "ax" else ["AX", "diagnostic"]
        paths = (os.path.join(self._directory, folder, split.stem) for folder in folders)
        return next((path + end for path in paths for end in (".tsv", ".tsv.xz") if os.path.isfile(path + end)), None)


class Hub:
    """`nyu-mll/glue` of the Hugging Face hub, by `datasets`."""

    def has(self, task):
        """As `Folder.has`: the hub has all."""
        return True

    def missing(self, task):
        """As `Folder.missing`: nothing is."""
        return None

    def read(self, task, split):
        """As `Folder.read`.

        Raises:
            InputError: if the hub cannot be reached.
        """
        import datasets

        name = split.hub or {"train": "train", "dev": "validation"}.get(split.stem, "test")
        try:
            rows = datasets.load_dataset(HUB, task.name, split=name)
        # The network, the hub and its cache raise errors of many classes.
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{HUB} ({task.name}) cannot be had from the hub ({type(error).__name__}: {reason}): "
                "check the network, or give a folder as --glue_dir."
            ) from error
        labels = np.array(rows["label"], np.int32 if task.labels else np.float32)
        known = not task.labels or bool((labels >= 0).all())
        columns = tuple(list(rows[column]) for column in (task.hub_texts or task.texts))
        return _examples(columns, labels if known and split not in task.test else None, [], split)


def open_source(glue_dir):
    """Returns the `Folder` or the `Hub` that `--glue_dir` names."""
    return Hub() if glue_dir == "hub" else Folder(glue_dir)


def choose_tasks(text, source):
    """Reads `--tasks`.

    Args:
        text: str. Names with commas between, or `"all"`: those found.
        source: `Folder` or `Hub`.

    Returns:
        Tuple of the list of `Task` to finetune on, and the list of the names of those that are missing.

    Raises:
        InputError: if a task is unknown, or asked for by name and missing.
    """
    names = list(TASKS) if text == "all" else list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in TASKS:
            raise InputError(f"--tasks {name!r} is no task of GLUE: give {', '.join(TASKS)}, or all.")
    if text != "all":
        for task in map(TASKS.get, names):
            if not source.has(task) or (missing := source.missing(task)):
                missing = missing if source.has(task) else f"{task.title}/"
                raise InputError(f"--tasks {task.name} needs {missing}, which is not there: {_LAYOUT}.")
        if "ax" in names and "mnli" not in names:
            raise InputError("--tasks ax is judged by the model of MNLI: give mnli too.")
    chosen = [TASKS[name] for name in names if source.has(TASKS[name]) and not source.missing(TASKS[name])]
    if not any(task.train for task in chosen):
        raise InputError(f"--tasks {text} finds no task with a training and a development set: {_LAYOUT}.")
    if TASKS["mnli"] not in chosen:
        chosen = [task for task in chosen if task.name != "ax"]
    return chosen, [name for name in TASKS if TASKS[name] not in chosen] if text == "all" else []


def sample(examples, count, task, seed=0):
    """Returns at most `count` examples in their order, each label in its share.

    For a regression, and where a text may have several labels, they are drawn at random.

    Args:
        examples: `Examples`.
        count: int.
        task: `Task`.
        seed: int. Defaults to 0: the same examples for every model.
    """
    total = len(examples)
    if total <= count:
        return examples
    generator = np.random.default_rng(seed)
    order = generator.permutation(total)
    # The same share of each label is taken: examples are ordered by their rank within the label over its number.
    if task.labels and not task.several:
        ranks = np.empty(total)
        for label in range(task.classes):
            places = order[examples.labels[order] == label]
            ranks[places] = (np.arange(places.size) + generator.random()) / max(1, places.size)
        order = np.argsort(ranks, kind="stable")
    taken = examples.take(np.sort(order[:count]))
    return dataclasses.replace(taken, notes=(*examples.notes, f"trained on {count:,} of {total:,} examples"))


def _examples(columns, labels, notes, split):
    count = len(columns[0])
    if count != split.rows:
        has = "is a sample of" if count < split.rows else "has"
        notes.append(f"{split.stem} {has} {count:,} rows, officially {split.rows:,}")
    return Examples(columns, labels, tuple(notes), split.suffix, split.stem)


def _read_rows(path):
    """Returns the first line of a TSV file and the others, each a list of str; quotes are text.

    The csv module would refuse a carriage return inside a line, which is text here, and cells of more than 131,072
    characters.
    """
    try:
        with open(path, "rb") as raw:
            file = open_archive(raw, ".xz") if path.endswith(".xz") else raw
            with io.TextIOWrapper(file, encoding="utf-8-sig", newline="\n") as text:
                lines = [line.rstrip("\r\n").split("\t") for line in text]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: it is not UTF-8 ({error.reason} at byte {error.start:,}).") from error
    except DamagedArchive as error:
        raise InputError(f"{path} is damaged: it cannot be decompressed ({error}); get it again.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    lines = [line for line in lines if line != [""]]
    if len(lines) < 2:
        raise InputError(f"{path} holds no examples: {_LAYOUT}.")
    return lines[0], lines[1:]


def _column(header, name):
    if isinstance(name, int):
        return name
    with contextlib.suppress(ValueError):
        return header.index(name)
    # The header of AX with labels (diagnostic-full.tsv) has capitals.
    return next((i for i, column in enumerate(header) if column.lower() == str(name).lower()), None)


def _complete(rows, columns, last, task, path, first_line):
    """Returns the rows with all columns, and notes; a row without is an error unless the official file has such."""
    short = [number for number, row in enumerate(rows) if len(row) <= last]
    if not short:
        return rows, []
    if not task.short_rows or len(short) > 0.001 * len(rows) + 1:
        raise InputError(
            f"{path} is damaged: line {short[0] + first_line:,} has {len(rows[short[0]])} columns, its first line "
            f"{columns}; get the file again."
        )
    whole = [row for row in rows if len(row) > last]
    return whole, [f"{len(short)} rows with a missing column are left out of {os.path.basename(path)}"]


def _labels(values, task, path, first_line):
    """Returns what the cells of a column stand for: classes (int32) or, of a regression, scores (float32)."""
    classes = {label: index for index, label in enumerate(task.labels)}
    labels = []
    for line, value in enumerate(values, first_line):
        label = classes.get(value) if task.labels else _score(value)
        if label is None:
            known = ", ".join(task.labels) or "a score from 0 to 5"
            raise InputError(f"{path}, line {line:,}: the label {value[:100]!r} is none of {task.title}'s ({known}).")
        labels.append(label)
    return np.array(labels, np.int32 if task.labels else np.float32)


def _score(text):
    try:
        score = float(text)
    except ValueError:
        return None
    return score if 0 <= score <= 5 else None
