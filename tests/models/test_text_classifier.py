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
    "apart": ({"num_classes": 2, "pair": True, "apart": True}, (TEXTS, TEXTS[::-1]), np.arange(8) % 2),
    "pair": ({"num_classes": 2, "pair": True}, (TEXTS, TEXTS[::-1]), np.arange(8) % 2),
    "regression": ({"num_classes": 1}, TEXTS, np.linspace(0, 5, 8).astype("float32")),
}


@pytest.mark.parametrize("task", TASKS)
def test_fit_and_predict_on_raw_strings(task, tmp_path):
    kwargs, x, y = TASKS[task]
    model = classifier(**kwargs)
    history = model.fit(x, y, batch_size=4, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    logits = model.predict(x, verbose=0)
    assert logits.shape == (8, kwargs["num_classes"])
    assert logits.dtype == "float32"
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(x, verbose=0), logits, atol=1e-5)
    assert (loaded.pair, loaded.apart, loaded.pooling) == (model.pair, model.apart, model.pooling)


def test_two_texts_that_are_encoded_apart_equal_their_formula():
    model = classifier(2, pair=True, apart=True)
    x = (["the cat sat", "a dog, on the mat"], ["the cat sat on the mat.", "dog"])
    means = []
    for texts in x:  # each text alone, in a row without padding
        rows = [[2, *(int(i) for i in tokenizer()(text)), 3] for text in texts]
        hidden = [model.backbone({**batch(), "token_ids": np.array([row], "int32")}) for row in rows]
        means.append(np.stack([to_numpy(states)[0].mean(axis=0) for states in hidden]))
    u, v = means
    features = np.hstack([u, v, abs(u - v), u * v])
    pooled = np.tanh(features @ to_numpy(model.pooler.kernel) + to_numpy(model.pooler.bias))
    np.testing.assert_allclose(model.predict(x, verbose=0), pooled @ to_numpy(model.logits.kernel), atol=1e-5)


def test_the_mean_over_the_tokens_is_read_in_place_of_the_first_one():
    model, inputs = classifier(2, pooling="mean"), batch(full=False)
    hidden, mask = to_numpy(model.backbone(inputs)), inputs["padding_mask"][:, :, None]
    pooled = np.tanh((hidden * mask).sum(axis=1) / mask.sum(axis=1) @ to_numpy(model.pooler.kernel))
    np.testing.assert_allclose(to_numpy(model(inputs)), pooled @ to_numpy(model.logits.kernel), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"apart": True}, "give pair=True too"), ({"pooling": "max"}, "`pooling` must be 'first' or 'mean'")],
)
def test_texts_that_cannot_be_encoded_so_are_one_sentence(given, told):
    with pytest.raises(ValueError, match=told):
        classifier(2, **given)


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
        str(tmp_path / "preset"), num_classes=2, label_names=["no", "yes"], pair=True, apart=True
    )
    np.testing.assert_array_equal(
        to_numpy(model.backbone.token_embedding.embeddings), to_numpy(pretrained.backbone.token_embedding.embeddings)
    )
    model.save_to_preset(tmp_path / "classifier")
    loaded = BertBudgetTextClassifier.from_preset(str(tmp_path / "classifier"))
    assert (loaded.pair, loaded.apart, loaded.label_names) == (True, True, ["no", "yes"])
    pairs = (TEXTS, TEXTS[::-1])
    loaded.preprocessor.sequence_length = model.preprocessor.sequence_length = 16
    np.testing.assert_allclose(loaded.predict(pairs, verbose=0), model.predict(pairs, verbose=0), atol=1e-5)


def test_an_activation_makes_probabilities_of_the_logits(tmp_path):
    model = classifier(3, activation="softmax")
    logits = model.without_activation().predict(model.preprocessor(TEXTS), verbose=0)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(model.predict(TEXTS, verbose=0), expected, atol=1e-6)
    labels = np.arange(8) % 3
    loss = model.evaluate(TEXTS, labels, verbose=0)[0]  # the default loss knows that these are probabilities
    assert loss == pytest.approx(-np.log(expected[np.arange(8), labels]).mean(), rel=1e-4)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), expected, atol=1e-6)
    model.save_to_preset(tmp_path / "preset")
    loaded = BertBudgetTextClassifier.from_preset(str(tmp_path / "preset"))
    assert loaded.activation is keras.activations.softmax


def test_an_activation_of_a_preset_is_that_of_the_output():
    model = BertBudgetTextClassifier.from_preset(
        "tiny_24h", load_weights=False, num_classes=2, activation="sigmoid", num_layers=1, vocabulary_size=64
    )
    assert model.backbone.activation == "gelu"
    assert model.activation is keras.activations.sigmoid
    assert model.without_activation() is not model
    assert classifier(2).without_activation().output_shape == (None, 2)


def test_label_names_of_a_folder_do_not_fit_another_number_of_classes(tmp_path):
    classifier(2, label_names=["no", "yes"]).save_to_preset(tmp_path / "preset")
    with pytest.raises(ValueError, match=r"2 label_names for num_classes=5: give .* 5 strings, or label_names=None"):
        BertBudgetTextClassifier.from_preset(str(tmp_path / "preset"), num_classes=5)
    model = BertBudgetTextClassifier.from_preset(str(tmp_path / "preset"), num_classes=5, label_names=None)
    assert model.logits.units == 5
    with pytest.raises(ValueError, match="is one string for num_classes=2"):
        classifier(2, label_names="ab")


def test_rows_longer_than_the_positions_are_one_sentence_on_every_backend():
    model = classifier(2)
    model.preprocessor.sequence_length = 600
    for call in (lambda: model.predict(TEXTS, verbose=0), lambda: model.fit(TEXTS, np.arange(8) % 2, verbose=0)):
        with pytest.raises(ValueError, match=r"Rows of 600 tokens are longer than the model's 512 positions"):
            call()


@pytest.mark.parametrize("make", [lambda: classifier(2), masked_lm, encoder])
def test_the_old_format_of_files_is_refused(make, tmp_path):
    for name in ("model.h5", "model.hdf5"):
        with pytest.raises(ValueError, match=r"model.h(5|df5) would be in Keras' old HDF5 format"):
            make().save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    model = make()
    model.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
