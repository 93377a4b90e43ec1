"""The published scores of `published.json` that ours stand beside, and the two means over the tasks that papers give.

The means are not comparable with each other.
"""

import dataclasses
import json
import os

# How a row's caveat on Cramming's warm-up begins, which `--cola_warmup` does alike.
_WARMUP_OF_COLA = "the warm-up steps of its first task"
_TRANSFERRED = ("RTE", "MRPC", "STS-B")
PATH = os.path.join(os.path.dirname(__file__), "published.json")
# The columns of tables, and the score of `glue.json` that stands in each.
COLUMNS = {
    "CoLA": ("cola", "matthews"),
    "SST-2": ("sst2", "accuracy"),
    "MRPC": ("mrpc", "f1"),
    "STS-B": ("stsb", "pearson"),
    "QQP": ("qqp", "f1"),
    "MNLI-m": ("mnli", "accuracy_matched"),
    "MNLI-mm": ("mnli", "accuracy_mismatched"),
    "QNLI": ("qnli", "accuracy"),
    "RTE": ("rte", "accuracy"),
}


@dataclasses.dataclass(frozen=True)
class PublishedRow:
    """The scores of one model in one paper. It has eleven fields because each can make two scores incomparable.

    Args:
        name: str.
        split: str. `"dev"` or `"test"`.
        protocol: str, how it was finetuned, in one sentence.
        our_protocol: str or `None`. The protocol of ours that is meant to be the same.
        mnli_transfer: bool. Whether RTE, MRPC and STS-B start from the checkpoint finetuned on MNLI.
        tuning: str. What was chosen for each task: `"one setting for all tasks"`, `"fixed per task"` or
            `"grid per task"`.
        metrics: dict of a column to its metric, `None` where the source does not state it.
        scores: dict of a column to its score in percent, `None` where it is not known.
        caveats: tuple of str. What else keeps the scores from being comparable.
        source: str.
        pretraining: dict of `hours`, `hardware`, `tokens`, `parameters`, `None` where not known.
    """

    name: str
    split: str
    protocol: str
    our_protocol: str | None
    mnli_transfer: bool
    tuning: str
    metrics: dict
    scores: dict
    caveats: tuple
    source: str
    pretraining: dict

    @property
    def unstated(self):
        """The columns with a score whose metric the source does not state (list of str)."""
        return [column for column, score in self.scores.items() if score is not None and not self.metrics.get(column)]


def published_rows(path=PATH):
    """Returns the published rows (list of `PublishedRow`)."""
    with open(path, encoding="utf-8") as file:
        return [PublishedRow(**{**row, "caveats": tuple(row["caveats"])}) for row in json.load(file)]


def our_tuning(settings):
    """Returns, in a published row's words, what the settings of a protocol choose for each task (str)."""
    tried = len(settings.get("learning_rates") or [1]) * len(settings.get("batch_sizes") or [1])
    return "grid per task" if tried > 1 else "one setting for all tasks"


def differences(result, row):
    """Returns what keeps a result and a published row from being one scale (list of str, empty of none known).

    Args:
        result: dict, of `glue.json`.
        row: `PublishedRow`.
    """
    settings, found = result["protocol_settings"], []
    if row.split != result["split"]:
        found.append(f"{row.split} scores, ours are {result['split']}")
    if row.mnli_transfer != _transfers(result):
        started, other = ("theirs", "ours do") if row.mnli_transfer else ("ours", "theirs do")
        found.append(f"{started} of RTE, MRPC and STS-B start from the MNLI checkpoint, {other} not")
    if row.tuning != our_tuning(settings):
        found.append(f"{row.tuning}, ours {our_tuning(settings)}")
    elif row.our_protocol != result["protocol"]:
        found.append("other settings of finetuning")
    if row.unstated:
        found.append(f"the metric of {', '.join(row.unstated)} is not stated")
    alike = settings.get("warmup_steps") is not None
    return [*found, *(text for text in row.caveats if not (alike and text.startswith(_WARMUP_OF_COLA)))]


def is_one_scale(result, row, column):
    """Whether a published score of a column has split and MNLI transfer in common with ours, and a stated metric."""
    transferred = column in _TRANSFERRED and row.mnli_transfer != _transfers(result)
    return row.split == result["split"] and not transferred and column not in row.unstated


def _transfers(result):
    return bool(result["protocol_settings"].get("mnli_transfer")) and "mnli" in result["tasks"]


@dataclasses.dataclass(frozen=True)
class Convention:
    """What is averaged.

    Args:
        name: str, of the column of a table.
        description: str, one sentence.
        columns: tuple of str.
    """

    name: str
    description: str
    columns: tuple


NINE = Convention(
    "mean of 9",
    "Cramming's convention: nine columns with equal weight, MNLI matched and mismatched as two of them; Matthews of "
    "CoLA, F1 of MRPC and QQP, Pearson of STS-B, else accuracy; without WNLI.",
    tuple(COLUMNS),
)
EIGHT = Convention(
    "mean of 8",
    "MosaicBERT's way to count: one column for each task, MNLI the mean of matched and mismatched; here with the "
    "metrics of the mean of 9.",
    ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE"),
)
CONVENTIONS = (NINE, EIGHT)


def result_scores(result):
    """Returns the score of each column of a result, a median over seeds in percent (dict of str to float or `None`)."""
    scores = {}
    for column, (task, metric) in COLUMNS.items():
        found = result["tasks"].get(task, {}).get("metrics", {}).get(metric)
        scores[column] = found and 100 * found["median"]
    return scores


def missing(scores, convention):
    """Returns the columns (list of str) without which there is no mean."""
    wanted = []
    for column in convention.columns:
        parts = ("MNLI-m", "MNLI-mm") if column == "MNLI" and scores.get("MNLI") is None else (column,)
        wanted += [part for part in parts if scores.get(part) is None]
    return wanted


def mean(scores, convention):
    """Averages scores by a convention.

    Args:
        scores: dict of a column to its score or `None`. MNLI stands as `MNLI-m` and `MNLI-mm`, or, where a source
            gives one number for both, as `MNLI`.
        convention: `Convention`.

    Returns:
        float, or `None` where a column is `missing`.
    """
    if missing(scores, convention):
        return None
    values = [
        scores[column] if scores.get(column) is not None else (scores["MNLI-m"] + scores["MNLI-mm"]) / 2
        for column in convention.columns
    ]
    return sum(values) / len(values)
