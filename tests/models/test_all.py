"""What every model must hold, each as its family builds it."""

import numpy as np
import pytest

from budgetbert.models import (
    BertBudgetQuestionAnswering,
    BertBudgetQuestionAnsweringPreprocessor,
    BertBudgetTextClassifier,
    BertBudgetTextClassifierPreprocessor,
    BertBudgetTextEmbedder,
    BertBudgetTextEmbedderPreprocessor,
    BertBudgetTokenClassifier,
    BertBudgetTokenClassifierPreprocessor,
)
from tests.checks import check

from .examples import FAMILIES, VOCABULARY_SIZE, batch, encoder, masked_lm, tokenizer

LOGITS = (3, 2, VOCABULARY_SIZE)


def padded_batch():
    return batch(full=False)  # A clone's inputs are not optional.


def masked_batch():
    return {**padded_batch(), "mask_positions": np.array([[1, 5], [2, 3], [9, 0]], "int32")}


def classifier(family, num_classes=3, **kwargs):
    def make(policy):
        preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=16)
        return BertBudgetTextClassifier(encoder(family, dtype=policy), num_classes, preprocessor, **kwargs)

    return make


def tagger(policy):
    preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer(), sequence_length=16)
    return BertBudgetTokenClassifier(encoder("tiny_24h", dtype=policy), ["O", "B-X", "I-X"], preprocessor)


def answerer(policy):
    preprocessor = BertBudgetQuestionAnsweringPreprocessor(tokenizer(), sequence_length=16)
    return BertBudgetQuestionAnswering(encoder("tiny_24h", dtype=policy), preprocessor, no_answer_threshold=0.5)


def embedder(**kwargs):
    def make(policy):
        preprocessor = BertBudgetTextEmbedderPreprocessor(tokenizer(), sequence_length=16)
        return BertBudgetTextEmbedder(encoder("tiny_frontier", dtype=policy), preprocessor, **kwargs)

    return make


MODELS = {
    **{
        f"encoder of {family}": (lambda policy, f=family: encoder(f, dtype=policy), padded_batch, (3, 16, 128))
        for family in FAMILIES
    },
    **{
        f"masked_lm of {family}": (lambda policy, f=family: masked_lm(f, dtype=policy), masked_batch, LOGITS, "float32")
        for family in FAMILIES
    },
    "masked_lm with the next sentence": (
        lambda policy: masked_lm(next_sentence=True, dtype=policy),
        masked_batch,
        [LOGITS, (3, 2)],
        "float32",
    ),
    "classifier": (classifier("tiny_24h"), padded_batch, (3, 3), "float32"),
    "classifier of a crammed encoder": (classifier("tiny_crammed"), padded_batch, (3, 3), "float32"),
    "classifier of pairs": (classifier("tiny_bert", pair=True), padded_batch, (3, 3), "float32"),
    "classifier with probabilities": (classifier("tiny_bert", activation="softmax"), padded_batch, (3, 3), "float32"),
    "regression": (classifier("tiny_bert", num_classes=1), padded_batch, (3, 1), "float32"),
    "token classifier": (tagger, padded_batch, (3, 16, 3), "float32"),
    "question answering": (answerer, padded_batch, (3, 16, 2), "float32"),
    "embedder": (embedder(), padded_batch, (3, 128), "float32"),
    "embedder of first tokens": (embedder(pooling="first", normalize=False), padded_batch, (3, 128), "float32"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_it_holds_what_every_model_must(name, policy, tmp_path):
    make, inputs, shape, *dtype = MODELS[name]
    check(make, inputs(), shape, policy, tmp_path, *dtype)
