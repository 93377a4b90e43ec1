"""What a served question-answering model answers: a part of the context, with its place. Needs TensorFlow."""

import tensorflow as tf

from budgetbert.export.packing import pack_tokens

# So many rows are computed at once, so that a long document does not ask for the memory of them all.
_ROWS = 64
_NEVER = float("-inf")


def answering(model, in_scope):
    """Makes the function that answers questions, as `BertBudgetQuestionAnswering.predict` does.

    Args:
        model: `BertBudgetQuestionAnswering` with a preprocessor.
        in_scope: function without arguments, returns the context in which the model is called.

    Returns:
        Function of two string tensors `[batch]`, questions and contexts, that returns a dict of tensors `[batch]`:
        `text`, strings; `start` and `end`, int32, in code points of the context; and `score`, float32. Of no answer
        `text` is empty, and `start` and `end` are -1. A context of any length is read, in rows that overlap.
    """
    preprocessor, longest = model.preprocessor, model.max_answer_length
    tokenizer, length = preprocessor.tokenizer, preprocessor.sequence_length
    threshold = float("inf") if model.no_answer_threshold is None else model.no_answer_threshold

    def answer(question, context):
        message = "question and context must have the same number of texts."
        with tf.control_dependencies([tf.debugging.assert_equal(tf.size(question), tf.size(context), message)]):
            context = tf.strings.unicode_transcode(context, "UTF-8", "UTF-8", errors="replace")
        asked = tokenizer.tokenize(question)[:, : preprocessor.question_length]
        pieces = tokenizer.tokenize_with_offsets(context)
        rows = _rows(asked, pieces, length)
        packed = pack_tokens(tokenizer, [tf.gather(asked, rows["examples"]), rows["pieces"]])
        logits = _in_parts(packed, model, in_scope)
        found = _best(rows, logits, longest)
        # The rows of an example stand together.
        best = _by_example(found["best"], rows["windows"], _NEVER)
        none = _by_example(found["none"], rows["windows"], float("inf"))
        first_row = tf.cumsum(rows["windows"], exclusive=True)
        of_best = first_row + tf.argmax(best, axis=1, output_type=tf.int32)
        of_none = first_row + tf.argmin(none, axis=1, output_type=tf.int32)
        best, none = tf.gather(found["best"], of_best), tf.gather(found["none"], of_none)
        is_none = ~tf.math.is_finite(best) | (none - best > threshold)
        # Behind the last piece stands what is said of no answer.
        count = tf.size(pieces.ids.flat_values)
        first, last = (tf.where(is_none, count, tf.gather(found[name], of_best)) for name in ("first", "last"))
        start = tf.gather(tf.concat([pieces.starts.flat_values, [-1]], 0), first)
        end = tf.gather(tf.concat([pieces.ends.flat_values, [-1]], 0), last)
        scores = tf.where(
            is_none, none - tf.gather(found["log_sums"], of_none), best - tf.gather(found["log_sums"], of_best)
        )
        return {
            "text": tf.strings.substr(context, tf.maximum(start, 0), end - start, "UTF8_CHAR"),
            "start": start,
            "end": end,
            "score": tf.exp(scores),
        }

    return answer


def _rows(asked, pieces, length):
    """Returns the windows of contexts as `BertBudgetQuestionAnsweringPreprocessor.rows_of` makes them.

    Args:
        asked: int32 ragged tensor `[batch, (pieces)]`, of the questions.
        pieces: `Pieces` of the contexts.
        length: int, the tokens of a row.

    Returns:
        Dict of `windows`, int32 `[batch]`, how many each context has; and of each row, int32 `[rows]`: `examples`,
        `numbers`, the window's number in its context; `columns`, of the first piece of the context; `firsts`, the place
        of that piece in it; `counts`, pieces of the context; `quarters` and `strides` of its windows, `lasts`, the
        number of its last window; `offsets`, where its context begins among the pieces of all; and `pieces`, ragged.
    """
    counts, room = (tf.cast(size, tf.int32) for size in (pieces.ids.row_lengths(), length - 3 - asked.row_lengths()))
    quarters = room // 4
    strides = room - 2 * quarters
    windows = 1 + tf.maximum(0, -((room - counts) // strides))
    examples = tf.repeat(tf.range(tf.size(windows)), windows)
    numbers = tf.ragged.range(windows).flat_values
    rows = {
        "examples": examples,
        "numbers": numbers,
        "columns": tf.gather(tf.cast(asked.row_lengths(), tf.int32), examples) + 2,
        "firsts": numbers * tf.gather(strides, examples),
        "quarters": tf.gather(quarters, examples),
        "strides": tf.gather(strides, examples),
        "lasts": tf.gather(windows, examples) - 1,
        "offsets": tf.gather(tf.cast(pieces.ids.row_starts(), tf.int32), examples),
    }
    rows["counts"] = tf.minimum(tf.gather(counts, examples) - rows["firsts"], tf.gather(room, examples))
    begin = rows["offsets"] + rows["firsts"]
    places = tf.ragged.range(begin, begin + rows["counts"])
    return {
        **rows,
        "windows": windows,
        "pieces": places.with_flat_values(tf.gather(pieces.ids.flat_values, places.flat_values)),
    }


def _in_parts(packed, model, in_scope):
    """Returns the logits (float32 `[rows, length, 2]`) of rows, computed in parts of equal size."""
    rows, length = tf.unstack(tf.shape(packed["token_ids"]))
    parts = tf.maximum(1, (rows + _ROWS - 1) // _ROWS)
    size = (rows + parts - 1) // parts
    missing = parts * size - rows
    # A row of padding alone would have nothing to attend to.
    padding = tf.cast(tf.range(length) == 0, tf.int32)
    padded = {
        name: tf.concat([value, tf.zeros([missing, length], tf.int32) + (padding if name == "padding_mask" else 0)], 0)
        for name, value in packed.items()
    }
    parted = {name: tf.reshape(value, [parts, size, length]) for name, value in padded.items()}

    def compute(part):
        with in_scope():
            return tf.cast(model(part, training=False), tf.float32)

    logits = tf.map_fn(compute, parted, fn_output_signature=tf.TensorSpec([None, None, 2], tf.float32))
    return tf.reshape(logits, [parts * size, length, 2])[:rows]


def _best(rows, logits, longest):
    """Returns the best span of each row, as `budgetbert.models.answer_spans.best_spans` finds it.

    Returns:
        Dict of tensors `[rows]`: `best` and `none`, the sums of logits of the best span and of [CLS]; `log_sums` of all
        firsts and lasts; `first` and `last`, the places of its pieces among those of all contexts.
    """
    columns = tf.range(tf.shape(logits)[1])
    first_column, count = rows["columns"][:, None], rows["counts"][:, None]
    of_context = (columns >= first_column) & (columns < first_column + count)
    masked = tf.where((of_context | (columns == 0))[:, :, None], logits, _NEVER)
    places = columns - first_column + rows["firsts"][:, None]
    owners = tf.clip_by_value(
        (places - rows["quarters"][:, None]) // rows["strides"][:, None], 0, rows["lasts"][:, None]
    )
    starts = tf.where(of_context & (owners == rows["numbers"][:, None]), masked[:, :, 0], _NEVER)
    ends = tf.where(of_context, masked[:, :, 1], _NEVER)
    # Of spans that are as good the shortest is taken, of those the first.
    ends = tf.pad(ends, [[0, 0], [0, longest - 1]], constant_values=_NEVER)
    sums = starts[:, None] + tf.gather(ends, tf.range(longest)[:, None] + columns, axis=1)
    sums = tf.reshape(sums, [-1, longest * tf.size(columns)])
    place = tf.argmax(sums, axis=1, output_type=tf.int32)
    first = rows["offsets"] + rows["firsts"] - rows["columns"] + place % tf.size(columns)
    return {
        "best": tf.reduce_max(sums, axis=1),
        "none": tf.reduce_sum(masked[:, 0], axis=-1),
        "log_sums": tf.reduce_sum(tf.reduce_logsumexp(masked, axis=1), axis=-1),
        "first": first,
        "last": first + place // tf.size(columns),
    }


def _by_example(values, windows, default):
    """Returns values of rows (float32 `[rows]`) as a matrix `[batch, most windows]`, filled up with `default`."""
    ragged = tf.RaggedTensor.from_row_lengths(values, windows)
    # An empty batch has no longest row, but a best has to be found in something.
    return ragged.to_tensor(default, shape=tf.stack([-1, tf.maximum(ragged.bounding_shape(axis=1), 1)]))
