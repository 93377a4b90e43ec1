"""Small models with something to serve, finetuned where they are classifiers."""

import keras
import numpy as np

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from tests.models.examples import encoder, masked_lm, tokenizer

CATS = ["The cat sat on the mat.", "a cat", "on the mat, the cat", "cat in the café", "the cat, the cat"]
DOGS = [text.replace("cat", "dog") for text in CATS]
TEXTS = [*CATS, *DOGS]
LABELS = ["feline", "canine"]
UNSEEN = ["the cat sat", "a dog on the mat"]


def classifier(family="tiny_24h", num_classes=2, pair=False, label_names=LABELS, **kwargs):
    """A classifier of TEXTS, untrained."""
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=32)
    model = BertBudgetTextClassifier(
        encoder(family, dropout=0.0),
        num_classes,
        preprocessor,
        label_names=label_names if num_classes > 1 else None,
        pair=pair,
        **kwargs,
    )
    return disturb(model)


def finetuned(steps=20, **kwargs):
    """A classifier that tells cats from dogs after `steps` steps on all TEXTS."""
    keras.utils.set_random_seed(0)
    model = classifier(**kwargs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # without XLA, whose compilation takes longer than the training
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"], jit_compile=False)
    x = (np.array(TEXTS), np.array(TEXTS[::-1])) if model.pair else np.array(TEXTS)
    for _ in range(steps):  # `fit` would start a pipeline for each epoch
        model.train_on_batch(x, np.repeat([0, 1], len(CATS)))
    return model


def disturb(model):
    """Moves biases and norms away from 0 and 1, which hide a swapped weight."""
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign_add(rng.normal(0, 0.05, variable.shape).astype("float32"))
    return model


def masked(family="tiny_24h", **kwargs):
    """A masked-LM whose weights are random."""
    return disturb(masked_lm(family, **kwargs))
