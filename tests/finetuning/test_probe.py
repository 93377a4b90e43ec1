import keras
import numpy as np
import pytest

from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.probe import FrozenFeatures, Parts, probe, probe_encoder
from budgetbert.finetuning.tasks import TASKS
from budgetbert.models import BertBudget, BertBudgetTokenizer

WORDS = ["the", "film", "was", "very", "good", "bad", "and", "long", "short", "loud"]


@pytest.fixture(scope="module")
def tokenizer():
    return BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return BertBudget.from_preset("tiny_frontier", load_weights=False, num_layers=3, vocabulary_size=64)


def test_features_are_the_means_of_the_middle_block_over_the_tokens_of_each_text(encoder, tokenizer):
    first, second = ["the film was long and loud", "bad"], ["short", "the film was very good and"]
    middle = keras.Model(encoder.input, encoder.get_layer("block_1").output)  # of three blocks the second

    def mean(text):  # alone, in a row without padding
        ids = [tokenizer.cls_token_id, *(int(i) for i in tokenizer(text)), tokenizer.sep_token_id]
        ids = np.array([ids], "int32")
        inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
        return middle.predict_on_batch(inputs)[0].mean(axis=0)

    features = FrozenFeatures(encoder, tokenizer)
    u, v = (np.stack([mean(text) for text in texts]) for texts in (first, second))
    np.testing.assert_allclose(features((first,)), u, atol=1e-5)
    np.testing.assert_allclose(features((first, second)), np.hstack([u, v, abs(u - v), u * v]), atol=1e-5)
    other = FrozenFeatures(encoder, tokenizer, block=3)((first,))
    assert np.abs(other - u).max() > 0.01


@pytest.mark.without_backend
def test_a_ridge_on_half_of_the_examples_equals_its_formula():
    generator = np.random.default_rng(0)
    x, judged = generator.normal(size=(60, 5)), generator.normal(size=(40, 5))
    weights = generator.normal(size=5)
    y, truth = x @ weights + generator.normal(size=60), judged @ weights

    def ridge(x, y, at, penalty):
        mean, deviation = x.mean(axis=0), x.std(axis=0)
        x, at = (x - mean) / deviation, (at - mean) / deviation
        return at @ np.linalg.solve(x.T @ x + penalty * np.eye(5), x.T @ (y - y.mean())) + y.mean()

    def one_out(x, y, penalty):
        """The mean squared error of each example by the ridge of the others, of columns that all together scaled."""
        x = (x - x.mean(axis=0)) / x.std(axis=0)
        errors = []
        for place in range(len(y)):
            x_others, y_others = np.delete(x, place, axis=0), np.delete(y, place)
            mean = x_others.mean(axis=0)
            centred = x_others - mean
            slope = np.linalg.solve(centred.T @ centred + penalty * np.eye(5), centred.T @ (y_others - y_others.mean()))
            errors.append((y[place] - (x[place] - mean) @ slope - y_others.mean()) ** 2)
        return np.mean(errors)

    found = probe(TASKS["stsb"], (x, y), (judged, truth), draws=2)
    draws = np.random.default_rng(0)
    for value in found:
        drawn = np.sort(draws.permutation(60)[:30])
        best = min(np.logspace(0, 5, 6), key=lambda penalty: one_out(x[drawn], y[drawn], penalty))
        predicted = ridge(x[drawn], y[drawn], judged, best)
        assert value == pytest.approx(np.corrcoef(truth, predicted)[0, 1], abs=1e-6)


def test_it_finds_what_random_weights_keep_of_a_text_and_nothing_where_there_is_nothing(encoder, tokenizer):
    generator = np.random.default_rng(0)

    def examples(count, follow):
        labels = generator.integers(0, 2, count).astype("int32")
        said = labels if follow else generator.integers(0, 2, count)
        texts = [
            " ".join(generator.permutation(["the film was", ("bad", "good")[word], *generator.choice(WORDS[6:], 2)]))
            for word in said
        ]
        return Examples((texts,), labels, ())

    task = TASKS["sst2"]
    told = probe_encoder(encoder, tokenizer, [Parts(task, examples(120, True), examples(100, True))])["sst2"]
    assert told.shape == (5,)
    assert told.mean() > 0.9
    chance = probe_encoder(encoder, tokenizer, [Parts(task, examples(120, False), examples(100, False))])["sst2"]
    assert 0.3 < chance.mean() < 0.7
