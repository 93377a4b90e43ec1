"""What a finetuned model is right and wrong about: by class, by confidence, and text by text."""

import collections

import keras
import numpy as np
from sklearn.metrics import precision_recall_fscore_support

from budgetbert.finetuning import metrics
from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.finetuning.heads import TextHead, logits_of
from budgetbert.finetuning.labelled.baselines import baselines
from budgetbert.models.logits import problem_type

BINS = 10
_ERRORS, _CONFUSIONS = 20, 20
# So many classes fit into a matrix that can be read.
_MATRIX = 20


def probabilities_of(model, logits):
    """Returns what the logits of a classifier mean: probabilities (examples, classes), or, of one logit, the scores.

    Args:
        model: `BertBudgetTextClassifier`.
        logits: float array (examples, classes).
    """
    if model.activation is not keras.activations.linear:
        return logits
    if problem_type(model) == "multi_label_classification":
        return 1 / (1 + np.exp(-logits))
    if model.num_classes == 1:
        return logits
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


class JudgedTextHead(TextHead):
    """A `TextHead` that says what a finished model is right and wrong about, beside what costs nothing."""

    def baselines(self, examples, pretrained):
        """Returns the metrics of the majority and of a linear model, see `baselines.baselines`."""
        return baselines(self.task, examples)

    def report(self, model, examples):
        """Judges a finished model.

        Args:
            model: `BertBudgetTextClassifier`, which gives logits, of scores in the units of the file.
            examples: `Examples`.

        Returns:
            dict of `metrics`, `classes`, `calibration`, `confusion` and `errors`, as far as they are there for the
            task.
        """
        return _report(model, self.task, examples)


def _report(model, task, examples):
    preprocessor = model.preprocessor
    encoded = EncodedExamples(examples, preprocessor.tokenizer, preprocessor.sequence_length, model.apart)
    logits = logits_of(model, judging_batches(encoded), len(encoded))
    predicted = metrics.predictions_of(logits, task.several)
    found = {"metrics": metrics.score(task, examples.labels, predicted)}
    if task.scale:
        return {**found, "errors": _largest_errors(examples, predicted)}
    probabilities = probabilities_of(model, logits)
    found["classes"] = _by_class(task, examples.labels, predicted)
    if task.several:
        says = np.where(predicted == 1, probabilities, 1 - probabilities)
        right = predicted == examples.labels
        found["calibration"] = calibration(says.ravel(), right.ravel())
        # A text is as wrong as its most wrong label.
        says = np.where(right, 0, says).max(axis=1)
        names = [[task.labels[number] for number in np.flatnonzero(row)] for row in (*examples.labels, *predicted)]
        right = right.all(axis=1)
        names = [", ".join(several) or "none" for several in names]
    else:
        says, right = probabilities.max(axis=1), predicted == examples.labels
        found["calibration"] = calibration(says, right)
        found["confusion"] = _confusion(task, examples.labels, predicted)
        names = [task.labels[number] for number in (*examples.labels, *predicted)]
    found["errors"] = [
        {
            "texts": [column[row] for column in examples.texts],
            "label": names[row],
            "predicted": names[len(examples) + row],
            "probability": float(says[row]),
        }
        for row in np.argsort(-says, kind="stable")
        if not right[row]
    ][:_ERRORS]
    return found


def calibration(says, right):
    """Returns how far a model's confidence is to be believed.

    Args:
        says: float array. The probability that it gives what it predicts.
        right: bool array. Whether that is so.

    Returns:
        dict of `bins`, list of dict of `confidence` and `accuracy` (means, float) and `count` (int) of those of ten
        equal ranges of confidence that hold any, and `error` (float), the mean of their differences, each weighted with
        its count (Guo et al. 2017, expected calibration error).
    """
    places = np.minimum((says * BINS).astype(int), BINS - 1)
    bins = [
        {"confidence": float(says[chosen].mean()), "accuracy": float(right[chosen].mean()), "count": int(chosen.sum())}
        for chosen in (places == number for number in range(BINS))
        if chosen.any()
    ]
    error = sum(part["count"] * abs(part["confidence"] - part["accuracy"]) for part in bins) / says.size
    return {"bins": bins, "error": error}


def _by_class(task, labels, predicted):
    numbers = range(len(task.labels))
    of_classes = precision_recall_fscore_support(labels, predicted, labels=list(numbers), zero_division=0)
    return [
        {
            "name": task.labels[n],
            **dict(zip(("precision", "recall", "f1"), map(float, values), strict=True)),
            "count": c,
        }
        for n, *values, c in zip(numbers, *of_classes[:3], map(int, of_classes[3]), strict=True)
    ]


def _confusion(task, labels, predicted):
    """Returns the matrix (list of list of int, a row for each true class) of few classes, and the frequent mistakes."""
    mistakes = collections.Counter(
        (int(label), int(said)) for label, said in zip(labels, predicted, strict=True) if label != said
    )
    found = {
        "mistakes": [
            {"label": task.labels[label], "predicted": task.labels[said], "count": count}
            for (label, said), count in mistakes.most_common(_CONFUSIONS)
        ]
    }
    classes = len(task.labels)
    if classes <= _MATRIX:
        matrix = np.zeros((classes, classes), int)
        np.add.at(matrix, (labels, predicted), 1)
        found["matrix"] = matrix.tolist()
    return found


def _largest_errors(examples, predicted):
    return [
        {
            "texts": [column[row] for column in examples.texts],
            "label": float(examples.labels[row]),
            "predicted": float(predicted[row]),
        }
        for row in np.argsort(-np.abs(predicted - examples.labels), kind="stable")[:_ERRORS]
    ]
