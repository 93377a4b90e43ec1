"""The heads of our tasks as the configs of Hugging Face say them: names of labels, dropout, the kind of problem."""

import keras

from budgetbert.errors import InputError
from budgetbert.models import (
    BertBudgetMaskedLM,
    BertBudgetQuestionAnswering,
    BertBudgetTextClassifier,
    BertBudgetTextEmbedder,
    BertBudgetTokenClassifier,
)
from budgetbert.models.logits import problem_type

# What the classes of Transformers are called behind the name of the architecture, and the tasks that they are here.
TASKS = {
    "ForMaskedLM": BertBudgetMaskedLM,
    "ForSequenceClassification": BertBudgetTextClassifier,
    "ForTokenClassification": BertBudgetTokenClassifier,
    "ForQuestionAnswering": BertBudgetQuestionAnswering,
    "Model": BertBudgetTextEmbedder,
}
# What a Hugging Face config says of our question-answering model and does not of others.
_OF_ANSWERS = ("no_answer_threshold", "max_answer_length")


def task_name(model):
    """Returns what the classes of Transformers that do what `model` does are called, as "ForMaskedLM"."""
    return next(name for name, task in TASKS.items() if isinstance(model, task))


def auto_class(task):
    """Returns the `Auto...` class of Transformers (str) for a key of `TASKS`; that of an encoder is "AutoModel"."""
    return f"AutoModel{task.removeprefix('Model')}"


def head_config(model):
    """Returns the entries of a Hugging Face config that say what a classifier's logits mean, none of others."""
    if isinstance(model, (BertBudgetMaskedLM, BertBudgetTextEmbedder)):
        return {}
    if isinstance(model, BertBudgetQuestionAnswering):
        length = model.preprocessor.sequence_length if model.preprocessor else None
        return {**{name: getattr(model, name) for name in _OF_ANSWERS}, "sequence_length": length}
    if isinstance(model, BertBudgetTokenClassifier):
        return {**_names_config(model.label_names), "classifier_dropout": model.dropout}
    if model.activation not in (keras.activations.linear, keras.activations.softmax, keras.activations.sigmoid):
        raise InputError(
            f"Transformers and ONNX cannot apply the classifier's activation "
            f"{getattr(model.activation, '__name__', model.activation)!r}: make it with activation=None, 'softmax' or "
            "'sigmoid'."
        )
    if model.apart or model.pooling != "first":
        read = "two texts apart" if model.apart else "the mean over the tokens"
        raise InputError(
            f"Transformers' classifiers read the first token of one row, and this one reads {read}: export it with "
            "--format serving, or finetune with --pairs together."
        )
    names = model.label_names or [f"LABEL_{index}" for index in range(model.num_classes)]
    return {
        **_names_config(names),
        "problem_type": problem_type(model),
        "classifier_dropout": model.dropout,
        "pair": model.pair,
    }


def _names_config(names):
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def make_tagger(encoder, config, preprocessor):
    """Makes a `BertBudgetTokenClassifier` with the tags and the dropout that a Hugging Face config has."""
    labels = [config.id2label[index] for index in range(config.num_labels)]
    dropout = getattr(config, "classifier_dropout", None)  # Megatron-BERT has none.
    dropout = config.hidden_dropout_prob if dropout is None else dropout
    return BertBudgetTokenClassifier(encoder, labels, preprocessor, dropout=dropout)


def make_answerer(encoder, config, preprocessor):
    """Makes a `BertBudgetQuestionAnswering` with what a Hugging Face config of ours says of answers."""
    options = {name: getattr(config, name) for name in _OF_ANSWERS if hasattr(config, name)}
    return BertBudgetQuestionAnswering(encoder, preprocessor, **options)


def make_classifier(encoder, config, **kwargs):
    """Makes a `BertBudgetTextClassifier` with the classes, dropout and loss that a Hugging Face config has.

    Names as LABEL_0, which `transformers` gives to classes without any, are none.

    Args:
        encoder: `BertBudget`.
        config: `transformers.PretrainedConfig`.
        **kwargs: further arguments of `BertBudgetTextClassifier`.
    """
    labels = [config.id2label[index] for index in range(config.num_labels)]
    named = labels != [f"LABEL_{index}" for index in range(config.num_labels)]
    dropout = getattr(config, "classifier_dropout", None)  # Megatron-BERT has none.
    model = BertBudgetTextClassifier(
        encoder,
        config.num_labels,
        label_names=labels if named else None,
        dropout=config.hidden_dropout_prob if dropout is None else dropout,
        **kwargs,
    )
    if config.problem_type == "multi_label_classification":
        model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    return model
