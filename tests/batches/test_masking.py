import numpy as np
import pytest

from budgetbert.batches import ALL_MASKED, Masking, predictions_per_row

pytestmark = pytest.mark.without_backend

SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}  # as in bert-base-uncased
VOCABULARY = [f"[unused{i}]" if i < 104 else f"word{i}" for i in range(1000)]
for name, index in SPECIAL.items():
    VOCABULARY[index] = name


def rows(count=200, length=128, seed=0):
    return np.random.default_rng(seed).integers(104, 1000, (count, length)).astype(np.uint16)


@pytest.mark.parametrize(
    ("rate", "predictions", "masked", "replaced", "kept"), [(0.25, 32, 26, 3, 3), (0.15, 19, 15, 2, 2)]
)
def test_a_full_row_has_the_exact_counts(rate, predictions, masked, replaced, kept):
    original = rows()
    batch = Masking(rate, VOCABULARY, SPECIAL, seed=1)(original, first_use=0)
    assert predictions_per_row(rate, 128) == predictions == batch["labels"].shape[1]
    assert batch["weights"].all()
    at_positions = np.take_along_axis(batch["token_ids"], batch["mask_positions"], axis=1)
    assert (np.count_nonzero(at_positions == SPECIAL["[MASK]"], axis=1) == masked).all()
    # a random token may by chance be the old one: once in 896 draws
    changed = np.count_nonzero(batch["token_ids"] != original, axis=1)
    assert np.median(changed) == masked + replaced
    assert changed.max() == masked + replaced
    assert predictions - masked - replaced == kept


def test_all_can_stand_behind_a_mask_and_the_same_tokens_are_chosen():
    original = rows()
    published = Masking(0.15, VOCABULARY, SPECIAL, seed=1)(original, first_use=0)
    batch = Masking(0.15, VOCABULARY, SPECIAL, seed=1, shares=ALL_MASKED)(original, first_use=0)
    at_positions = np.take_along_axis(batch["token_ids"], batch["mask_positions"], axis=1)
    assert (at_positions == SPECIAL["[MASK]"]).all()
    for name in ("mask_positions", "labels", "weights"):
        assert (batch[name] == published[name]).all()


def test_labels_are_the_tokens_that_were_there_and_nothing_else_changes():
    original = rows()
    batch = Masking(0.15, VOCABULARY, SPECIAL, seed=1)(original, first_use=0)
    assert (np.take_along_axis(original, batch["mask_positions"], axis=1) == batch["labels"]).all()
    restored = batch["token_ids"].copy()
    np.put_along_axis(restored, batch["mask_positions"], batch["labels"], axis=1)
    assert (restored == original).all()
    assert all(len(set(positions)) == len(positions) for positions in batch["mask_positions"].tolist())


def test_special_tokens_are_never_chosen_and_never_drawn():
    original = rows(count=500)
    original[:, ::5] = SPECIAL["[SEP]"]
    original[:, 0] = SPECIAL["[CLS]"]
    original[:, 3] = SPECIAL["[UNK]"]
    batch = Masking(0.25, VOCABULARY, SPECIAL, seed=1)(original, first_use=0)
    assert not np.isin(batch["labels"], list(SPECIAL.values())).any()
    drawn = batch["token_ids"][batch["token_ids"] != original]
    drawn = drawn[drawn != SPECIAL["[MASK]"]]
    assert len(drawn) > 1000
    assert drawn.min() >= 104  # neither special nor [unused]


def test_a_short_row_has_fewer_predictions_and_weight_zero_in_the_other_slots():
    original = rows(count=3)
    original[0, 40:] = SPECIAL["[PAD]"]  # 40 tokens: round(0.15 x 40) = 6
    original[1, 2:] = SPECIAL["[PAD]"]  # 2 tokens: at least 1
    original[2, :] = SPECIAL["[SEP]"]  # nothing to predict
    batch = Masking(0.15, VOCABULARY, SPECIAL, seed=1)(original, first_use=0)
    assert batch["weights"].sum(axis=1).tolist() == [6, 1, 0]
    assert (batch["token_ids"][2] == original[2]).all()
    assert (batch["token_ids"][0, 40:] == SPECIAL["[PAD]"]).all()


def test_masks_are_a_function_of_seed_and_use_whatever_the_split():
    original, masking = rows(count=12), Masking(0.15, VOCABULARY, SPECIAL, seed=1)
    whole = masking(original, first_use=100)
    for first in range(0, 12, 4):
        part = masking(original[first : first + 4], first_use=100 + first)
        assert all((whole[name][first : first + 4] == part[name]).all() for name in whole)
    assert (masking(original, 112)["mask_positions"] != whole["mask_positions"]).any()
    other = Masking(0.15, VOCABULARY, SPECIAL, seed=2)(original, 100)
    assert (other["mask_positions"] != whole["mask_positions"]).any()


def test_every_position_is_chosen_equally_often():
    # Cramming's stable argsort of integers favours the first positions by 3 %
    count = 4000
    batch = Masking(0.25, VOCABULARY, SPECIAL, seed=1)(rows(count), first_use=0)
    share = np.bincount(batch["mask_positions"].ravel(), minlength=128) / count
    assert np.abs(share - 0.25).max() < 5 * (0.25 * 0.75 / count) ** 0.5
