"""The official metrics of GLUE, from predictions and labels. Imports no Keras."""

import functools
import math
import warnings

import numpy as np
from scipy import stats
from sklearn import metrics as sklearn_metrics


def _correlation(function, labels, predictions):
    with warnings.catch_warnings():
        # Constant predictions have no correlation, of which SciPy warns.
        warnings.simplefilter("ignore")
        value = float(function(labels, predictions).statistic)
    return 0.0 if math.isnan(value) else value


# Functions of labels and predictions, both arrays; the positive class of F1 is the second.
METRICS = {
    "accuracy": lambda labels, predictions: float(np.mean(np.equal(labels, predictions))),
    "f1": lambda labels, predictions: float(sklearn_metrics.f1_score(labels, predictions, zero_division=0)),
    "matthews": lambda labels, predictions: float(sklearn_metrics.matthews_corrcoef(labels, predictions)),
    "pearson": functools.partial(_correlation, stats.pearsonr),
    "spearman": functools.partial(_correlation, stats.spearmanr),
}


def predictions_of(logits):
    """Returns what logits predict: the class, or, with one logit, the score.

    Args:
        logits: float array (examples, classes).

    Returns:
        int or float array (examples,).
    """
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def score(task, labels, predictions, suffix=""):
    """Returns the metrics of a task as dict of float in [0, 1] or [-1, 1].

    Args:
        task: `Task`.
        labels: int array of classes, or float array of scores.
        predictions: the same.
        suffix: str. Added to the names. Defaults to none.
    """
    return {name + suffix: METRICS[name](labels, predictions) for name in task.metrics}


def majority(task, labels, suffix=""):
    """Returns the metrics of always predicting the most frequent class, or the mean score; arguments as `score`."""
    usual = np.bincount(labels).argmax() if task.labels else labels.mean()
    return score(task, labels, np.full_like(labels, usual), suffix)


def failed(task, labels, predictions):
    """Returns in which way a model learned nothing, as a phrase, or `None`.

    It did where it predicts one class (or one score) throughout, or where its accuracy, or for CoLA its Matthews
    correlation and for STS-B its Pearson correlation, is not above what the most frequent class gives.
    """
    if np.ptp(predictions) < 1e-6:
        return "predicts the same throughout"
    metric = "accuracy" if "accuracy" in task.metrics else task.metrics[0]
    found, chance = METRICS[metric](labels, predictions), majority_of(task, labels, metric)
    return None if found > chance else f"{metric} {found:.3f}, no better than the most frequent class ({chance:.3f})"


def majority_of(task, labels, metric):
    """Returns one metric (float) of always predicting the most frequent class."""
    return majority(task, labels).get(metric, 0.0)
