"""What is particular to a kind of task in a finetuning: a fresh head on the pretrained encoder, and how it is judged.

`Finetuning` asks a head for all of it. `TextHead` is that of classes, several labels and scores of texts; other kinds
of tasks have theirs in rooms of their own.
"""

import collections
import dataclasses

import keras
import numpy as np

from budgetbert.finetuning import metrics
from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.layers.dropout import seed_states
from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.presets import pooler_dim_of
from budgetbert.training.step.objectives import Classification, MultilabelClassification

# What a head says of a model on examples: `losses`, float array; `metrics`, dict of float; `predictions`, what JSON can
# hold; `failure`, a phrase that says how the model learned nothing, or `None`.
Judgement = collections.namedtuple("Judgement", ("losses", "metrics", "predictions", "failure"))


def restart(model, weights, seed, layers):
    """Sets a model to the start of a finetuning: the encoder's weights, new layers from N(0, 0.02), dropout's seeds.

    Args:
        model: task with a `backbone`.
        weights: list of float32 arrays, of the encoder.
        seed: int.
        layers: tuple of the new layers, each with a `kernel` and a `bias`.
    """
    for variable, value in zip(model.backbone.trainable_variables, weights, strict=True):
        variable.assign(value)
    generator = np.random.default_rng(seed)
    for layer in layers:
        layer.kernel.assign(generator.normal(0.0, 0.02, layer.kernel.shape).astype("float32"))
        layer.bias.assign(np.zeros(layer.bias.shape, "float32"))
    for number, state in enumerate(seed_states(model)):
        state.assign(np.array([1000 * seed + number, 0]).astype(keras.backend.standardize_dtype(state.dtype)))


class TextHead:
    """Classes of texts, several labels at once, or scores.

    Args:
        task: `Task`.
        apart: bool. Whether two texts are encoded apart. Defaults to `False`: they stand in one row.

    Attributes:
        objective: what is minimised, as those of `training.step.objectives`.
    """

    def __init__(self, task, apart=False):
        self.task, self.apart = task, apart
        self.objective = MultilabelClassification() if task.several else Classification()

    def make_model(self, pretrained, dropout, sequence_length, dtype):
        """Returns the model, to be started with `restart`.

        The pooler is as wide as `budgetbert.presets.pooler_dim_of` says.

        Args:
            pretrained: `Pretrained`.
            dropout: float. Of the encoder and before the logits.
            sequence_length: int. Of the preprocessor.
            dtype: str, the dtype policy.

        Returns:
            `BertBudgetTextClassifier`.
        """
        model = BertBudgetTextClassifier(
            pretrained.make_encoder(dropout, dtype),
            num_classes=self.task.classes,
            preprocessor=BertBudgetTextClassifierPreprocessor(pretrained.tokenizer, sequence_length),
            pooler_dim=pooler_dim_of(pretrained.config),
            dropout=dropout,
            label_names=self.task.label_names,
            pair=self.task.pair,
            apart=self.apart,
        )
        if self.task.several:
            # The file of the model then says that each logit is a label's own.
            model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=None)
        return model

    def restart(self, model, weights, seed, pooler=None):
        """Sets a model to the start of a finetuning.

        Args:
            model: what `make_model` returned.
            weights: list of float32 arrays, of the encoder.
            seed: int.
            pooler: list of two float32 arrays, kernel and bias of a pooler to start from. One of another width is left
                aside. Defaults to `None`: it is drawn anew.
        """
        restart(model, weights, seed, (model.pooler, model.logits))
        if pooler and pooler[0].shape == tuple(model.pooler.kernel.shape):
            model.pooler.kernel.assign(pooler[0])
            model.pooler.bias.assign(pooler[1])

    def encode(self, examples, tokenizer, sequence_length):
        """Returns the `EncodedExamples` of `Examples`: scores in the units that the model trains in."""
        examples = dataclasses.replace(examples, labels=self.task.standardized(examples.labels))
        return EncodedExamples(examples, tokenizer, sequence_length, self.apart)

    def judge(self, model, examples, encoded):
        """Returns the `Judgement` of a model in training on `Examples` and what `encode` made of them."""
        logits = logits_of(model, judging_batches(encoded), len(encoded))
        predicted = metrics.predictions_of(self.task.in_units(np.nan_to_num(logits)), self.task.several)
        return Judgement(
            _losses(logits, encoded.labels),
            metrics.score(self.task, examples.labels, predicted),
            predicted.tolist(),
            metrics.failed(self.task, examples.labels, predicted),
        )

    def majority(self, examples):
        """Returns the metrics (dict of float) of saying the usual of all `Examples`."""
        return metrics.majority(self.task, examples.labels)

    def finish(self, model):
        """Gives the last layer of a model of `standardized` scores the units of the file."""
        if self.task.scale is not None:
            mean, deviation = self.task.scale
            model.logits.kernel.assign(model.logits.kernel * deviation)
            model.logits.bias.assign(model.logits.bias * deviation + mean)


def outputs_of(model, inputs):
    """Returns what a task makes of a batch of its inputs (dict of arrays), as arrays.

    KerasHub's own method would tokenize, and these are token ids already.
    """
    if keras.backend.backend() == "tensorflow":
        # One graph serves all lengths, where XLA would compile a program for each.
        model.jit_compile = False
    names = ("token_ids", "padding_mask")
    batch = {name: inputs[name] for name in names}
    batch["segment_ids"] = inputs.get("segment_ids", np.zeros_like(inputs["token_ids"]))
    return keras.Model.predict_on_batch(model, batch)


def logits_of(model, batches, count):
    """Returns what a classifier makes of examples.

    Args:
        model: `BertBudgetTextClassifier`.
        batches: list, see `judging_batches`.
        count: int. Examples in all.

    Returns:
        float32 array (count, classes).
    """
    logits = np.empty((count, model.num_classes), np.float32)
    for indices, batch in batches:
        logits[indices] = outputs_of(model, batch)[: indices.size]
    return logits


def _losses(logits, labels):
    if labels.ndim == 2:
        return np.mean(np.logaddexp(0.0, logits) - labels * logits, axis=1)
    if logits.shape[1] == 1:
        return np.square(logits[:, 0] - labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return np.log(np.exp(shifted).sum(axis=1)) - chosen
