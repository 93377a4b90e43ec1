"""What is minimised: from a model and a batch, the sum of losses, its weight, and sums of metrics."""

import keras
from keras import ops


class MaskedLanguageModeling:
    """The sum of the cross-entropies of the masked tokens.

    A sum and its weight, not a mean: gradients of micro-batches can then be added, and the mean over a batch does not
    depend on how it was split.

    Args:
        dropout: bool. Whether the model's dropout is active in training. Defaults to `True`.

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(self, dropout=True):
        self._dropout = dropout

    def __call__(self, model, batch, training):
        """Runs the model.

        Args:
            model: `BertBudgetMaskedLM`.
            batch: dict of tensors, see `budgetbert.batches.Loader.micro_batch`.
            training: bool. Whether dropout is active.

        Returns:
            Tuple of float32 scalars: sum of losses, sum of weights, and a dict of metric sums: `accuracy` when not
            training.
        """
        return self.measure(self.run(model, batch, training), batch, training)

    def run(self, model, batch, training):
        """Returns what the model makes of a batch."""
        inputs = {name: batch.get(name) for name in ("token_ids", "padding_mask", "segment_ids", "mask_positions")}
        return model(inputs, training=training and self._dropout)

    def measure(self, logits, batch, training):
        """Returns sum of losses, sum of weights and metrics of logits at the masked positions."""
        labels, weights = batch["labels"], batch["weights"]
        losses = ops.sum(cross_entropy(labels, logits) * weights)
        metrics = {}
        if not training:
            hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), labels.dtype), labels), "float32")
            metrics["accuracy"] = ops.sum(hits * weights)
        return losses, ops.sum(weights), metrics


class MaskedLanguageModelingAndNextSentence(MaskedLanguageModeling):
    """Masked-LM, and whether the second segment of a row followed the first.

    The published loss is the mean over the masked tokens plus the mean over the rows. Sums have one weight here, the
    number of masked tokens; so the loss of a row counts once for each masked token in it. For full rows that is the
    published mean; shorter ones count less (ours), and any split of the batch gives the same.

    Validation keeps its losses apart: `loss` is that of the masked tokens, as everywhere; besides there are
    `next_sentence_loss` and `next_sentence_accuracy`, plain means over the rows.

    Args:
        dropout: bool. As `MaskedLanguageModeling`.

    Source: Devlin et al. 2019, section 3.1, task 2.
    """

    def __call__(self, model, batch, training):
        """As `MaskedLanguageModeling`, of a model with `next_sentence=True` and a batch of `pairs` rows."""
        outputs, labels = self.run(model, batch, training), batch["next_sentence_labels"]
        total, weight, metrics = self.measure(outputs["masked_lm"], batch, training)
        losses, predictions = cross_entropy(labels, outputs["next_sentence"]), ops.sum(batch["weights"], axis=1)
        if training:
            return total + ops.sum(losses * predictions), weight, metrics
        rows = ops.cast(predictions > 0, "float32")  # without one there is no row, as in the last batch of validation
        hits = ops.equal(ops.cast(ops.argmax(outputs["next_sentence"], axis=-1), labels.dtype), labels)
        for name, values in (("loss", losses), ("accuracy", ops.cast(hits, "float32"))):
            metrics[f"next_sentence_{name}"] = ops.sum(values * rows)
            metrics[f"next_sentence_{name}_weight"] = ops.sum(rows)
        return total, weight, metrics


class Classification:
    """The sum of the cross-entropies of labelled texts, or, with one logit, of the squared errors of their scores.

    Source: Devlin et al. 2019, section 4.1.
    """

    def __call__(self, model, batch, training):
        """Runs the model.

        Args:
            model: `BertBudgetTextClassifier`.
            batch: dict of tensors, see `budgetbert.glue.batches.EncodedExamples.batch`; rows of weight 0 do not count.
            training: bool. Whether dropout is active.

        Returns:
            As `MaskedLanguageModeling`, the weight being the number of texts.
        """
        inputs = {name: batch.get(name) for name in ("token_ids", "padding_mask", "segment_ids")}
        logits, labels, weights = model(inputs, training=training), batch["labels"], batch["weights"]
        losses = ops.square(logits[:, 0] - labels) if model.num_classes == 1 else cross_entropy(labels, logits)
        return ops.sum(losses * weights), ops.sum(weights), {}


OBJECTIVES = {"mlm": MaskedLanguageModeling, "mlm_nsp": MaskedLanguageModelingAndNextSentence}


def cross_entropy(labels, logits):
    """Cross-entropy in nats of integer labels.

    Args:
        labels: int tensor (...).
        logits: float32 tensor (..., classes).

    Returns:
        float32 tensor (...).
    """
    if keras.backend.backend() == "tensorflow":
        return _cross_entropy_by_softmax(labels, logits)
    label_logits = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1), -1)
    return ops.logsumexp(logits, axis=-1) - label_logits


def _cross_entropy_by_softmax(labels, logits):
    """`cross_entropy` on TensorFlow, whose own fused operation takes up to a third of a small model's step on a CPU.

    The gradient is the softmax with 1 taken off at the label. It is computed at once, by the fast kernel there is for
    it, and the logarithm of its sum follows from its largest entry, which is at least 1 / classes.
    """
    import tensorflow as tf

    shape, classes = tf.shape(labels), logits.shape[-1]
    labels = tf.reshape(labels, [-1])
    places = tf.stack([tf.range(tf.size(labels)), tf.cast(labels, "int32")], axis=1)

    @tf.custom_gradient
    def losses(logits):
        softmax = tf.nn.softmax(logits)
        log_sums = tf.reduce_max(logits, axis=-1) - tf.math.log(tf.reduce_max(softmax, axis=-1))

        def gradient(upstream):
            return tf.tensor_scatter_nd_sub(softmax * upstream[:, None], places, upstream)

        return log_sums - tf.gather_nd(logits, places), gradient

    return tf.reshape(losses(tf.reshape(logits, [-1, classes])), shape)
