"""The two means over GLUE's tasks that papers give. They are not comparable with each other."""

import dataclasses

COLUMNS = {  # of tables, and the score of `glue.json` that stands in each
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
