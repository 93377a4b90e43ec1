import numpy as np
import pytest

from budgetbert.batches import Loader, Masking, row_inputs, stack
from tests.batches.test_masking import SPECIAL, VOCABULARY, rows

pytestmark = pytest.mark.without_backend


def loader(count=50, seed=3, shuffle=True):
    original = rows(count)
    return original, Loader(original, Masking(0.15, VOCABULARY, SPECIAL, seed=1), seed, shuffle)


def restored(batch):
    token_ids = batch["token_ids"].copy()
    np.put_along_axis(token_ids, batch["mask_positions"], batch["labels"], axis=1)
    return token_ids


def test_every_epoch_holds_every_row_once_in_another_order():
    original, subject = loader()
    first, second = (restored(subject.micro_batch(start, 50)) for start in (0, 50))
    for epoch in (first, second):
        assert sorted(map(tuple, epoch)) == sorted(map(tuple, original))
    assert (first != second).any()
    assert (first != original).any()


def test_the_order_depends_on_the_seed_alone():
    same, other = (restored(loader(seed=seed)[1].micro_batch(0, 50)) for seed in (3, 4))
    assert (same == restored(loader(seed=3)[1].micro_batch(0, 50))).all()
    assert (same != other).any()


def test_any_position_can_be_asked_for_directly():
    _, subject = loader()
    stream = subject.read(first_use=20, count=10)
    for first in range(20, 120, 10):  # over the ends of two epochs
        batch, direct = next(stream), subject.micro_batch(first, 10)
        assert all((batch[name] == direct[name]).all() for name in direct)


def test_an_epoch_far_out_can_be_asked_for_directly():
    original, subject = loader()
    far = restored(subject.micro_batch(50 * 10**13, 50))
    assert sorted(map(tuple, far)) == sorted(map(tuple, original))


def test_without_shuffling_rows_keep_their_order():
    original, subject = loader(shuffle=False)
    assert (restored(subject.micro_batch(0, 50)) == original).all()


def test_sorted_rows_are_read_in_their_order_once():
    original, permuted = loader()
    masking = Masking(0.15, VOCABULARY, SPECIAL, seed=1)
    order = np.random.default_rng(0).permutation(50).astype(np.uint32)
    subject = Loader(original, masking, seed=3, order=order)
    assert (restored(subject.micro_batch(0, 50)) == original[order]).all()
    second = restored(subject.micro_batch(40, 60))  # over the end of the first epoch
    assert (second[:10] == original[order][40:]).all()
    stored_in_order = Loader(original[order], masking, seed=3)
    assert (second[10:] == restored(stored_in_order.micro_batch(50, 50))).all()
    assert (second[10:] != restored(permuted.micro_batch(50, 50))).any()


def test_stacked_batches_fill_a_fixed_capacity_with_zeros():
    _, subject = loader()
    batches = [subject.micro_batch(0, 4), subject.micro_batch(4, 4)]
    stacked = stack(batches, capacity=3)
    for name in batches[0]:
        assert stacked[name].shape == (3, *batches[0][name].shape)
        assert (stacked[name][1] == batches[1][name]).all()
        assert not stacked[name][2].any()


CLS, SEP, PAD = SPECIAL["[CLS]"], SPECIAL["[SEP]"], SPECIAL["[PAD]"]
PAIRS = np.array(
    [
        [CLS, 200, 201, SEP, 202, SEP, PAD, PAD],
        [CLS, 200, SEP, 201, 202, 203, 204, SEP],
    ],
    np.uint16,
)


@pytest.mark.parametrize("kind", ["packed", "sentences", "pairs"])
def test_rows_come_with_the_inputs_that_their_kind_needs(kind):
    mask = [[1, 1, 1, 1, 1, 1, 0, 0], [1] * 8]
    segments = [[0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1]]
    expected = {"packed": {}, "sentences": {"padding_mask": mask}}
    expected["pairs"] = {"padding_mask": mask, "segment_ids": segments}
    found = row_inputs(PAIRS, kind, SPECIAL)
    assert {name: array.tolist() for name, array in found.items()} == expected[kind]
    assert all(array.dtype == np.int32 for array in found.values())
    masking = Masking(0.9, VOCABULARY, SPECIAL, seed=1)  # as many masks as there can be
    batch = Loader(PAIRS, masking, seed=3, shuffle=False, kind=kind).micro_batch(0, 2)
    assert {name: batch[name].tolist() for name in batch if name in ("padding_mask", "segment_ids")} == expected[kind]


def test_labels_stay_with_their_rows():
    original, _ = loader()
    labels = np.random.default_rng(0).integers(0, 2, 50).astype(np.uint8)
    label_of = dict(zip(map(tuple, original), labels.tolist(), strict=True))
    masking = Masking(0.15, VOCABULARY, SPECIAL, seed=1)
    batch = Loader(original, masking, seed=3, labels=labels).micro_batch(20, 60)
    assert batch["next_sentence_labels"].dtype == np.int32
    assert batch["next_sentence_labels"].tolist() == [label_of[tuple(row)] for row in restored(batch)]
    assert stack([batch], 2)["next_sentence_labels"].shape == (2, 60)
