import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor

from .examples import TEXTS, batch, encoder, masked_lm, to_numpy, tokenizer


def classifier(num_classes, family="tiny_bert", **kwargs):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=16)
    return BertBudgetTextClassifier(encoder(family), num_classes, preprocessor, **kwargs)


TASKS = {
    "classification": ({"num_classes": 3}, TEXTS, np.arange(8) % 3),
    "pair": ({"num_classes": 2, "pair": True}, (TEXTS, TEXTS[::-1]), np.arange(8) % 2),
    "regression": ({"num_classes": 1}, TEXTS, np.linspace(0, 5, 8).astype("float32")),
}


@pytest.mark.parametrize("task", TASKS)
def test_fit_and_predict_on_raw_strings(task, tmp_path):
    kwargs, x, y = TASKS[task]
    model = classifier(**kwargs)
    history = model.fit(x, y, batch_size=4, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    logits = model.predict(x, verbose=0)
    assert logits.shape == (8, kwargs["num_classes"])
    assert logits.dtype == "float32"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), logits, atol=1e-5)
    assert loaded.pair == model.pair


def test_one_class_is_regression():
    assert isinstance(classifier(1).loss, keras.losses.MeanSquaredError)
    assert isinstance(classifier(2).loss, keras.losses.SparseCategoricalCrossentropy)


@pytest.mark.parametrize(("pair", "x"), [(True, TEXTS), (False, (TEXTS, TEXTS))])
def test_one_text_and_two_texts_are_not_confused(pair, x):
    with pytest.raises(ValueError, match="reads two texts" if pair else "reads one text"):
        classifier(2, pair=pair).predict(x, verbose=0)


def test_label_names_must_fit_the_classes():
    assert classifier(2, label_names=["no", "yes"]).get_config()["label_names"] == ["no", "yes"]
    with pytest.raises(ValueError, match="2 label_names for num_classes=3"):
        classifier(3, label_names=["no", "yes"])


def test_crammed_pooler_is_1024_wide_and_others_follow_the_encoder():
    crammed = BertBudgetTextClassifier.from_preset("tiny_crammed", load_weights=False, num_classes=2, dropout=0.0)
    assert crammed.pooler.units == 1024
    assert crammed.dropout == crammed.backbone.dropout == 0.0
    assert classifier(2).pooler.units == 128


def test_only_the_first_token_is_read():
    model, inputs = classifier(2), batch()
    hidden = to_numpy(model.backbone(inputs))[:, 0]
    pooled = np.tanh(hidden @ to_numpy(model.pooler.kernel))
    np.testing.assert_allclose(to_numpy(model(inputs)), pooled @ to_numpy(model.logits.kernel), atol=1e-4)


def test_a_classifier_starts_from_a_pretrained_directory(tmp_path):
    pretrained = masked_lm("tiny_24h")
    pretrained.save_to_preset(tmp_path / "preset")
    model = BertBudgetTextClassifier.from_preset(
        str(tmp_path / "preset"), num_classes=2, label_names=["no", "yes"], pair=True
    )
    np.testing.assert_array_equal(
        to_numpy(model.backbone.token_embedding.embeddings), to_numpy(pretrained.backbone.token_embedding.embeddings)
    )
    model.save_to_preset(tmp_path / "classifier")
    loaded = BertBudgetTextClassifier.from_preset(str(tmp_path / "classifier"))
    assert (loaded.pair, loaded.label_names) == (True, ["no", "yes"])
    pairs = (TEXTS, TEXTS[::-1])
    loaded.preprocessor.sequence_length = model.preprocessor.sequence_length = 16
    np.testing.assert_allclose(loaded.predict(pairs, verbose=0), model.predict(pairs, verbose=0), atol=1e-5)
