"""The encoder that finetunings start from."""

import zlib

import keras
import numpy as np
from keras import ops

from budgetbert.models import BertBudget


class Pretrained:
    """An encoder as it was pretrained, in the host's memory, with its tokenizer and the pooler that was trained on it.

    The original of 24hBERT starts RTE, MRPC and STS-B from all of a checkpoint but its last layer; so do those who load
    a BERT that was trained with next-sentence prediction.

    Args:
        model: a task, as `BertBudgetMaskedLM`, with a preprocessor.
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
        table = encoder.token_embedding.embeddings
        self._table = next(place for place, v in enumerate(encoder.trainable_variables) if v is table)
        pooler = getattr(model, "pooler", None) or getattr(getattr(model, "next_sentence_head", None), "pooler", None)
        self.pooler = None if random or pooler is None else _arrays((pooler.kernel, pooler.bias))

    def weights_of(self, seed):
        """Returns the encoder's weights (list of float32 arrays) to start from with a seed."""
        if not self.random:
            return self.weights
        keras.utils.set_random_seed(seed)
        fresh = BertBudget(**self.config)
        return _arrays(fresh.trainable_variables)

    def make_encoder(self, dropout, dtype):
        """Returns a `BertBudget` of this architecture with another dropout (float) and dtype policy (str)."""
        return BertBudget(**{**self.config, "dropout": dropout, "attention_dropout": None, "dtype": dtype})

    @property
    def token_table(self):
        """float32 array (tokens, width), the encoder's token embeddings."""
        return self.weights[self._table]

    @property
    def fingerprint(self):
        """str, of configuration, vocabulary and weights."""
        sum_of = zlib.crc32(repr((sorted(self.config.items()), self.tokenizer.get_vocabulary())).encode())
        for value in () if self.random else (*self.weights, *(self.pooler or ())):
            sum_of = zlib.crc32(np.ascontiguousarray(value), sum_of)
        return f"{sum_of:08x}{' random' if self.random else ''}"


def _arrays(variables):
    return [np.array(ops.convert_to_numpy(variable.value)) for variable in variables]
