"""A model as a TensorFlow function of token ids, for LiteRT, which has no strings. Needs TensorFlow."""

import tensorflow as tf

from budgetbert.models import BertBudgetMaskedLM, BertBudgetTextClassifier, BertBudgetTextEmbedder


def token_function(model, batch=None, length=None):
    """Makes a `tf.function` of a model.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`.
        batch: int, or `None` (default) for any.
        length: int, or `None` (default) for any up to the model's positions.

    Returns:
        `tf.function` of int32 tensors `[batch, length]`: `token_ids`, `padding_mask` and `segment_ids`. It returns a
        dict with `logits`: `[batch, num_classes]`, before a classifier's `activation`; `[batch, length, tags]` of a
        token classifier; `[batch, length, 2]` of a question-answering model; or `[batch, length, vocabulary_size]` and,
        of a masked-LM, also `hidden_states` `[batch, length, width]`; of an embedder one with `vector` `[batch,
        width]`.
    """

    def classify(token_ids, padding_mask, segment_ids):
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": segment_ids}
        return {"vector" if isinstance(model, BertBudgetTextEmbedder) else "logits": classifier(inputs, training=False)}

    def encode(token_ids, padding_mask, segment_ids):
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": segment_ids}
        hidden_states = model.backbone(inputs, training=False)
        positions = tf.broadcast_to(tf.range(tf.shape(token_ids)[1]), tf.shape(token_ids))
        return {"hidden_states": hidden_states, "logits": model.head(hidden_states, positions)}

    names = ("token_ids", "padding_mask", "segment_ids")
    specs = [tf.TensorSpec([batch, length], tf.int32, name=name) for name in names]
    classifier = model.without_activation() if isinstance(model, BertBudgetTextClassifier) else model
    function = encode if isinstance(model, BertBudgetMaskedLM) else classify
    return tf.function(function, input_signature=specs, autograph=False)
