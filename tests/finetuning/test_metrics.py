"""GLUE's metrics against their formulae, and what counts as having learned nothing."""

import numpy as np
import pytest

from budgetbert.finetuning import metrics
from budgetbert.finetuning.tasks import TASKS

pytestmark = pytest.mark.without_backend

LABELS = np.array([1, 1, 1, 0, 0, 1, 0, 1])
PREDICTED = np.array([1, 0, 1, 0, 1, 1, 0, 1])


def counts():
    hit = PREDICTED == LABELS
    return (
        np.sum(hit & (LABELS == 1)),
        np.sum(hit & (LABELS == 0)),
        np.sum(~hit & (LABELS == 0)),
        np.sum(~hit & (LABELS == 1)),
    )


def test_classification_metrics_are_those_of_the_confusion_matrix():
    tp, tn, fp, fn = counts()
    assert metrics.METRICS["accuracy"](LABELS, PREDICTED) == pytest.approx((tp + tn) / 8)
    assert metrics.METRICS["f1"](LABELS, PREDICTED) == pytest.approx(2 * tp / (2 * tp + fp + fn))
    denominator = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert metrics.METRICS["matthews"](LABELS, PREDICTED) == pytest.approx((tp * tn - fp * fn) / denominator)


def test_correlations_are_those_of_values_and_ranks():
    labels, scores = np.array([0.0, 1.0, 2.5, 4.0, 5.0]), np.array([0.1, 0.3, 0.2, 3.0, 9.0])
    pearson = np.corrcoef(labels, scores)[0, 1]
    ranks = np.corrcoef(np.arange(5), np.array([0, 2, 1, 3, 4]))[0, 1]
    assert metrics.score(TASKS["stsb"], labels, scores) == pytest.approx({"pearson": pearson, "spearman": ranks})


def test_constant_scores_correlate_with_nothing():
    labels = np.array([0.0, 1.0, 2.0], np.float32)
    assert metrics.score(TASKS["stsb"], labels, np.full(3, 2.0, np.float32)) == {"pearson": 0.0, "spearman": 0.0}


def test_one_logit_is_a_score_and_several_are_classes():
    np.testing.assert_array_equal(metrics.predictions_of(np.array([[0.5], [2.0]])), [0.5, 2.0])
    np.testing.assert_array_equal(metrics.predictions_of(np.array([[0.5, 1.0], [2.0, 1.0]])), [1, 0])


def test_mnli_is_one_task_with_two_development_sets():
    task = TASKS["mnli"]
    assert [split.suffix for split in task.dev] == ["_matched", "_mismatched"]
    assert task.metric == "accuracy_matched"


@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "rte"])
def test_predicting_one_class_throughout_is_failing(name):
    assert metrics.failed(TASKS[name], LABELS, np.ones_like(LABELS)) == "predicts the same throughout"
    assert metrics.failed(TASKS[name], LABELS, PREDICTED) is None


def test_no_better_than_the_most_frequent_class_is_failing():
    predicted = LABELS.copy()
    predicted[:3] = 0
    assert "no better than the most frequent class (0.625)" in metrics.failed(TASKS["rte"], LABELS, predicted)


def test_the_majority_of_mrpc_has_an_f1_that_proves_little():
    labels = np.array([1] * 279 + [0] * 129)  # the development set's
    assert metrics.majority(TASKS["mrpc"], labels) == pytest.approx({"f1": 0.8122, "accuracy": 0.6838}, abs=1e-4)
