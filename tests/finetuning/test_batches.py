"""Batches of texts: what is in them, and that their order is a function of seed and epoch."""

import numpy as np
import pytest

from budgetbert.finetuning import batches
from budgetbert.finetuning.batches import EncodedExamples, TrainingBatches, judging_batches
from budgetbert.finetuning.data import Examples
from budgetbert.models import BertBudgetTextClassifierPreprocessor
from tests.models.examples import tokenizer

pytestmark = pytest.mark.without_backend

WORDS = ["the", "cat", "sat", "on", "mat", "dog"]


def examples(count=100, pair=False):
    generator = np.random.default_rng(0)
    columns = [
        [" ".join(generator.choice(WORDS, generator.integers(1, 30))) for _ in range(count)] for _ in range(1 + pair)
    ]
    return Examples(tuple(columns), np.arange(count, dtype="int32"), ())


@pytest.mark.parametrize("pair", [False, True])
def test_rows_are_those_of_the_models_own_preprocessor(pair):
    texts = examples(pair=pair)
    encoded = EncodedExamples(texts, tokenizer(), 24)
    ours = encoded.batch(np.arange(100), 100)
    columns = tuple(map(np.array, texts.texts)) if pair else np.array(texts.texts[0])
    theirs, _ = BertBudgetTextClassifierPreprocessor(tokenizer(), 24)(columns, texts.labels)
    np.testing.assert_array_equal(ours["token_ids"], theirs["token_ids"])
    np.testing.assert_array_equal(ours["padding_mask"], theirs["padding_mask"])
    if pair:
        np.testing.assert_array_equal(ours["segment_ids"], theirs["segment_ids"])


def test_two_texts_apart_are_rows_of_their_own():
    texts = examples(pair=True)
    encoded = EncodedExamples(texts, tokenizer(), 24, apart=True)
    ours = encoded.batch(np.arange(100), 104)
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), 24, apart=True)
    theirs, _ = preprocessor(tuple(map(np.array, texts.texts)), texts.labels)
    for name in ("token_ids", "padding_mask", "segment_ids"):
        assert ours[name].shape == (104, 2, 24)
        np.testing.assert_array_equal(ours[name][:100], theirs[name])
    assert (ours["padding_mask"][100:].sum(axis=-1) == 1).all()
    np.testing.assert_array_equal(encoded.lengths, np.sum(theirs["padding_mask"], axis=-1).max(axis=-1))


def test_an_epoch_reads_every_text_once_and_the_next_in_another_order():
    encoded = EncodedExamples(examples(), tokenizer(), 32)
    batches = TrainingBatches(encoded, 8, seed=1, drop_last=False, steps=26)
    epochs = [np.concatenate([batches.indices(13 * epoch + i) for i in range(13)]) for epoch in (0, 1)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(100))
    assert epochs[0].tolist() != epochs[1].tolist()
    other = TrainingBatches(encoded, 8, seed=2, drop_last=False, steps=26)
    assert other.indices(0).tolist() != batches.indices(0).tolist()


def test_whole_batches_alone_where_the_last_is_dropped():
    encoded = EncodedExamples(examples(), tokenizer(), 32)
    batches = TrainingBatches(encoded, 8, seed=1, drop_last=True, steps=24)
    rows = [batches.indices(i) for i in range(12)]
    assert {row.size for row in rows} == {8}
    assert len(set(np.concatenate(rows))) == 96


def test_an_accelerator_pads_to_multiples_of_32_up_to_the_longest(monkeypatch):
    monkeypatch.setattr(batches, "_multiple", lambda: 32)
    assert [batches.padded_length(length, 128) for length in (3, 32, 33, 127)] == [32, 32, 64, 128]
    assert [batches.padded_length(length, 100) for length in (60, 97)] == [64, 104]
    assert batches.padded_length(60, 60) == 64


def test_padding_ends_with_the_longest_text_of_a_batch_in_multiples_of_8():
    encoded = EncodedExamples(examples(), tokenizer(), 32)
    batches = TrainingBatches(encoded, 8, seed=1, drop_last=False, steps=13)
    for number in range(13):
        indices = batches.indices(number)
        batch = encoded.batch(indices, 8)
        longest = encoded.lengths[indices].max()
        assert batch["token_ids"].shape == (8, 8 * -(-longest // 8))
        assert batch["weights"].sum() == indices.size
        np.testing.assert_array_equal(batch["padding_mask"].sum(1)[: indices.size], encoded.lengths[indices])
        np.testing.assert_array_equal(batch["labels"][: indices.size], indices)


def test_sorting_by_length_saves_padding():
    encoded = EncodedExamples(examples(1000), tokenizer(), 32)
    batches = TrainingBatches(encoded, 8, seed=1, drop_last=False, steps=125)
    sorted_tokens = sum(8 * encoded.length_of(batches.indices(i)) for i in range(125))
    order = np.random.default_rng(0).permutation(1000)
    tokens = sum(8 * encoded.length_of(order[i : i + 8]) for i in range(0, 1000, 8))
    assert sorted_tokens < 0.75 * tokens


def test_reading_goes_on_where_it_stopped():
    encoded = EncodedExamples(examples(), tokenizer(), 32)
    batches = TrainingBatches(encoded, 8, seed=1, drop_last=False, steps=26)
    whole = [batch["labels"].tolist() for batch in batches.read(0, 8)]
    rest = [batch["labels"].tolist() for batch in batches.read(8 * 15, 8)]
    assert len(whole) == 26
    assert rest == whole[15:]


def test_every_text_is_judged_once():
    encoded = EncodedExamples(examples(), tokenizer(), 32)
    parts = judging_batches(encoded, rows=16)
    assert sorted(np.concatenate([indices for indices, _ in parts])) == list(range(100))
    assert all(batch["token_ids"].shape[0] == 16 for _, batch in parts)
    lengths = [batch["token_ids"].shape[1] for _, batch in parts]
    assert lengths == sorted(lengths)
