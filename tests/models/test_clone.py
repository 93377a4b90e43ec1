"""What `keras.models.clone_model` makes of a compiled model; that clones compute the same is held in test_all.py."""

import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.optimizers import Lamb
from tests.checks import clone, to_numpy

from .examples import TEXTS, encoder, masked_lm, tokenizer


def classifier(**kwargs):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=16)
    return BertBudgetTextClassifier(encoder("tiny_24h"), 3, preprocessor, **kwargs)


def test_a_clone_is_compiled_as_the_model_was():
    model = classifier()
    model.compile(optimizer=Lamb(0.5), metrics=["accuracy"])
    copy = clone(model)
    assert isinstance(copy.optimizer, Lamb)
    assert float(copy.optimizer.learning_rate) == 0.5
    assert copy.loss.get_config() == model.loss.get_config()
    assert not keras.models.clone_model(classifier(compile=False)).compiled
    model.compile(optimizer="sgd", loss="sparse_categorical_crossentropy")
    assert isinstance(clone(model).optimizer, keras.optimizers.SGD)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "labels"), [(masked_lm, None), (classifier, np.arange(8) % 3)])
def test_a_model_from_a_file_clones_after_training(make, labels, tmp_path):
    model = make()
    model.train_on_batch(np.array(TEXTS), labels)
    model.save(tmp_path / "model.keras")
    for compile in (True, False):
        loaded = keras.models.load_model(tmp_path / "model.keras", compile=compile)
        assert int(to_numpy(clone(loaded).optimizer.iterations)) == 0
    assert len(loaded.optimizer.variables) == 2  # compile=False: a new optimizer, which is not built
