"""The tasks of GLUE: where their columns, labels and official figures are written down. Imports no Keras."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Split:
    """A file of examples.

    Args:
        stem: str. Its name without `.tsv`.
        rows: int. The official count.
        suffix: str. What its metrics' names end in, as `_matched`. Defaults to none.
        hub: str. Its name on the hub, where that is another than `train`, `validation` or `test`.
    """

    stem: str
    rows: int
    suffix: str = ""
    hub: str = ""


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of GLUE. It has more than ten fields because the official files differ in each of them.

    Args:
        name: str, as typed at `--tasks`.
        title: str, as the benchmark calls it: the name of its folder, and of its file in a submission.
        texts: tuple of the columns with the text, or the two texts. Numbers where the file has no header.
        label: str or int. The column with the label.
        labels: tuple of str, in the order of the classes, as the files and a submission write them; empty for
            regression.
        metrics: tuple of str, of `finetuning.metrics.METRICS`. The first is the task's own: it decides which seed
            is the median.
        train: `Split` or `None`.
        dev: tuple of `Split`.
        test: tuple of `Split`.
        hub_texts: tuple of str. The columns with the texts on the hub, where they have other names.
        test_texts: tuple. The columns with the texts in the test file, where that has a header and the others none.
        names: tuple of str. What the labels mean, in their order, to be saved with a model. Defaults to `labels`.
        several: bool. Whether a text may have any number of the labels, each judged by itself. Defaults to `False`.
        scale: tuple of two float, mean and standard deviation of the scores of a regression, in whose units the model
            trains. Defaults to none: in those of the file.
        short_rows: bool. Whether rows without all columns are left out, as the official file has some. Defaults to
            `False`: they are an error.
    """

    name: str
    title: str
    texts: tuple
    label: str | int
    labels: tuple
    metrics: tuple
    train: Split | None
    dev: tuple
    test: tuple
    hub_texts: tuple = ()
    test_texts: tuple = ()
    names: tuple = ()
    several: bool = False
    scale: tuple | None = None
    short_rows: bool = False

    @property
    def pair(self):
        """bool, whether there are two texts."""
        return len(self.texts) == 2

    @property
    def classes(self):
        """int, the number of logits: 1 for regression."""
        return len(self.labels) or 1

    @property
    def label_names(self):
        """list of str, what the classes mean; `None` for regression."""
        return list(self.names or self.labels) or None

    @property
    def metric(self):
        """str, the metric that decides, with the suffix of the first of the development sets."""
        return self.metrics[0] + (self.dev[0].suffix if self.dev else "")

    def standardized(self, scores):
        """Returns labels (array) as the model trains on them: scores with the mean 0 and the deviation 1."""
        if self.scale is None:
            return scores
        mean, deviation = self.scale
        return ((scores - mean) / deviation).astype("float32")

    def in_units(self, scores):
        """Returns what a model that trains on `standardized` labels says (array), in the units of the file."""
        if self.scale is None:
            return scores
        mean, deviation = self.scale
        return scores * deviation + mean


_ENTAILMENT = ("entailment", "not_entailment")
_INFERENCE = ("entailment", "neutral", "contradiction")


def _task(name, title, texts, label, labels, metrics, rows, **more):
    train, dev, test = rows
    splits = {"train": Split("train", train), "dev": (Split("dev", dev),), "test": (Split("test", test),)}
    return Task(name, title, texts, label, labels, metrics, **{**splits, **more})


# Columns and counts of the official archive (gluebenchmark.com/tasks). Its QQP has three rows with a missing column,
# which everyone leaves out. RTE's and QNLI's order of labels is that of the hub.
TASKS = {
    task.name: task
    for task in (
        _task(
            *("cola", "CoLA", (3,), 1, ("0", "1"), ("matthews",), (8551, 1043, 1063)),
            hub_texts=("sentence",),
            test_texts=("sentence",),
            names=("unacceptable", "acceptable"),
        ),
        _task(
            *("sst2", "SST-2", ("sentence",), "label", ("0", "1"), ("accuracy",), (67349, 872, 1821)),
            names=("negative", "positive"),
        ),
        _task(
            *("mrpc", "MRPC", ("#1 String", "#2 String"), "Quality", ("0", "1"), ("f1", "accuracy")),
            (3668, 408, 1725),
            hub_texts=("sentence1", "sentence2"),
            names=("not_equivalent", "equivalent"),
        ),
        _task(
            *("stsb", "STS-B", ("sentence1", "sentence2"), "score", (), ("pearson", "spearman")),
            (5749, 1500, 1379),
        ),
        _task(
            *("qqp", "QQP", ("question1", "question2"), "is_duplicate", ("0", "1"), ("f1", "accuracy")),
            (363846, 40430, 390965),
            names=("not_duplicate", "duplicate"),
            short_rows=True,
        ),
        _task(
            *("mnli", "MNLI", ("sentence1", "sentence2"), "gold_label", _INFERENCE, ("accuracy",)),
            (392702, 0, 0),
            dev=(
                Split("dev_matched", 9815, "_matched", "validation_matched"),
                Split("dev_mismatched", 9832, "_mismatched", "validation_mismatched"),
            ),
            test=(
                Split("test_matched", 9796, "_matched", "test_matched"),
                Split("test_mismatched", 9847, "_mismatched", "test_mismatched"),
            ),
            hub_texts=("premise", "hypothesis"),
        ),
        _task(
            *("qnli", "QNLI", ("question", "sentence"), "label", _ENTAILMENT, ("accuracy",)),
            (104743, 5463, 5463),
        ),
        _task(
            *("rte", "RTE", ("sentence1", "sentence2"), "label", _ENTAILMENT, ("accuracy",)),
            (2490, 277, 3000),
        ),
        _task(
            *("wnli", "WNLI", ("sentence1", "sentence2"), "label", ("0", "1"), ("accuracy",)),
            (635, 71, 146),
            names=("not_entailment", "entailment"),
        ),
        # The diagnostic has no training data: the model of MNLI judges it.
        _task(
            *("ax", "AX", ("sentence1", "sentence2"), "label", _INFERENCE, ("matthews",), (0, 0, 1104)),
            train=None,
            dev=(),
            test=(Split("diagnostic", 1104),),
            hub_texts=("premise", "hypothesis"),
        ),
    )
}
