"""A model's table of tokens for a new vocabulary."""

import keras
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.models.new_tokens import extended, transferred
from budgetbert.tokenization.normalizer import Normalizer
from tests.export.models import classifier

from .examples import VOCABULARY, batch, masked_lm, to_numpy

NEW = ["cats", "##land", "par##", "é"]
# What WordPiece makes of each by the old vocabulary; "##land" is of five letters, none of "é".
PIECES = [["cat", "##s"], ["##l", "##a", "##n", "##d"], ["[UNK]"], ["[UNK]"]]


def with_random_bias(**kwargs):
    model = masked_lm(**kwargs)
    if model.output_bias:
        model.head.bias.assign(np.random.default_rng(0).normal(size=model.head.bias.shape))
    return model


def table(model):
    return to_numpy(model.backbone.token_embedding.embeddings)


def rows_of(values, pieces):
    return values[[VOCABULARY.index(piece) for piece in pieces]]


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_24h", "tiny_frontier"])
def test_an_extended_model_keeps_what_it_knew_and_starts_new_words_as_the_mean_of_their_pieces(family):
    old = with_random_bias(family=family)
    new = extended(old, [*VOCABULARY, *NEW])
    size = len(VOCABULARY)
    inputs = {**batch(), "mask_positions": np.tile(np.arange(4, dtype="int32"), (3, 1))}
    before, after = to_numpy(old(inputs)), to_numpy(new(inputs))
    np.testing.assert_allclose(after[:, :, :size], before[:, :, :size], atol=1e-5)
    for place, pieces in enumerate(PIECES):
        # The decoder is linear in the table and in the bias.
        np.testing.assert_allclose(
            after[:, :, size + place],
            np.mean([before[:, :, VOCABULARY.index(piece)] for piece in pieces], axis=0),
            atol=1e-5,
        )
    assert after.shape[2] % 64 == 0
    assert new.preprocessor.tokenizer.get_vocabulary() == [*VOCABULARY, *NEW]
    assert new.preprocessor.tokenizer.normalizer == old.preprocessor.tokenizer.normalizer
    filled = new.fill_mask(["the [MASK]"], k=3)
    assert all(token in [*VOCABULARY, *NEW] for token, _ in filled[0][0])


def test_rows_that_stand_for_no_entry_are_the_least_probable_ones(tmp_path):
    old = with_random_bias()
    new = extended(old, [*VOCABULARY, *NEW])
    entries = len(VOCABULARY) + len(NEW)
    padding, mean = table(new)[entries:], table(new)[:entries].mean(axis=0)
    np.testing.assert_allclose(padding, np.tile(mean, (len(padding), 1)), rtol=1e-6)
    assert (to_numpy(new.head.bias)[entries:] == to_numpy(new.head.bias)[:entries].min()).all()
    new.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(table(again), table(new))


def test_a_classifier_is_extended_too():
    old = classifier("tiny_bert")
    new = extended(old, [*old.preprocessor.tokenizer.get_vocabulary(), *NEW])
    assert new.label_names == old.label_names
    inputs = batch()
    np.testing.assert_allclose(to_numpy(new(inputs)), to_numpy(old(inputs)), atol=1e-5)


def test_a_model_of_another_language_keeps_what_both_have():
    old = with_random_bias()
    other = [*VOCABULARY[:5], *"äöü", "der", "cat", *(f"##wort{index}" for index in range(2000))]
    new = transferred(old, other)
    for entry in [*VOCABULARY[:5], "cat"]:
        np.testing.assert_array_equal(table(new)[other.index(entry)], rows_of(table(old), [entry])[0])
    drawn, known = table(new)[10 : len(other)], table(old)[: len(VOCABULARY)]
    # 2,000 draws: their mean is known to a 45th of the spread, the spread itself to a 63rd.
    np.testing.assert_allclose(drawn.mean(axis=0), known.mean(axis=0), atol=0.1 * known.std())
    np.testing.assert_allclose(drawn.std(axis=0), known.std(axis=0), rtol=0.15)
    np.testing.assert_allclose(
        to_numpy(new.head.bias)[10 : len(other)], to_numpy(old.head.bias)[: len(VOCABULARY)].mean(), rtol=1e-5
    )
    np.testing.assert_array_equal(table(transferred(old, other)), table(new))
    cased = Normalizer(False, False, "checkpoint")
    assert transferred(old, other, cased).preprocessor.tokenizer.normalizer == cased
    assert new.preprocessor.tokenizer.normalizer == old.preprocessor.tokenizer.normalizer
    assert (table(transferred(old, other, seed=1))[12] != table(new)[12]).any()


def test_a_vocabulary_that_is_not_the_models_is_refused():
    with pytest.raises(
        InputError, match=r"does not begin with the model's 71: prepare the text with --vocabulary_from"
    ):
        extended(masked_lm(), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "other"])
    with pytest.raises(InputError, match="has no vocabulary"):
        extended(masked_lm(preprocessor=None), VOCABULARY)
