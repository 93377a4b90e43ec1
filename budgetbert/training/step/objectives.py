"""What is minimised: from a model and a batch, the sum of losses, its weight, and sums of metrics."""

import keras
from keras import ops

from budgetbert.models.contrastive import embedding_losses
from budgetbert.models.span_loss import span_cross_entropy
from budgetbert.training.step.losses import cross_entropy, decoded_cross_entropy

_ENCODER_INPUTS = ("token_ids", "padding_mask", "segment_ids")


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
        if training:
            return self.loss(model, self.encode(model, batch), batch), ops.sum(batch["weights"]), {}
        return self.measure(model(self.inputs(batch), training=False), batch)

    def inputs(self, batch):
        """Returns what the model reads of a batch."""
        return {name: batch.get(name) for name in (*_ENCODER_INPUTS, "mask_positions")}

    def encode(self, model, batch):
        """Returns the encoder's hidden states in training, `[batch, length, width]`."""
        return model.backbone({name: batch.get(name) for name in _ENCODER_INPUTS}, training=self._dropout)

    def loss(self, model, hidden, batch):
        """Returns the sum of the losses of the masked tokens, without their logits (see `decoded_cross_entropy`)."""
        with keras.name_scope(model.head.name):  # as its call has it, for profilers
            features = model.head.features(hidden, batch["mask_positions"])
        bias = model.head.bias if model.output_bias else None
        return decoded_cross_entropy(
            features, model.backbone.token_embedding.embeddings, bias, batch["labels"], batch["weights"]
        )

    def measure(self, logits, batch):
        """Returns sum of losses, sum of weights and metrics of logits at the masked positions."""
        labels, weights = batch["labels"], batch["weights"]
        hits = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), labels.dtype), labels), "float32")
        losses = ops.sum(cross_entropy(labels, logits) * weights)
        return losses, ops.sum(weights), {"accuracy": ops.sum(hits * weights)}


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
        labels, predictions = batch["next_sentence_labels"], ops.sum(batch["weights"], axis=1)
        if training:
            hidden = self.encode(model, batch)
            losses = cross_entropy(labels, model.next_sentence_head(hidden))
            return self.loss(model, hidden, batch) + ops.sum(losses * predictions), ops.sum(predictions), {}
        outputs = model(self.inputs(batch), training=False)
        losses = cross_entropy(labels, outputs["next_sentence"])
        total, weight, metrics = self.measure(outputs["masked_lm"], batch)
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
            batch: dict of tensors, see `finetuning.batches.EncodedExamples.batch`; rows of weight 0 do not count.
            training: bool. Whether dropout is active.

        Returns:
            As `MaskedLanguageModeling`, the weight being the number of texts.
        """
        inputs = {name: batch.get(name) for name in _ENCODER_INPUTS}
        logits, labels, weights = model(inputs, training=training), batch["labels"], batch["weights"]
        losses = ops.square(logits[:, 0] - labels) if model.num_classes == 1 else cross_entropy(labels, logits)
        return ops.sum(losses * weights), ops.sum(weights), {}


class MultilabelClassification:
    """The sum over texts of the mean binary cross-entropy of their labels, of which each may have any number."""

    def __call__(self, model, batch, training):
        """As `Classification`, with labels of 0 and 1, `[batch, classes]`."""
        inputs = {name: batch.get(name) for name in _ENCODER_INPUTS}
        logits, labels, weights = model(inputs, training=training), batch["labels"], batch["weights"]
        losses = ops.mean(ops.softplus(logits) - labels * logits, axis=-1)
        return ops.sum(losses * weights), ops.sum(weights), {}


class Embedding:
    """The sum over the anchors of a batch of what `budgetbert.models.contrastive.embedding_losses` says.

    The texts that an anchor is held against are those of its micro-batch, so that a batch has to be one micro-batch:
    the gradients of several are those of smaller batches.

    Args:
        temperature: float. By which cosines are divided.
        sizes: tuple of int. So many first numbers of the vectors are trained beside the whole ones.
    """

    def __init__(self, temperature, sizes=()):
        self._temperature, self._sizes = temperature, sizes

    def __call__(self, model, batch, training):
        """As `Classification`, of a `BertBudgetTextEmbedder`.

        The labels are rows of `contrast_labels` or `score_labels`, the weights 0 but at anchors.
        """
        inputs = {name: batch.get(name) for name in _ENCODER_INPUTS}
        vectors = model(inputs, training=training)
        losses = embedding_losses(vectors, batch["labels"], self._temperature, self._sizes)
        return ops.sum(losses * batch["weights"]), ops.sum(batch["weights"]), {}


class AnswerMarking:
    """The sum over rows of the cross-entropy of an answer's first and last token."""

    def __call__(self, model, batch, training):
        """As `Classification`, with labels as `budgetbert.models.span_loss.span_cross_entropy` takes them."""
        inputs = {name: batch.get(name) for name in _ENCODER_INPUTS}
        losses = span_cross_entropy(batch["labels"], model(inputs, training=training))
        return ops.sum(losses * batch["weights"]), ops.sum(batch["weights"]), {}


class TokenClassification:
    """The sum of the cross-entropies of the first pieces of words.

    Source: Devlin et al. 2019, section 5.3.
    """

    def __call__(self, model, batch, training):
        """As `Classification`, with labels and weights `[batch, length]`, the weight being the number of words."""
        inputs = {name: batch.get(name) for name in _ENCODER_INPUTS}
        weights = batch["weights"]
        losses = cross_entropy(batch["labels"], model(inputs, training=training))
        return ops.sum(losses * weights), ops.sum(weights), {}


OBJECTIVES = {"mlm": MaskedLanguageModeling, "mlm_nsp": MaskedLanguageModelingAndNextSentence}
