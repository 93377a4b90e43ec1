"""What a served model answers, as TensorFlow functions of strings. Needs TensorFlow."""

import keras
import tensorflow as tf

from budgetbert.errors import InputError
from budgetbert.export.answering_signature import answering
from budgetbert.export.packing import pack, pack_apart
from budgetbert.export.tagging_signature import tagging
from budgetbert.export.tokenizer_file import longest_row
from budgetbert.models import (
    BertBudgetMaskedLM,
    BertBudgetQuestionAnswering,
    BertBudgetTextClassifier,
    BertBudgetTextEmbedder,
    BertBudgetTokenClassifier,
)
from budgetbert.models.logits import label_names, problem_type

# `fill_mask` returns so many tokens per mask.
BEST = 5
# The logits of 32 masks over 32,768 tokens are 4 MB a text; a text of nothing but masks would ask for 67 MB.
MAX_MASKS = 32

_TEXTS = ["The weather is lovely today.", "", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich."]


def examples(model):
    """Returns inputs for each signature, as a dict of name to a dict of lists of strings."""
    inputs = dict(zip(_names(model), (_TEXTS, _TEXTS[::-1]), strict=False))
    names = {"serving_default": inputs, "tokenize": inputs}
    if isinstance(model, BertBudgetMaskedLM):
        names["fill_mask"] = {"text": [f"{text} [MASK]" for text in _TEXTS]}
    return names


def endpoints(model, in_scope):
    """Makes the signatures.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`, with a preprocessor.
        in_scope: function without arguments, returns the context in which the model is called.

    Returns:
        Dict of name to `tf.function` of string tensors `[batch]`, which returns a dict of tensors `[batch, ...]`.
    """
    tokenizer, length = model.preprocessor.tokenizer, longest_row(model)
    pack_texts = pack_apart if getattr(model, "apart", False) else pack
    vocabulary = tf.constant([tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size())])

    def tokenize(*texts):
        row = pack_texts(tokenizer, texts, length)
        return {**row, "tokens": tf.gather(vocabulary, row["token_ids"])}

    def classify(*texts):
        with in_scope():
            logits = tf.cast(classifier(pack_texts(tokenizer, texts, length), training=False), tf.float32)
        several, labels = problem_type(model) == "multi_label_classification", label_names(model)
        if model.num_classes == 1:
            return {"score": (to_probabilities(logits) if several else model.activation(logits))[:, 0]}
        named = {"labels": tf.tile([labels], [tf.shape(logits)[0], 1])}
        # Each label has a probability of its own, so no single label is the answer.
        if several:
            return {**named, "probabilities": to_probabilities(logits)}
        return {
            **named,
            "label": tf.gather(labels, tf.argmax(logits, axis=-1)),
            "probabilities": to_probabilities(logits),
        }

    def embed(text):
        row = pack(tokenizer, [text], length)
        with in_scope():
            hidden = tf.cast(model.backbone(row, training=False), tf.float32)
        weights = tf.cast(row["padding_mask"], tf.float32)[:, :, None]
        return {
            "first_token": hidden[:, 0],
            "mean": tf.reduce_sum(hidden * weights, axis=1) / tf.reduce_sum(weights, axis=1),
        }

    def to_vector(text):
        with in_scope():
            return {"vector": model(pack(tokenizer, [text], length), training=False)}

    def fill_mask(text):
        asserted = tf.debugging.assert_positive(tf.size(text), "fill_mask needs at least one text.")
        # The head cannot gather from an empty batch.
        with tf.control_dependencies([asserted]):
            row = pack(tokenizer, [tf.identity(text)], length)
        positions = tf.ragged.boolean_mask(_columns(row["token_ids"]), row["token_ids"] == tokenizer.mask_token_id)
        positions = positions[:, :MAX_MASKS]
        masked = tf.ones_like(positions, tf.bool).to_tensor()
        with in_scope():
            logits = model({**row, "mask_positions": positions.to_tensor()}, training=False)
        # The model's table may be padded beyond the vocabulary: those rows stand for no token.
        probabilities, ids = tf.nn.top_k(tf.nn.softmax(logits[:, :, : vocabulary.shape[0]]), min(BEST, len(vocabulary)))
        masked = masked[:, :, None]
        return {
            "tokens": tf.where(masked, tf.gather(vocabulary, ids), ""),
            "probabilities": tf.where(masked, probabilities, 0.0),
        }

    if isinstance(model, BertBudgetTextClassifier):
        classifier, to_probabilities = model.without_activation(), _to_probabilities(model)
        functions = {"serving_default": classify}
    elif isinstance(model, BertBudgetTokenClassifier):
        functions = {"serving_default": tagging(model, in_scope)}
    elif isinstance(model, BertBudgetQuestionAnswering):
        functions = {"serving_default": answering(model, in_scope)}
    elif isinstance(model, BertBudgetTextEmbedder):
        functions = {"serving_default": to_vector}
    else:
        functions = {"serving_default": embed, "fill_mask": fill_mask}
    functions["tokenize"] = tokenize
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in _names(model)]
    return {name: tf.function(f, input_signature=specs, autograph=False) for name, f in functions.items()}


def _names(model):
    """Returns what the texts are called that a model reads (tuple of str)."""
    if isinstance(model, BertBudgetQuestionAnswering):
        return "question", "context"
    return ("text_a", "text_b") if getattr(model, "pair", False) else ("text",)


def _to_probabilities(model):
    """Returns the function from a classifier's logits to the probabilities of its classes."""
    if problem_type(model) == "multi_label_classification":
        return keras.activations.sigmoid
    if model.num_classes > 1 and model.activation not in (keras.activations.linear, keras.activations.softmax):
        name = getattr(model.activation, "__name__", model.activation)
        raise InputError(
            f"The classifier's activation {name!r} gives no probabilities to serve: make it with activation=None, "
            "'softmax' or 'sigmoid'."
        )
    return keras.activations.softmax


def _columns(rows):
    """Returns the column number of each entry of a matrix."""
    return tf.broadcast_to(tf.range(tf.shape(rows)[1]), tf.shape(rows))
