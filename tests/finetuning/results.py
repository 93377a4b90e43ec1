"""Results as a finetuning writes them, for tests that read them."""

import json
import statistics

SETTINGS = {
    "description": "one setting for all tasks",
    "learning_rates": [4e-5],
    "batch_sizes": [16],
    "epochs": 5,
    "weight_decay": 0.0,
    "schedule": "cosine",
    "warmup": 0.1,
    "clip_norm": None,
    "sequence_length": 128,
    "mnli_transfer": False,
    "selection": "last epoch",
}
PRETRAINING = {
    "recipe": "cramming_24h",
    "preset": "mini_crammed",
    "budget": "40 min 0 s",
    "steps": 2412,
    "tokens": 7.9e7,
    "flops": 4.1e15,
    "hours": 0.6667,
    "device": "CPU",
    "validation_loss": 4.81,
    "corpus": "9f1c",
}
ROWS = {  # to train on and to score on, official
    "cola": (8551, 1043),
    "sst2": (67349, 872),
    "mrpc": (3668, 408),
    "stsb": (5749, 1500),
    "qqp": (363846, 40430),
    "mnli": (392702, 19647),
    "qnli": (104743, 5463),
    "rte": (2490, 277),
    "wnli": (635, 71),
}
_OF_TASK = ("notes", "failed_seeds", "majority", "examples", "train_examples")


def make_task(name, **values):
    """A task as it stands in `glue.json`, the first metric its own.

    Args:
        name: str.
        **values: list of float of each metric, and perhaps keys of the task, as `notes`.
    """
    more = {key: values.pop(key) for key in _OF_TASK if key in values}
    metrics = {
        metric: {
            "values": found,
            "median": statistics.median(found),
            "n": len(found),
            "spread": max(found) - min(found),
        }
        for metric, found in values.items()
    }
    return {
        "metrics": metrics,
        "main_metric": next(iter(metrics)),
        "examples": ROWS[name][1],
        "train_examples": ROWS[name][0],
        "majority": {},
        "notes": [],
        "configuration": {"learning_rate": 4e-5, "batch_size": 16},
        "failed_seeds": [],
        "seconds": 210.0,
        **more,
    }


def make_result(random=False, settings=(), **tasks):
    """A result with the scores given: a dict of metric to a list of float for each task."""
    return {
        "protocol": "cramming",
        "protocol_settings": {**SETTINGS, **dict(settings)},
        "split": "dev",
        "model": {"path": "/home/someone/runs/mine/model.keras", "parameters": 11534336, "random": random},
        "pretraining": None if random else PRETRAINING,
        "finetuning": {"device": "CPU", "backend": "jax", "precision": "float32", "seconds": 8420.0},
        "tasks": {name: make_task(name, **values) for name, values in tasks.items()},
        "missing": [],
    }


def from_percent(scores):
    """The result, of one seed, of a published row: scores in percent by column."""
    share = {column: score / 100 for column, score in scores.items()}
    return make_result(
        cola={"matthews": [share["CoLA"]]},
        sst2={"accuracy": [share["SST-2"]]},
        mrpc={"f1": [share["MRPC"]], "accuracy": [0.8]},
        stsb={"pearson": [share["STS-B"]], "spearman": [0.8]},
        qqp={"f1": [share["QQP"]], "accuracy": [0.9]},
        mnli={"accuracy_matched": [share["MNLI-m"]], "accuracy_mismatched": [share["MNLI-mm"]]},
        qnli={"accuracy": [share["QNLI"]]},
        rte={"accuracy": [share["RTE"]]},
    )


def write(directory, result):
    """Writes `glue.json` and returns its path as str."""
    path = directory / "glue.json"
    path.write_text(json.dumps(result), encoding="utf-8")
    return str(path)
