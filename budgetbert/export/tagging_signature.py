"""What a served token classifier answers: the entities of strings, with their places. Needs TensorFlow."""

import tensorflow as tf

from budgetbert.export.packing import pack_tokens
from budgetbert.tokenization.tags import OUTSIDE


def tagging(model, in_scope):
    """Makes the function that finds entities, as `BertBudgetTokenClassifier.predict` does for strings.

    Args:
        model: `BertBudgetTokenClassifier` with a preprocessor.
        in_scope: function without arguments, returns the context in which the model is called.

    Returns:
        Function of a string tensor `[batch]` that returns a dict of tensors `[batch, most entities of a text]`:
        `starts` and `ends`, int32, in code points, -1 where there is no further entity; `labels` and `texts`, strings,
        there empty; `scores`, float32, there 0; and `truncated`, bool `[batch]`: whether a text was longer than the
        model reads, so that its rest was left aside.
    """
    tokenizer, room = model.preprocessor.tokenizer, model.backbone.max_sequence_length - 2
    scheme = model.scheme
    begins = tf.constant(scheme.starts)
    types, is_outside = tf.constant(scheme.types), tf.constant([name == OUTSIDE for name in model.label_names])

    def tag(text):
        text = tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")
        pieces = tokenizer.tokenize_with_offsets(text)
        truncated = pieces.ids.row_lengths() > room
        ids, starts, ends, numbers = (part[:, :room] for part in pieces)
        row = pack_tokens(tokenizer, [ids])
        with in_scope():
            logits = tf.cast(model(row, training=False), tf.float32)
        # A word is judged by its first piece, behind [CLS].
        rows, columns = tf.cast(ids.value_rowids(), tf.int32), tf.ragged.range(ids.row_lengths()).flat_values
        is_first = (columns == 0) | (numbers.flat_values != tf.roll(numbers.flat_values, 1, 0))
        first = tf.where(is_first)[:, 0]
        last = tf.concat([first[1:], [tf.size(columns, tf.int64)]], 0)[: tf.size(first)] - 1
        rows, columns = tf.gather(rows, first), tf.cast(tf.gather(columns, first), tf.int32)
        probabilities = tf.nn.softmax(tf.gather_nd(logits, tf.stack([rows, columns + 1], 1)))
        tags = tf.argmax(probabilities, -1, tf.int32)
        # The last row of the table is for the first word of a text.
        before = tf.where(columns == 0, len(model.label_names), tf.roll(tags, 1, 0))
        starting = tf.gather_nd(begins, tf.stack([before, tags], 1))
        entity, count = tf.cumsum(tf.cast(starting, tf.int32)) - 1, tf.reduce_sum(tf.cast(starting, tf.int32))
        inside = ~tf.gather(is_outside, tags)
        found, of_entity = tf.where(starting)[:, 0], tf.boolean_mask(entity, inside)
        word_ends = tf.boolean_mask(tf.gather(ends.flat_values, last), inside)
        certain = tf.boolean_mask(tf.reduce_max(probabilities, -1), inside)
        rows = tf.gather(rows, found)
        entity_starts = tf.gather(tf.gather(starts.flat_values, first), found)
        entity_ends = tf.math.unsorted_segment_max(word_ends, of_entity, count)
        whole = tf.gather(text, rows)

        def dense(values, default):
            values = tf.RaggedTensor.from_value_rowids(values, tf.cast(rows, tf.int64), nrows=tf.size(text, tf.int64))
            return values.to_tensor(default)

        return {
            "starts": dense(entity_starts, -1),
            "ends": dense(entity_ends, -1),
            "labels": dense(tf.gather(types, tf.gather(tags, found)), ""),
            "texts": dense(tf.strings.substr(whole, entity_starts, entity_ends - entity_starts, "UTF8_CHAR"), ""),
            "scores": dense(tf.math.unsorted_segment_mean(certain, of_entity, count), 0.0),
            "truncated": truncated,
        }

    return tag
