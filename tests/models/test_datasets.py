"""What `fit`, `evaluate` and `predict` take for texts, and what they refuse in one sentence."""

import grain
import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetMaskedLM, BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.models.datasets import preprocessed

from .examples import encoder, masked_lm, tokenizer

TEXTS = [f"the {'cat' if i % 2 else 'dog'} sat on {letter}" for i, letter in enumerate("abcdefghijklmnop")]
LABELS = [i % 2 for i in range(16)]


def classifier(**kwargs):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=8)
    model = BertBudgetTextClassifier(encoder(dropout=0.0), 2, preprocessor, dropout=0.0, **kwargs)
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


class Batches(keras.utils.PyDataset):
    """Four batches of four, which counts the ends of epochs."""

    def __init__(self, *parts, **kwargs):
        super().__init__(**kwargs)
        self.parts, self.ends, self.asked = parts, 0, []

    def __len__(self):
        return 4

    def __getitem__(self, index):
        self.asked.append(index)
        batch = tuple(part[4 * index : 4 * index + 4] for part in self.parts)
        return batch if len(batch) > 1 else batch[0]

    def on_epoch_end(self):
        self.ends += 1


def test_one_text_alone_is_a_batch_of_one():
    model = classifier()
    expected = model.predict([TEXTS[0]], verbose=0)
    assert expected.shape == (1, 2)
    for alone in (TEXTS[0], TEXTS[0].encode(), np.str_(TEXTS[0])):
        np.testing.assert_allclose(model.predict(alone, verbose=0), expected, atol=1e-6)
        np.testing.assert_allclose(np.asarray(model.predict_on_batch(alone)), expected, atol=1e-6)
    pair = classifier(pair=True)
    two = pair.predict(([TEXTS[0]], [TEXTS[1]]), verbose=0)
    np.testing.assert_allclose(pair.predict((TEXTS[0], TEXTS[1]), verbose=0), two, atol=1e-6)


def test_a_dataset_of_keras_trains_and_is_judged_as_lists_are():
    model = classifier()
    loss = model.evaluate(TEXTS, LABELS, verbose=0)[0]
    dataset = Batches(TEXTS, np.array(LABELS), workers=2)
    history = model.fit(dataset, epochs=2, validation_data=Batches(np.array(TEXTS), LABELS), verbose=0).history
    assert history["loss"] == pytest.approx([loss] * 2, rel=1e-5)
    assert history["val_loss"] == pytest.approx([loss] * 2, rel=1e-5)
    assert dataset.ends >= 2  # Keras also ends the pass in which it looks at the first batches.
    assert model.fit(dataset, validation_data=(TEXTS, LABELS), verbose=0).history["val_loss"] == [
        pytest.approx(loss, rel=1e-5)
    ]
    assert model.fit(TEXTS, LABELS, validation_data=dataset, verbose=0).history["val_loss"] == [
        pytest.approx(loss, rel=1e-5)
    ]
    assert model.evaluate(dataset, verbose=0)[0] == pytest.approx(loss, rel=1e-5)
    expected = model.predict(TEXTS, verbose=0)
    np.testing.assert_allclose(model.predict(Batches(TEXTS), verbose=0), expected, atol=1e-6)
    with pytest.raises(ValueError, match="has its own batches and labels"):
        model.fit(dataset, LABELS)


def test_a_wrong_label_in_a_dataset_of_keras_is_refused():
    with pytest.raises(ValueError, match="The label 7 is none of the 2 classes"):
        classifier().fit(Batches(TEXTS, [7] * 16), verbose=0)


def test_classes_of_a_dataset_of_keras_may_have_weights_and_names():
    model = classifier(label_names=["dog", "cat"])
    named = Batches(TEXTS, [["dog", "cat"][label] for label in LABELS])
    plain = model.evaluate(TEXTS, LABELS, verbose=0)[0]
    tripled = model.fit(named, class_weight={"dog": 3.0, "cat": 3.0}, verbose=0).history["loss"][0]
    assert tripled == pytest.approx(3 * plain, rel=1e-4)


def test_a_dataset_of_grain_trains():
    model = classifier()
    source = grain.MapDataset.source(list(zip(TEXTS, LABELS, strict=True)))
    loss = model.evaluate(TEXTS, LABELS, verbose=0)[0]
    assert model.fit(source.batch(4), verbose=0).history["loss"] == [pytest.approx(loss, rel=1e-5)]
    with pytest.raises(ValueError, match="gives single examples: batch it"):
        model.fit(source)


def test_a_stream_of_grain_trains_and_is_judged_beside_any_other_dataset():
    model = classifier()
    source = grain.MapDataset.source(list(zip(TEXTS, LABELS, strict=True)))
    stream = source.batch(4).to_iter_dataset()
    loss = pytest.approx(model.evaluate(TEXTS, LABELS, verbose=0)[0], rel=1e-5)
    assert model.evaluate(stream, verbose=0)[0] == loss
    for trained_on in ((TEXTS, LABELS), (Batches(TEXTS, np.array(LABELS)),), (stream,)):
        history = model.fit(*trained_on, validation_data=stream, verbose=0).history
        assert (history["loss"], history["val_loss"]) == ([loss], [loss])


def test_a_stream_of_grain_is_read_batch_by_batch():
    asked = []
    stream = grain.MapDataset.source(TEXTS).batch(4).to_iter_dataset()
    batches = iter(preprocessed(stream, lambda x, y, weight: asked.append(len(x)) or np.ones(len(x))))
    assert asked == []
    next(batches)
    assert asked == [4]


def test_a_dataset_of_tensorflow_must_be_batched():
    tensorflow = pytest.importorskip("tensorflow")
    dataset = tensorflow.data.Dataset.from_tensor_slices((TEXTS, LABELS))
    for call in (classifier().fit, classifier().evaluate):
        with pytest.raises(ValueError, match="gives single examples: batch it"):
            call(dataset, verbose=0)


HOLES = {
    "nan": ([TEXTS[0], float("nan")], "Text 1 is nan: give strings"),
    "None": ([None, TEXTS[0]], "Text 0 is None: give strings"),
    "object": (np.array([TEXTS[0], float("nan")], object), "Text 1 is nan"),
    "numbers": ([1, 2], "Text 0 is 1: give strings"),
    "a table": (np.array(TEXTS)[:, None], r"Texts have the shape \(16, 1\)"),
    "nothing": ([], "There are no examples"),
    "a generator": ((text for text in TEXTS), "Received: generator"),
    "ids": ({"token_ids": np.ones((2, 4), "int32")}, "Received: dict"),
}


@pytest.mark.parametrize("kind", HOLES)
def test_what_is_no_text_is_refused_in_one_sentence(kind):
    texts, words = HOLES[kind]
    model, filling = classifier(), masked_lm()
    calls = [model.predict, model.predict_on_batch, filling.fit, filling.evaluate, filling.predict]
    for call in calls:
        with pytest.raises(ValueError, match=words) as told:
            call(texts)
        assert "\n" not in str(told.value)


def test_a_column_with_a_hole_is_refused():
    pandas = pytest.importorskip("pandas")
    for dtype in ("object", "string"):
        with pytest.raises(ValueError, match="Text 1 is"):
            classifier().predict(pandas.Series(["the cat", None], dtype=dtype))


@pytest.mark.without_backend
def test_a_masked_lm_shuffles_splits_and_takes_datasets():
    model = masked_lm()
    model.compile(optimizer=keras.optimizers.SGD(0.0), run_eagerly=True)
    seen, preprocess = [], model.preprocess_samples

    def recording(x, *arguments):
        seen.append([len(text.split()) for text in x])
        return preprocess(x, *arguments)

    model.preprocess_samples = recording
    texts = [" ".join(["the"] * length) for length in range(1, 9)]
    model.fit(texts, batch_size=8, epochs=2, verbose=0)
    assert all(sorted(batch) == list(range(1, 9)) for batch in seen)
    assert len({tuple(batch) for batch in seen}) > 1
    history = model.fit(texts, validation_split=0.25, batch_size=4, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
    history = model.fit(Batches(TEXTS), validation_data=TEXTS, verbose=0).history
    assert np.isfinite([*history["loss"], *history["val_loss"]]).all()


WRONG_PARTS = {
    "a masked-LM as encoder": (lambda: BertBudgetTextClassifier(masked_lm(), 2), "give its .backbone"),
    "a name as encoder": (lambda: BertBudgetMaskedLM("tiny_24h"), "not a str: give a BertBudget"),
    "a clone": (
        lambda: BertBudgetTextClassifier(keras.models.clone_model(encoder()), 2),
        r"not a Functional: a copy of an encoder is BertBudget\.from_config",
    ),
    "the other preprocessor": (
        lambda: BertBudgetTextClassifier(encoder(), 2, masked_lm().preprocessor),
        r"give BertBudgetTextClassifierPreprocessor\(tokenizer\)",
    ),
    "a tokenizer": (lambda: BertBudgetTextClassifier(encoder(), 2, tokenizer()), "A BertBudgetTokenizer is no"),
    "no classes": (lambda: BertBudgetTextClassifier(encoder(), 0), "`num_classes` must be an int of 1"),
    "half classes": (lambda: BertBudgetTextClassifier(encoder(), 2.5), "`num_classes` must be an int of 1"),
    "a name twice": (lambda: classifier(label_names=["a", "a"]), "must be strings, each another"),
    "numbers as names": (lambda: classifier(label_names=[0, 1]), "must be strings, each another"),
    "no layers": (lambda: encoder(num_layers=0), "`num_layers` must be an int of 1 or more"),
}


@pytest.mark.parametrize("kind", WRONG_PARTS)
def test_parts_that_make_no_model_are_named(kind):
    make, words = WRONG_PARTS[kind]
    with pytest.raises(ValueError, match=words):
        make()


def test_a_folder_without_a_classifier_asks_for_the_classes(tmp_path):
    masked_lm().save_to_preset(tmp_path / "preset")
    with pytest.raises(
        ValueError, match="holds no BertBudgetTextClassifier, so that its head is new: give num_classes"
    ):
        BertBudgetTextClassifier.from_preset(str(tmp_path / "preset"))


@pytest.mark.parametrize("policy", ["bfloat16", "mixed_float16"])
def test_the_default_optimizer_trains_in_every_precision(policy):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=8)
    model = BertBudgetTextClassifier(encoder(dtype=policy), 2, preprocessor)
    assert np.isfinite(model.fit(TEXTS, LABELS, epochs=1, verbose=0).history["loss"]).all()
