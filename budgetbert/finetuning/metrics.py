"""Metrics from predictions and labels: the official ones of GLUE, and those of labelled files. Imports no Keras."""

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


def _averaged(average):
    def value(labels, predictions):
        return float(sklearn_metrics.f1_score(labels, predictions, average=average, zero_division=0))

    return value


# Functions of labels and predictions, both arrays; the positive class of F1 is the second. `exact_match` is the share
# of the texts of which each of several labels is right.
METRICS = {
    "accuracy": lambda labels, predictions: float(np.mean(np.equal(labels, predictions))),
    "f1": lambda labels, predictions: float(sklearn_metrics.f1_score(labels, predictions, zero_division=0)),
    "f1_macro": _averaged("macro"),
    "f1_micro": _averaged("micro"),
    "exact_match": lambda labels, predictions: float(np.mean(np.equal(labels, predictions).all(axis=-1))),
    "mean_absolute_error": lambda labels, predictions: float(np.mean(np.abs(labels - predictions))),
    "matthews": lambda labels, predictions: float(sklearn_metrics.matthews_corrcoef(labels, predictions)),
    "pearson": functools.partial(_correlation, stats.pearsonr),
    "spearman": functools.partial(_correlation, stats.spearmanr),
}


def predictions_of(logits, several=False):
    """Returns what logits predict: the class, or, with one logit, the score.

    Args:
        logits: float array (examples, classes).
        several: bool. Whether each logit is one of several labels' own. Defaults to `False`.

    Returns:
        int or float array (examples,), or, of several labels, int array (examples, classes) of 0 and 1.
    """
    if several:
        return (logits > 0).astype("int32")
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def score(task, labels, predictions):
    """Returns the metrics of a task as dict of float in [0, 1] or [-1, 1].

    Args:
        task: `Task`.
        labels: int array of classes, or float array of scores.
        predictions: the same.
    """
    return {name: METRICS[name](labels, predictions) for name in task.metrics}


def majority(task, labels):
    """Returns the metrics of always predicting the most frequent class, the mean score, or, of several labels,
    those that most texts have; arguments as `score`."""
    if task.several:
        usual = labels.mean(axis=0) >= 0.5
    else:
        usual = np.bincount(labels).argmax() if task.labels else labels.mean()
    return score(task, labels, np.full_like(labels, usual))


def failed(task, labels, predictions):
    """Returns in which way a model learned nothing, as a phrase, or `None`.

    It did where it predicts one class (or one score) throughout, or where its accuracy, or for CoLA its Matthews
    correlation and for STS-B its Pearson correlation, is not above what the most frequent class gives.
    """
    if np.ptp(predictions, axis=0).max() < 1e-6:
        return "predicts the same throughout"
    metric = "accuracy" if "accuracy" in task.metrics else task.metrics[0]
    found, chance = METRICS[metric](labels, predictions), majority_of(task, labels, metric)
    return None if found > chance else f"{metric} {found:.3f}, no better than the most frequent class ({chance:.3f})"


def majority_of(task, labels, metric):
    """Returns one metric (float) of always predicting the most frequent class."""
    return majority(task, labels).get(metric, 0.0)
