"""Strings and token ids as rows of a model, in a TensorFlow graph. Needs TensorFlow."""

import tensorflow as tf
import tensorflow_text as tf_text

_UNEQUAL = "Both inputs must have the same number of texts."


def pack(tokenizer, texts, length):
    """Returns `[CLS] a [SEP]` or `[CLS] a [SEP] b [SEP]`, no longer than the longest row of the batch.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        texts: list of one or two string tensors `[batch]`. Bytes that are not UTF-8 are read as spaces.
        length: int. Longer rows are cut; of two texts the longer one first.

    Returns:
        Dict of int32 tensors `[batch, row length]`: `token_ids`, `padding_mask` and `segment_ids`.
    """
    if len(texts) == 2:
        asserted = tf.debugging.assert_equal(tf.size(texts[0]), tf.size(texts[1]), _UNEQUAL)
        with tf.control_dependencies([asserted]):
            texts = [tf.identity(text) for text in texts]
    tokens = [tokenizer.tokenize(text) for text in texts]
    return pack_tokens(tokenizer, _trim(tokens, length - len(texts) - 1))


def pack_apart(tokenizer, texts, length):
    """Returns each of two texts in a row of its own, all as long as the longest of the batch; arguments as `pack`.

    Returns:
        Dict of int32 tensors `[batch, 2, row length]`, as `pack`.
    """
    asserted = tf.debugging.assert_equal(tf.size(texts[0]), tf.size(texts[1]), _UNEQUAL)
    with tf.control_dependencies([asserted]):
        rows = pack(tokenizer, [tf.reshape(tf.stack(texts, axis=1), [-1])], length)
    return {name: tf.reshape(row, [tf.size(texts[0]), 2, tf.shape(row)[1]]) for name, row in rows.items()}


def pack_tokens(tokenizer, tokens):
    """Returns the same of ragged tensors `[batch, (tokens)]` of ids that are no longer than a row together.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        tokens: list of one or two int ragged tensors.
    """
    token_ids, segment_ids = tf_text.combine_segments(tokens, tokenizer.cls_token_id, tokenizer.sep_token_id)
    # An empty batch has no longest row, but the model needs a first token.
    shape = tf.stack([-1, tf.maximum(token_ids.bounding_shape(axis=1), len(tokens) + 1)])
    return {
        "token_ids": tf.cast(token_ids, tf.int32).to_tensor(tokenizer.pad_token_id, shape=shape),
        "padding_mask": tf.ones_like(token_ids, tf.int32).to_tensor(shape=shape),
        "segment_ids": tf.cast(segment_ids, tf.int32).to_tensor(shape=shape),
    }


def _trim(tokens, budget):
    """Cuts the rows of one or two ragged tensors `[batch, (tokens)]` to `budget` together, of two the longer one first.

    This is what KerasHub's packer and `RoundRobinTrimmer` of TensorFlow Text do. The trimmer's own operation is known
    to TensorFlow Serving from 2.20 (April 2026) alone.
    """
    lengths = [rows.row_lengths() for rows in tokens]
    if len(tokens) == 1:
        kept = [tf.minimum(lengths[0], budget)]
    else:
        first, second = lengths
        kept = [
            tf.minimum(first, tf.maximum(budget - second, (budget + 1) // 2)),
            tf.minimum(second, tf.maximum(budget - first, budget // 2)),
        ]
    starts = [rows.row_starts() for rows in tokens]
    return [
        tf.gather(rows.values, tf.ragged.range(start, start + number))
        for rows, start, number in zip(tokens, starts, kept, strict=True)
    ]
