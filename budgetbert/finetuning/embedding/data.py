"""Files of pairs, triplets, scored pairs or plain texts as examples for a model of vectors. Imports no Keras."""

import dataclasses

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.finetuning.data import Examples, sample
from budgetbert.finetuning.embedding.columns import choose_pair_columns
from budgetbert.finetuning.embedding.retrieval import METRICS
from budgetbert.finetuning.labelled.data import HELD_OUT, Labelled, also_in_train, told_of_broken, told_of_lines
from budgetbert.finetuning.labelled.labels import Kind, number_of
from budgetbert.finetuning.tasks import Split, Task
from budgetbert.reporting.numbers import counted

# The texts of a batch are what each anchor is held against, so that batches are larger than those of classes.
BATCH_SIZE = 64
TEMPERATURE, POOLING = 0.05, "mean"
# A search among so many texts takes seconds, and its figures are within a point of those of all.
_MOST_HELD_OUT = 2_000
_FEWEST = 10
_WHAT = {
    "texts": "texts alone, each read twice with other dropout",
    "pairs": "pairs of texts that belong together",
    "triplets": "pairs of texts that belong together, and one that does not",
    "scores": "pairs of texts with a score",
}
_UNITS = {"texts": "text", "pairs": "pair", "triplets": "triplet", "scores": "pair"}


class _Part:
    """The usable rows of one file.

    Args:
        flag: str, `"train"`, `"dev"` or `"test"`.
        name: str. Its path or name.
        given: object with the attributes `text`, `text_pair`, `negative` and `label`.
    """

    def __init__(self, flag, name, given):
        records = Records(name, flag, given.columns)
        self.flag, self.name = flag, name
        self.columns = choose_pair_columns(
            f"--{flag} {name}", records.names, given.text, given.text_pair, given.negative, given.label
        )
        self.texts, self.scores = tuple([] for _ in self.columns.texts), []
        self.unread = [name for name in records.names if name.lower() == "label" and name != self.columns.label]
        # Lines of rows by what is the matter with them, each with a sentence on the first.
        self.broken, self.alike, self.repeated = [], [], []
        self._seen = set()
        for record in records:
            self._add(record)
        self._check()

    @property
    def kind(self):
        """str, a key of `_WHAT`."""
        if self.columns.label:
            return "scores"
        return ("texts", "pairs", "triplets")[len(self.columns.texts) - 1]

    def _add(self, record):
        problem = record.problem
        texts = () if problem else [record.values.get(column) for column in self.columns.texts]
        for column, text in zip(self.columns.texts, texts, strict=False):
            if not isinstance(text, str) or not text.strip():
                held = "no text" if text is None or isinstance(text, str) else f"{type(text).__name__}, not text,"
                problem = problem or f"{self.name}, line {record.line:,}: it holds {held} in the column {column!r}"
        score = None
        if not problem and self.columns.label:
            score = number_of(record.values.get(self.columns.label))
            if score is None:
                problem = f"{self.name}, line {record.line:,}: it holds no number in the column {self.columns.label!r}"
        if problem:
            self.broken.append((record.line, problem))
        elif not self.columns.label and len({text.strip() for text in texts}) < len(texts):
            self.alike.append(record.line)
        elif (*texts, score) in self._seen:
            self.repeated.append(record.line)
        else:
            self._seen.add((*texts, score))
            for column, text in zip(self.texts, texts, strict=True):
                column.append(text)
            self.scores.append(score)

    def _check(self):
        """Raises an `InputError` where most rows cannot be used, or nothing can be learned from them."""
        usable, where = len(self.texts[0]), f"--{self.flag} {self.name}"
        total = usable + len(self.broken) + len(self.alike) + len(self.repeated)
        if len(self.alike) > usable:
            raise InputError(
                f"{where} has the same text in {' and '.join(map(repr, self.columns.texts))} in {len(self.alike):,} of "
                f"{counted(total, 'row')}: name other columns with --text and --text_pair."
            )
        if not usable or 2 * len(self.broken) > total:
            first = f", the first because {self.broken[0][1]}" if self.broken else ""
            raise InputError(
                f"{where} has {counted(usable, 'row')} of {total:,} that can be used{first}: mend the file, or name "
                "other columns."
            )
        for column, texts in zip(self.columns.texts, self.texts, strict=True):
            if len(set(texts)) == 1 and usable > 1:
                raise InputError(
                    f"{where} has one text, {texts[0]!r:.60}, in all {usable:,} rows of the column {column!r}: name "
                    "another column."
                )
        if self.kind == "scores" and len(set(self.scores)) == 1:
            raise InputError(
                f"{where} has one score, {self.scores[0]:g}, in all {usable:,} rows of the column "
                f"{self.columns.label!r}: name another column with --label, or none and pairs alone."
            )

    @property
    def told(self):
        """list of str, sentences on rows that are not used, with their lines."""
        unit = _UNITS[self.kind]
        told = told_of_broken(self.name, self.broken)
        if self.alike:
            rows = counted(len(self.alike), "row")
            told.append(f"left out: {rows} with one text twice ({told_of_lines(self.alike)}).")
        if self.repeated:
            rows = counted(len(self.repeated), f"repeated {unit}")
            told.append(f"left out: {rows} ({told_of_lines(self.repeated)}).")
        if self.flag == "train" and self.kind in ("pairs", "triplets"):
            several = len(self.texts[0]) - len(set(self.texts[0]))
            if several:
                told.append(
                    f"an anchor is there again in {counted(several, unit)}: its other right texts in the same batch "
                    "are not counted as wrong."
                )
        if self.unread:
            told.append("the column 'label' is not read; --label label would read scores of pairs from it.")
        return told

    @property
    def examples(self):
        """`Examples`, with the scores as labels where there are any."""
        labels = np.array(self.scores, np.float32) if self.columns.label else None
        return Examples(self.texts, labels, (), stem=self.flag)


def read_pairs(given):
    """Reads what `--train`, `--dev` and `--test` name.

    Args:
        given: object with the attributes `train`, `dev`, `test`, `text`, `text_pair`, `negative`, `label`, `sizes`,
            `temperature`, `pooling` and `max_train_examples`, as the flags of `recipes/finetune.py`.

    Returns:
        `Labelled`.

    Raises:
        InputError: if a file cannot be read or nothing can be learned from it.
    """
    train = _Part("train", given.train, given)
    if len(train.texts[0]) < _FEWEST:
        few = counted(len(train.texts[0]), _UNITS[train.kind])
        raise InputError(f"--train {given.train} has {few}: give {_FEWEST} or more.")
    others = {flag: _other(flag, name, given, train) for flag in ("dev", "test") if (name := getattr(given, flag))}
    told = [f"{part.flag}: {note}" for part in (train, *others.values()) for note in part.told]
    examples = {part.flag: part.examples for part in (train, *others.values())}
    if "dev" not in examples:
        examples |= _hold_out(examples["train"])
        unit = "text" if train.kind == "texts" else "anchor"
        told.append(
            f"dev: held out of {given.train}, no {unit} on both sides, {counted(len(examples['dev']), 'row')}, the "
            "same in each run; give --dev for others."
        )
    for flag in [flag for flag in examples if flag != "train"]:
        if train.kind == "texts" and len(examples[flag].texts) == 1:
            examples[flag] = _halves(flag, examples[flag], told)
    counts = {"rows": {flag: len(part) for flag, part in examples.items()}}
    counts["unusable_rows"] = {
        part.flag: len(part.broken) + len(part.alike) + len(part.repeated) for part in (train, *others.values())
    }
    keys = {flag: list(zip(*part.texts, strict=True)) for flag, part in examples.items()}
    counts["also_in_train"] = also_in_train(keys, told)
    task = _task(train.columns, examples)
    if given.max_train_examples:
        examples["train"] = sample(examples["train"], given.max_train_examples, task)
        told += [f"train: {note}." for note in examples["train"].notes]
    why = f"{_WHAT[train.kind]}, by the columns"
    settings = {
        "sizes": _sizes(given.sizes),
        "temperature": given.temperature or TEMPERATURE,
        "pooling": given.pooling or POOLING,
    }
    return Labelled(
        *(_kind(task), why, train.columns, task, examples, tuple(told), counts),
        make_head=lambda: _make_head(task, settings),
        settings={**settings, "sizes": list(settings["sizes"])},
    )


def _kind(task):
    return Kind("embed", task.metrics, "vectors of texts", batch_size=BATCH_SIZE)


def _make_head(task, settings):
    from budgetbert.finetuning.embedding.head import EmbeddingHead

    return EmbeddingHead(task, **settings)


def _other(flag, name, given, train):
    part = _Part(flag, name, given)
    asked = "pairs" if train.kind == "texts" else train.kind
    if part.kind != train.kind and {part.kind, asked} - {"pairs", "triplets"}:
        raise InputError(
            f"--{flag} {name} holds {_WHAT[part.kind]}, and --train {_WHAT[train.kind]}: give files of one kind."
        )
    return part


def _sizes(text):
    """Reads `--sizes`: whole numbers with commas between."""
    try:
        sizes = tuple(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        sizes = (0,)
    if any(size < 1 for size in sizes):
        raise InputError(f"--sizes {text!r:.60} are no whole numbers with commas between: give some, as 128,64,32.")
    return sizes


def _hold_out(examples):
    """Returns the training examples and those of the development set, in their order, as a dict."""
    count = min(_MOST_HELD_OUT, max(1, round(HELD_OUT * len(examples))))
    groups = np.unique(examples.texts[0], return_inverse=True)[1]
    split = GroupShuffleSplit(1, test_size=count / len(examples), random_state=0)
    kept, held = next(split.split(groups, groups=groups))
    return {
        flag: dataclasses.replace(examples.take(np.sort(part)), stem=flag)
        for flag, part in (("train", kept), ("dev", held))
    }


def _halves(flag, examples, told):
    """Returns pairs of the halves of texts, by which a model that was trained on texts alone can be judged."""
    words = [text.split() for text in examples.texts[0]]
    cut = [(" ".join(part[: len(part) // 2]), " ".join(part[len(part) // 2 :])) for part in words if len(part) >= 4]
    if len(cut) < 2:
        raise InputError(f"--{flag}: no two texts have four words to be judged by their halves: give --dev with pairs.")
    told.append(
        f"{flag}: the first half of each text is to find its second half, {counted(len(cut), 'text')}; "
        f"{len(words) - len(cut):,} with under four words are left out. Give --dev with pairs to judge by them."
    )
    return dataclasses.replace(examples, texts=tuple(map(list, zip(*cut, strict=True))))


def _task(columns, examples):
    splits = {flag: (Split(flag, len(part)),) for flag, part in examples.items()}
    metrics = ("spearman", "pearson") if columns.label else METRICS
    return Task(
        *("embed", "Vectors", columns.texts, columns.label, (), metrics),
        **{"train": splits["train"][0], "dev": splits["dev"], "test": splits.get("test", ())},
    )
