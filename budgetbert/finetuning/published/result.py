"""What a finetuning wrote into `glue.json`, for readers: tables, pages, comparisons. Imports no Keras."""

import math
import os

from budgetbert.errors import InputError
from budgetbert.finetuning.tasks import TASKS
from budgetbert.training.run.record import read_json

TITLES = {name: task.title for name, task in TASKS.items()}
# The official counts of the rows to train on and to score on; the diagnostic is scored on its test set.
_ROWS = {
    name: (task.train.rows if task.train else 0, sum(split.rows for split in task.dev or task.test))
    for name, task in TASKS.items()
}
_OF_MNLI = {f"accuracy{split.suffix}": split.rows for split in TASKS["mnli"].dev}
METRICS = {
    "matthews": "Matthews",
    "accuracy": "accuracy",
    "f1": "F1",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "accuracy_matched": "accuracy, matched",
    "accuracy_mismatched": "accuracy, mismatched",
}


def read_result(path):
    """Reads a `glue.json`.

    Args:
        path: str. The file, or the directory that it lies in.

    Returns:
        dict, checked: what tables and pages read of it is there and of the right kind.

    Raises:
        InputError: if there is none, or it is not the result of a finetuning.
    """
    path = os.path.join(path, "glue.json") if os.path.isdir(path) else path
    result = read_json(path)
    if result is None:
        raise InputError(f"{path} does not exist: give the --output_dir of recipes/finetune_glue.py.")
    check_result(result, path)
    return result


def check_result(result, path):
    """Raises an `InputError` that names `path` and the first key that is missing or of the wrong kind."""

    def require(holder, where, **kinds):
        for key, kind in kinds.items():
            if not isinstance(holder.get(key), kind) or isinstance(holder.get(key), bool):
                raise InputError(
                    f"{path} is no result of recipes/finetune_glue.py ({where}{key} is {_kind(holder.get(key))}): "
                    "finetune again."
                )

    if not isinstance(result, dict):
        raise InputError(f"{path} is no result of recipes/finetune_glue.py (it is {_kind(result)}): finetune again.")
    require(result, "", protocol=str, protocol_settings=dict, split=str, tasks=dict)
    for name, task in result["tasks"].items():
        if name not in TASKS:
            raise InputError(f"{path} holds the task {name!r}, which is none of GLUE's ({', '.join(TASKS)}).")
        if not isinstance(task, dict):
            raise InputError(f"{path} is no result of recipes/finetune_glue.py (tasks.{name} is {_kind(task)}).")
        require(task, f"tasks.{name}.", metrics=dict, main_metric=str, examples=int)
        for metric, found in task["metrics"].items():
            where = f"tasks.{name}.metrics.{metric}"
            if not isinstance(found, dict) or metric not in METRICS:
                raise InputError(f"{path} has a metric that no table knows ({where}).")
            require(found, f"{where}.", values=list, median=(int, float), n=int)
            values = [*found["values"], found["median"]]
            if not found["values"] or not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                raise InputError(f"{path} has a score that is no number ({where}): finetune this task again.")
        if task["main_metric"] not in task["metrics"]:
            raise InputError(f"{path} has no value of the main metric of {name} ({task['main_metric']}).")


def examples_of(task, metric):
    """Returns how many examples (int) a metric of a task is of: of MNLI's, one of the two development sets."""
    if metric not in _OF_MNLI:
        return task["examples"]
    return _OF_MNLI[metric] if task["examples"] == sum(_OF_MNLI.values()) else task["examples"] // 2


def spread(found):
    """Returns the largest minus the smallest of a metric's values over its seeds (float)."""
    return max(found["values"]) - min(found["values"])


def title(result):
    """Returns what was finetuned, in a few words (str)."""
    pretraining, model = result.get("pretraining") or {}, result.get("model") or {}
    if model.get("random"):
        return "A random initialisation"
    named = " ".join(filter(None, (pretraining.get("recipe"), pretraining.get("preset"))))
    # Two parts of a path tell the model apart; the rest is the machine's.
    return named or "/".join(str(model.get("path", "a model")).rstrip("/").split("/")[-2:])


def is_reduced(result, name):
    """Whether a task was trained or scored on another number of rows than the official one."""
    task = result["tasks"].get(name)
    return task is not None and (task.get("train_examples", 0), task["examples"]) != _ROWS[name]


def _kind(value):
    return {type(None): "missing", dict: "an object", list: "a list", str: "a text"}.get(type(value), repr(value)[:40])
