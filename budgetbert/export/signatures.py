"""What a served model answers, as TensorFlow functions of strings. Needs TensorFlow."""

import tensorflow as tf
import tensorflow_text as tf_text

from budgetbert.models import BertBudgetTextClassifier

BEST = 5  # tokens that fill_mask returns per mask
# The logits of 32 masks over 32,768 tokens are 4 MB a text; a text of nothing but masks would ask for 67 MB.
MAX_MASKS = 32

_TEXTS = ["The weather is lovely today.", "", "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich."]


def label_names(model):
    """The names of a classifier's classes, "0", "1" ... if it has none; `None` for regression and masked-LM."""
    if not isinstance(model, BertBudgetTextClassifier) or model.num_classes == 1:
        return None
    return model.label_names or [str(index) for index in range(model.num_classes)]


def examples(model):
    """Inputs for each signature, as a dict of name to a dict of lists of strings."""
    inputs = {"text_a": _TEXTS, "text_b": _TEXTS[::-1]} if getattr(model, "pair", False) else {"text": _TEXTS}
    names = {"serving_default": inputs, "tokenize": inputs}
    if not isinstance(model, BertBudgetTextClassifier):
        names["fill_mask"] = {"text": [f"{text} [MASK]" for text in _TEXTS]}
    return names


def endpoints(model, in_scope):
    """The signatures.

    Args:
        model: `BertBudgetTextClassifier` or `BertBudgetMaskedLM` with a preprocessor.
        in_scope: function without arguments, returns the context in which the model is called.

    Returns:
        Dict of name to `tf.function` of string tensors `[batch]`, which returns a dict of tensors `[batch, ...]`.
    """
    tokenizer, length = model.preprocessor.tokenizer, model.backbone.max_sequence_length
    vocabulary = tf.constant([tokenizer.id_to_token(i) for i in range(tokenizer.vocabulary_size())])

    def tokenize(*texts):
        row = pack(tokenizer, texts, length)
        return {**row, "tokens": tf.gather(vocabulary, row["token_ids"])}

    def classify(*texts):
        with in_scope():
            logits = tf.cast(model(pack(tokenizer, texts, length), training=False), tf.float32)
        labels = label_names(model)
        if labels is None:
            return {"score": logits[:, 0]}
        return {
            "label": tf.gather(labels, tf.argmax(logits, axis=-1)),
            "labels": tf.tile([labels], [tf.shape(logits)[0], 1]),
            "probabilities": tf.nn.softmax(logits),
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

    def fill_mask(text):
        asserted = tf.debugging.assert_positive(tf.size(text), "fill_mask needs at least one text.")
        with tf.control_dependencies([asserted]):  # the head cannot gather from no rows
            row = pack(tokenizer, [tf.identity(text)], length)
        positions = tf.ragged.boolean_mask(_columns(row["token_ids"]), row["token_ids"] == tokenizer.mask_token_id)
        positions = positions[:, :MAX_MASKS]
        masked = tf.ones_like(positions, tf.bool).to_tensor()
        with in_scope():
            logits = model({**row, "mask_positions": positions.to_tensor()}, training=False)
        # the model's table may be padded beyond the vocabulary: those rows stand for nothing
        probabilities, ids = tf.nn.top_k(tf.nn.softmax(logits[:, :, : vocabulary.shape[0]]), min(BEST, len(vocabulary)))
        masked = masked[:, :, None]
        return {
            "tokens": tf.where(masked, tf.gather(vocabulary, ids), ""),
            "probabilities": tf.where(masked, probabilities, 0.0),
        }

    if isinstance(model, BertBudgetTextClassifier):
        functions, names = {"serving_default": classify}, ("text_a", "text_b") if model.pair else ("text",)
    else:
        functions, names = {"serving_default": embed, "fill_mask": fill_mask}, ("text",)
    functions["tokenize"] = tokenize
    specs = [tf.TensorSpec([None], tf.string, name=name) for name in names]
    return {name: tf.function(f, input_signature=specs, autograph=False) for name, f in functions.items()}


def pack(tokenizer, texts, length):
    """`[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, no longer than the longest row of the batch.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        texts: list of one or two string tensors `[batch]`. Bytes that are not UTF-8 are read as spaces.
        length: int. Longer rows are cut; of two texts the longer one first.

    Returns:
        Dict of int32 tensors `[batch, row length]`: `token_ids`, `padding_mask` and `segment_ids`.
    """
    if len(texts) == 2:  # the trimmer ends the whole process if their numbers differ
        message = "text_a and text_b must have the same number of texts."
        asserted = tf.debugging.assert_equal(tf.size(texts[0]), tf.size(texts[1]), message)
        with tf.control_dependencies([asserted]):
            texts = [tf.identity(text) for text in texts]
    texts = [tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace") for text in texts]
    tokens = [tokenizer.tokenize(text) for text in texts]
    tokens = tf_text.RoundRobinTrimmer(length - len(texts) - 1).trim(tokens)
    token_ids, segment_ids = tf_text.combine_segments(tokens, tokenizer.cls_token_id, tokenizer.sep_token_id)
    # an empty batch has no longest row, and the model a first token
    shape = tf.stack([-1, tf.maximum(token_ids.bounding_shape(axis=1), len(texts) + 1)])
    return {
        "token_ids": tf.cast(token_ids, tf.int32).to_tensor(tokenizer.pad_token_id, shape=shape),
        "padding_mask": tf.ones_like(token_ids, tf.int32).to_tensor(shape=shape),
        "segment_ids": tf.cast(segment_ids, tf.int32).to_tensor(shape=shape),
    }


def _columns(rows):
    """The column number of each entry of a matrix."""
    return tf.broadcast_to(tf.range(tf.shape(rows)[1]), tf.shape(rows))
