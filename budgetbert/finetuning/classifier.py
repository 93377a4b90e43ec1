"""The model to finetune: the pretrained encoder, rebuilt with dropout, under a fresh head."""

import zlib

import keras
import numpy as np
from keras import ops

from budgetbert.layers.dropout import seed_states
from budgetbert.models import BertBudget, BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.presets import pooler_dim_of


class Pretrained:
    """An encoder as it was pretrained, in the host's memory, with its tokenizer and the pooler that was trained on it.

    The original of 24hBERT starts RTE, MRPC and STS-B from all of a checkpoint but its last layer; so do those who load
    a BERT that was trained with next-sentence prediction.

    Args:
        model: `BertBudgetMaskedLM` or `BertBudgetTextClassifier` with a preprocessor.
        random: bool. Whether the weights are drawn anew for each seed: the baseline. Defaults to `False`.

    Attributes:
        pooler: list of the float32 arrays kernel and bias of a classifier's or a next-sentence head's pooler, or `None`
            where there is none, as behind masked language modeling alone.
    """

    def __init__(self, model, random=False):
        encoder = model.backbone
        self.tokenizer = model.preprocessor.tokenizer
        self.config = {key: value for key, value in encoder.get_config().items() if key not in ("name", "dtype")}
        self.random = random
        self.parameters = encoder.count_params()
        self.weights = _arrays(encoder.trainable_variables)
        pooler = getattr(model, "pooler", None) or getattr(getattr(model, "next_sentence_head", None), "pooler", None)
        self.pooler = None if random or pooler is None else _arrays((pooler.kernel, pooler.bias))

    def weights_of(self, seed):
        """Returns the encoder's weights (list of float32 arrays) to start from with a seed."""
        if not self.random:
            return self.weights
        keras.utils.set_random_seed(seed)
        fresh = BertBudget(**self.config)
        return _arrays(fresh.trainable_variables)

    @property
    def fingerprint(self):
        """str, of configuration, vocabulary and weights."""
        sum_of = zlib.crc32(repr((sorted(self.config.items()), self.tokenizer.get_vocabulary())).encode())
        for value in () if self.random else (*self.weights, *(self.pooler or ())):
            sum_of = zlib.crc32(np.ascontiguousarray(value), sum_of)
        return f"{sum_of:08x}{' random' if self.random else ''}"

    def make_classifier(self, task, dropout, sequence_length, dtype):
        """Returns a `BertBudgetTextClassifier` for a `Task`, to be started with `restart`.

        The pooler is as wide as `budgetbert.presets.pooler_dim_of` says.

        Args:
            task: `Task`.
            dropout: float. Of the encoder and before the logits.
            sequence_length: int. Of the preprocessor.
            dtype: str, the dtype policy.
        """
        encoder = BertBudget(**{**self.config, "dropout": dropout, "attention_dropout": None, "dtype": dtype})
        model = BertBudgetTextClassifier(
            encoder,
            num_classes=task.classes,
            preprocessor=BertBudgetTextClassifierPreprocessor(self.tokenizer, sequence_length),
            pooler_dim=pooler_dim_of(self.config),
            dropout=dropout,
            label_names=task.label_names,
            pair=task.pair,
        )
        if task.several:
            # The file of the model then says that each logit is a label's own.
            model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True), metrics=None)
        return model


def _arrays(variables):
    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]


def restart(model, weights, seed, pooler=None):
    """Sets a classifier to the start of a finetuning: the encoder's weights, a head drawn from N(0, 0.02), dropout's
    seeds.

    Args:
        model: `BertBudgetTextClassifier`.
        weights: list of float32 arrays, of the encoder.
        seed: int.
        pooler: list of two float32 arrays, kernel and bias of a pooler to start from. One of another width is left
            aside. Defaults to `None`: it is drawn anew.
    """
    for variable, value in zip(model.backbone.trainable_variables, weights, strict=True):
        variable.assign(value)
    generator = np.random.default_rng(seed)
    for layer in (model.pooler, model.logits):
        layer.kernel.assign(generator.normal(0.0, 0.02, layer.kernel.shape).astype("float32"))
        layer.bias.assign(np.zeros(layer.bias.shape, "float32"))
    if pooler and pooler[0].shape == tuple(model.pooler.kernel.shape):
        model.pooler.kernel.assign(pooler[0])
        model.pooler.bias.assign(pooler[1])
    for number, state in enumerate(seed_states(model)):
        state.assign(np.array([1000 * seed + number, 0]).astype(keras.backend.standardize_dtype(state.dtype)))


def put_in_units(model, task):
    """Gives the last layer of a classifier of `standardized` scores the units of the file, a `Task`'s."""
    if task.scale is not None:
        mean, deviation = task.scale
        model.logits.kernel.assign(model.logits.kernel * deviation)
        model.logits.bias.assign(model.logits.bias * deviation + mean)


def logits_of(model, batches, count):
    """Returns what a classifier makes of examples.

    Args:
        model: `BertBudgetTextClassifier`.
        batches: list, see `judging_batches`.
        count: int. Examples in all.

    Returns:
        float32 array (count, classes).
    """
    if keras.backend.backend() == "tensorflow":
        # One graph serves all lengths, where XLA would compile a program for each.
        model.jit_compile = False
    logits = np.empty((count, model.num_classes), np.float32)
    for indices, batch in batches:
        inputs = {name: batch[name] for name in ("token_ids", "padding_mask")}
        inputs["segment_ids"] = batch.get("segment_ids", np.zeros_like(batch["token_ids"]))
        # KerasHub's own method would tokenize, and these are token ids already.
        logits[indices] = keras.Model.predict_on_batch(model, inputs)[: indices.size]
    return logits
