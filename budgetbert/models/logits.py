"""What the logits of a classifier mean, which its activation or its loss tells."""

import keras

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTokenClassifier

_BINARY = {"BinaryCrossentropy", "binary_crossentropy", "BinaryFocalCrossentropy", "binary_focal_crossentropy"}


def is_binary(loss):
    """Whether a loss judges each logit by itself.

    Args:
        loss: `keras.losses.Loss`, function, name or serialised loss, as `compile` takes or a `.keras` file holds it.
    """
    if isinstance(loss, dict):
        loss = loss.get("class_name") if loss.get("class_name") != "function" else loss.get("config")
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    return name in _BINARY


def problem_type(model):
    """Returns the problem of a classifier in the words of `transformers`; `None` for another task.

    Returns:
        `"multi_label_classification"`, where each logit's sigmoid is the probability of its label, if that is its
        activation or the model was compiled with a binary cross-entropy; else `"regression"` for one logit and
        `"single_label_classification"` for more.
    """
    if not isinstance(model, BertBudgetTextClassifier):
        return None
    if model.activation is keras.activations.sigmoid or is_binary(getattr(model, "loss", None)):
        return "multi_label_classification"
    return "regression" if model.num_classes == 1 else "single_label_classification"


def label_names(model):
    """Returns the names of classes or tags, "0", "1" ... without any; `None` of a model that has none."""
    if isinstance(model, BertBudgetTokenClassifier):
        return list(model.label_names)
    if problem_type(model) in (None, "regression"):
        return None
    return model.label_names or [str(index) for index in range(model.num_classes)]
