"""What is minimised: from a model and a batch, the sum of losses, its weight, and sums of metrics."""

import keras
from keras import ops


class MaskedLanguageModeling:
    """The sum of the cross-entropies of the masked tokens.

    A sum and its weight, not a mean: gradients of micro-batches can then be added, and the mean over a batch does not
    depend on how it was split.

    Source: Devlin et al. 2019, section 3.1.
    """

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
        inputs = {name: batch.get(name) for name in ("token_ids", "padding_mask", "segment_ids", "mask_positions")}
        logits, labels, weights = model(inputs, training=training), batch["labels"], batch["weights"]
        losses = ops.sum(cross_entropy(labels, logits) * weights)
        metrics = {}
        if not training:
            hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), labels.dtype), labels), "float32")
            metrics["accuracy"] = ops.sum(hits * weights)
        return losses, ops.sum(weights), metrics


def cross_entropy(labels, logits):
    """Cross-entropy in nats of integer labels.

    Args:
        labels: int tensor (...).
        logits: float32 tensor (..., classes).

    Returns:
        float32 tensor (...).
    """
    if keras.backend.backend() == "tensorflow":  # one fused op; on the other backends Keras builds one-hot labels
        return ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
    label_logits = ops.squeeze(ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1), -1)
    return ops.logsumexp(logits, axis=-1) - label_logits
