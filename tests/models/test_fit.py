"""`fit` on texts and labels: rate and epochs that suit the model, a new order every epoch, labels that are classes."""

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import keras
import numpy as np
import pytest

from budgetbert.finetuning_rule import finetuning_settings
from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.models.labelled_examples import batches_of, to_arrays
from budgetbert.optimizers import FinetuningAdam

from .examples import encoder, tokenizer

TEXTS = [f"the {'cat' if i < 16 else 'dog'} sat on {letter}" for i, letter in enumerate("abcdefghijklmnop" * 2)]
NAMES = ["cat", "dog"]
LABELS = [0] * 16 + [1] * 16  # in order


def classifier(num_classes=2, compiled=None, **kwargs):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=8)
    model = BertBudgetTextClassifier(encoder(dropout=0.0), num_classes, preprocessor, dropout=0.0, **kwargs)
    model.compile(**{"run_eagerly": True, **(compiled or {})})
    return model


def frozen():
    """One that learns nothing, so that losses can be computed from its logits."""
    return classifier(label_names=NAMES, compiled={"optimizer": keras.optimizers.SGD(0.0)})


def loss_of(model, weights=None):
    logits = model.predict(TEXTS, verbose=0).astype("float64")
    losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(32), LABELS]
    return np.mean(losses if weights is None else losses * weights)


class Factors(keras.callbacks.Callback):
    """What the schedule makes of the rate after each step."""

    def __init__(self):
        super().__init__()
        self.factors = []

    def on_train_batch_end(self, batch, logs=None):
        self.factors.append(float(self.model.optimizer._factor()))


class Labels(keras.callbacks.Callback):
    """The labels of each batch, as the loss is given them."""

    def __init__(self):
        super().__init__()
        self.labels = []

    def set_model(self, model):
        super().set_model(model)
        compute = type(model).compute_loss

        def recording(x=None, y=None, *arguments, **kwargs):
            self.labels.append(keras.ops.convert_to_numpy(y).ravel().tolist())
            return compute(model, x, y, *arguments, **kwargs)

        model.compute_loss = recording


def test_an_epoch_has_every_example_once_in_an_order_of_its_own():
    arrays = to_arrays((np.array(TEXTS), LABELS, np.arange(32.0)))
    epochs = []
    for _ in range(2):
        batches = list(batches_of(arrays, 5, shuffle=True).repeat(2))
        epochs += [np.concatenate([batch[2] for batch in batches[start : start + 7]]) for start in (0, 7)]
        for texts, labels, numbers in batches:
            assert texts.tolist() == [TEXTS[int(number)] for number in numbers]
            assert labels.tolist() == [LABELS[int(number)] for number in numbers]
    assert all(sorted(epoch) == list(range(32)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    keras.utils.set_random_seed(7)
    first = [batch[2].tolist() for batch in batches_of(arrays, 5, shuffle=True)]
    keras.utils.set_random_seed(7)
    assert first == [batch[2].tolist() for batch in batches_of(arrays, 5, shuffle=True)]


def test_fit_shuffles_labels_in_order_and_not_where_it_is_told_so():
    model, seen = frozen(), Labels()
    model.fit(TEXTS, LABELS, epochs=2, batch_size=16, verbose=0, callbacks=[seen])
    shuffled = [labels for labels in seen.labels if len(labels) == 16][-4:]
    assert all(0 < sum(labels) < 16 for labels in shuffled)
    assert shuffled[:2] != shuffled[2:]
    model.fit(TEXTS, LABELS, epochs=2, batch_size=16, verbose=0, shuffle=False, callbacks=[seen])
    assert [sum(labels) for labels in seen.labels[-4:]] == [0, 16, 0, 16]


def test_weights_follow_their_examples():
    model = frozen()
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 32)
    fitted = model.fit(TEXTS, LABELS, sample_weight=weights, batch_size=32, verbose=0).history["loss"][0]
    assert fitted == pytest.approx(loss_of(model, weights), rel=1e-4)
    for class_weight in ({0: 1.0, 1: 3.0}, {"cat": 1.0, "dog": 3.0}):
        fitted = model.fit(TEXTS, LABELS, class_weight=class_weight, batch_size=32, verbose=0).history["loss"][0]
        assert fitted == pytest.approx(loss_of(model, np.where(LABELS, 3.0, 1.0)), rel=1e-4)


def kinds():
    named = [NAMES[label] for label in LABELS]
    yield "strings", TEXTS, named
    yield "arrays", np.array(TEXTS), np.array(named)
    yield "bytes", TEXTS, [name.encode() for name in named]
    yield "a column", np.array(TEXTS), np.array(LABELS)[:, None]
    yield "truths", TEXTS, [bool(label) for label in LABELS]
    yield "floats", TEXTS, np.array(LABELS, "float64")


@pytest.mark.parametrize(("texts", "labels"), [pytest.param(*parts, id=kind) for kind, *parts in kinds()])
def test_labels_may_be_names_numbers_or_truths(texts, labels):
    model = frozen()
    history = model.fit(texts, labels, batch_size=32, verbose=0, validation_data=(texts, labels)).history
    expected = pytest.approx(loss_of(model), rel=1e-4)
    assert history["loss"][0] == expected
    assert history["val_loss"][0] == expected
    assert model.evaluate(texts, labels, verbose=0)[0] == expected
    assert float(np.asarray(model.train_on_batch(list(texts), labels)[0])) == expected
    assert float(np.asarray(model.test_on_batch(list(texts), labels)[0])) == expected


@pytest.mark.parametrize("dtype", ["object", "string", "category"])
def test_columns_of_a_table_are_taken_whatever_their_index(dtype):
    pandas = pytest.importorskip("pandas")
    order = np.random.default_rng(0).permutation(32)
    table = pandas.DataFrame({"text": TEXTS, "label": [NAMES[label] for label in LABELS]}).iloc[order]
    model = frozen()
    found = model.fit(table["text"], table["label"].astype(dtype), batch_size=32, verbose=0).history["loss"][0]
    assert found == pytest.approx(loss_of(model), rel=1e-4)


WRONG = {
    "beyond": ([0, 1, 2, 1], "The label 2 is none of the 2 classes: give 0 or 1"),
    "huge": ([0, 1, 2**40, 1], "The label 1099511627776 is none of the 2 classes"),
    "below": ([0, 1, -1, 1], "The label -1 is none of the 2 classes"),
    "between": ([0, 1, 0.5, 1], "The label 0.5 is none of the 2 classes"),
    "missing": ([0, 1, None, 1], "The label None is none of the 2 classes"),
    "nan": ([0, 1, float("nan"), 1], "The label nan is none of the 2 classes"),
    "a name": (["cat", "dog", "bird", "dog"], "The label 'bird' is none of label_names: 'cat', 'dog'"),
    "mixed": (["cat", 1, "dog", 0], "The label 1 is none of label_names"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_label_that_is_no_class_is_refused_in_one_sentence(kind):
    labels, words = WRONG[kind]
    model, texts = frozen(), TEXTS[:4]
    for call in (model.fit, model.evaluate, model.train_on_batch, model.test_on_batch):
        with pytest.raises(ValueError, match=words) as told:
            call(texts, labels)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match=words):
        model.fit(texts, [0, 1, 0, 1], validation_data=(texts, labels))


def test_names_want_label_names():
    with pytest.raises(ValueError, match="'cat' is a string, and the classifier has no label_names"):
        classifier().fit(TEXTS[:2], NAMES)
    with pytest.raises(ValueError, match="is a string, and the classifier has no label_names"):
        classifier(1).fit(TEXTS[:2], NAMES)


def test_other_losses_take_the_labels_that_they_are_made_for():
    one_hot = keras.losses.CategoricalCrossentropy(from_logits=True)
    model = classifier(compiled={"loss": one_hot, "optimizer": keras.optimizers.SGD(0.0), "metrics": []})
    fitted = model.fit(TEXTS, np.eye(2)[LABELS], batch_size=32, verbose=0).history["loss"][0]
    assert fitted == pytest.approx(loss_of(model), rel=1e-4)
    ignoring = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    model = classifier(compiled={"loss": ignoring, "metrics": []})
    assert np.isfinite(model.train_on_batch(TEXTS[:2], [0, -1]))


def test_a_dataset_passes_through_with_names_and_is_checked():
    tensorflow = pytest.importorskip("tensorflow")
    model, seen = frozen(), Labels()
    names = tensorflow.constant([NAMES[label] for label in LABELS])
    dataset = tensorflow.data.Dataset.from_tensor_slices((TEXTS, names)).batch(16)
    history = model.fit(dataset, verbose=0, shuffle=False, callbacks=[seen]).history
    assert history["loss"] == [pytest.approx(loss_of(model), rel=1e-4)]  # one epoch, in its own order
    assert [sum(labels) for labels in seen.labels[-2:]] == [0, 16]
    for unfit in ({"sample_weight": np.ones(32)}, {"batch_size": 4}, {"validation_split": 0.5}):
        with pytest.raises(ValueError, match=next(iter(unfit))):  # nothing that was asked for is dropped in silence
            model.fit(dataset, **unfit)
    for wrong in (tensorflow.constant([0, 2]), tensorflow.constant(["cat", "bird"])):
        bad = tensorflow.data.Dataset.from_tensor_slices((TEXTS[:2], wrong)).batch(2)
        with pytest.raises(tensorflow.errors.InvalidArgumentError, match="A label of the dataset is none of"):
            frozen().evaluate(bad, verbose=0)  # on JAX Keras gives a model's variables away, and an error loses them


def test_lists_are_split_as_keras_splits_arrays():
    model, seen = frozen(), Labels()
    history = model.fit(TEXTS, LABELS, validation_split=0.25, batch_size=8, verbose=0, callbacks=[seen]).history
    assert sum(map(len, seen.labels[-4:])) == 32
    dogs = model.evaluate(TEXTS[24:], LABELS[24:], verbose=0)[0]
    assert history["val_loss"][0] == pytest.approx(dogs, rel=1e-5)
    with pytest.raises(ValueError, match=r"validation_split=0\.999 of 4 examples leaves none"):
        model.fit(TEXTS[:4], LABELS[:4], validation_split=0.999)


BAD_EXAMPLES = {
    "unequal": (TEXTS[:3], [0, 1], "must be equally many, not 3, 2"),
    "none": ([], [], "There are no examples"),
    "one text": ("the cat", [1], "not a single value"),
    "no text": (["the cat", None], [0, 1], "Text 1 is None: give strings"),
    "a number": ([7, 8], [0, 1], "Text 0 is 7: give strings"),
    "a hole": (["the cat", float("nan")], [0, 1], "Text 1 is nan: give strings"),
}


@pytest.mark.parametrize("kind", BAD_EXAMPLES)
def test_examples_that_are_none_are_refused_in_one_sentence(kind):
    texts, labels, words = BAD_EXAMPLES[kind]
    with pytest.raises(ValueError, match=words):
        frozen().fit(texts, labels, verbose=0)


def test_without_an_optimizer_rate_and_epochs_follow_from_width_and_examples():
    compiled = {"run_eagerly": False, "jit_compile": False}  # 20 steps are as long as a graph takes to trace
    model, seen, texts, labels = classifier(compiled=compiled), Factors(), TEXTS[8:24], LABELS[8:24]
    settings = finetuning_settings(128, 16)
    assert float(model.optimizer.learning_rate) == pytest.approx(settings.learning_rate) == 1e-3
    model.fit(texts, labels, verbose=0, callbacks=[seen])
    assert len(seen.factors) == int(model.optimizer.iterations) == settings.epochs
    assert max(seen.factors) == pytest.approx(1.0)
    assert seen.factors.index(max(seen.factors)) + 1 == round(settings.warmup * settings.epochs)
    assert seen.factors[-1] == 0.0
    assert model.optimizer._factor() == 1.0  # a step outside of fit has the full rate
    # It has learned, though the labels stood in order.
    assert model.evaluate(texts, labels, verbose=0)[1] == 1.0


def test_what_is_given_wins():
    model, seen = classifier(), Factors()
    model.fit(TEXTS, LABELS, epochs=1, batch_size=16, verbose=0, callbacks=[seen])
    assert len(seen.factors) == 2
    model.fit(TEXTS, LABELS, epochs=2, steps_per_epoch=1, batch_size=16, verbose=0, callbacks=[seen])
    assert seen.factors[2:] == [pytest.approx(0.5 / 0.9), 0.0]
    model.optimizer.learning_rate = 3e-4
    scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    model.fit(TEXTS, LABELS, epochs=1, verbose=0, callbacks=[scheduler, seen])
    assert set(seen.factors[4:]) == {1.0}
    assert float(model.optimizer.learning_rate) == pytest.approx(1.5e-4)


def test_an_optimizer_that_is_given_is_left_alone():
    optimizer = keras.optimizers.Adam(2e-4)
    model = classifier(compiled={"optimizer": optimizer})
    history = model.fit(TEXTS, LABELS, verbose=0)
    assert model.optimizer is optimizer
    assert float(optimizer.learning_rate) == pytest.approx(2e-4)
    assert (history.params["epochs"], history.params["steps"]) == (1, 1)


def test_epochs_that_go_on_go_on_in_the_schedule():
    model, seen = classifier(), Factors()
    model.fit(TEXTS, LABELS, epochs=1, batch_size=16, verbose=0)
    model.fit(TEXTS, LABELS, epochs=3, initial_epoch=1, batch_size=16, verbose=0, callbacks=[seen])
    assert seen.factors[0] == pytest.approx((1 - 3 / 6) / 0.9)
    assert seen.factors[-1] == 0.0


def test_a_loaded_classifier_goes_on_choosing(tmp_path):
    model = classifier()
    model.fit(TEXTS, LABELS, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded, seen = keras.models.load_model(tmp_path / "model.keras"), Factors()
    assert isinstance(loaded.optimizer, FinetuningAdam)
    assert int(loaded.optimizer.iterations) == 2
    np.testing.assert_allclose(loaded.predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0), atol=1e-5)
    loaded.fit(TEXTS, LABELS, epochs=2, verbose=0, callbacks=[seen])
    assert len(seen.factors) == 4
    assert seen.factors[-1] == 0.0


def test_a_pair_of_texts_and_a_score():
    model = classifier(1, pair=True)
    scores = np.linspace(0, 5, 32)
    history = model.fit((TEXTS, TEXTS[::-1]), scores, epochs=2, validation_split=0.5, verbose=0).history
    assert np.isfinite(history["val_loss"]).all()
    with pytest.raises(ValueError, match="reads two texts"):
        model.fit(TEXTS, scores)


def test_threads_that_call_a_preprocessor_at_once_wait_until_it_is_built():
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            preprocessor, start = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=8), Barrier(8)
            with ThreadPoolExecutor(8) as threads:
                calls = [
                    threads.submit(lambda p, s: (s.wait(), p(TEXTS[:2]))[1], preprocessor, start) for _ in range(8)
                ]
                assert {np.shape(call.result()["token_ids"]) for call in calls} == {(2, 8)}
    finally:
        sys.setswitchinterval(often)
