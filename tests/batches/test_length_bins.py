import itertools

import numpy as np
import pytest

from budgetbert.batches import LengthBins, Loader, Masking, mean_length
from tests.batches.test_masking import SPECIAL, VOCABULARY
from tests.batches.test_masking import rows as full_rows

pytestmark = pytest.mark.without_backend

LENGTH, WIDTH, STEP = 64, 16, 48


def pairs(count=500):
    """Rows [CLS] A [SEP] B [SEP] [PAD] ... of 5 to 64 tokens, and a label for each."""
    draw = np.random.default_rng(0)
    rows, lengths = full_rows(count, LENGTH), draw.integers(5, LENGTH + 1, count)
    lengths[::3] = LENGTH
    rows[:, 0] = SPECIAL["[CLS]"]
    rows[np.arange(count), lengths // 2] = rows[np.arange(count), lengths - 1] = SPECIAL["[SEP]"]
    rows[np.arange(LENGTH) >= lengths[:, None]] = SPECIAL["[PAD]"]
    return rows, draw.integers(0, 2, count).astype(np.uint8)


def loader(rate=0.15, slots=None, share=(0, 1)):
    rows, labels = pairs()
    masking = Masking(rate, VOCABULARY, SPECIAL, seed=1, slots=slots)
    return Loader(rows, masking, seed=3, kind="pairs", labels=labels, share=share)


def described(batch):
    """What each row of a batch is to training, as a sorted list: inputs, and the label at each place."""
    found = []
    for row in range(len(batch["token_ids"])):
        length = int(batch["padding_mask"][row].sum())
        places, labels = (batch[name][row][batch["weights"][row] > 0] for name in ("mask_positions", "labels"))
        inputs = (batch[name][row, :length].tolist() for name in ("token_ids", "segment_ids"))
        predicted = sorted(zip(places.tolist(), labels.tolist(), strict=True))
        found.append((*inputs, predicted, int(batch["next_sentence_labels"][row])))
    return sorted(found)


def step_of(bins, number, count):
    return [bins.micro_batch(number * STEP + place, count) for place in range(0, STEP, count)]


@pytest.mark.parametrize("slots", [None, 16])
def test_a_step_has_the_rows_and_the_predictions_that_it_has_padded(slots):
    bins = LengthBins(loader(slots=slots), STEP, WIDTH)
    for number in (0, 1, 10, 11):  # Step 10 goes over the end of an epoch.
        padded = described(loader(slots=slots).micro_batch(number * STEP, STEP))
        binned = list(itertools.chain.from_iterable(described(batch) for batch in step_of(bins, number, 8)))
        assert sorted(binned) == padded
        assert binned != padded


def test_a_micro_batch_is_as_long_as_the_bin_of_its_longest_row():
    bins = LengthBins(loader(), STEP, WIDTH)
    for number in range(5):
        widths = []
        for batch in step_of(bins, number, 8):
            longest = batch["padding_mask"].sum(axis=1).max()
            widths.append(batch["token_ids"].shape[1])
            assert longest <= widths[-1] < longest + WIDTH
            assert batch["token_ids"].shape == batch["padding_mask"].shape == batch["segment_ids"].shape
            assert batch["labels"].shape[1] == max(1, round(0.15 * widths[-1]))
            assert batch["mask_positions"].max() < widths[-1]
        assert widths == sorted(widths, reverse=True)
        assert set(widths) <= {16, 32, 48, 64}
        assert len(set(widths)) > 1


def test_any_micro_batch_can_be_asked_for_directly_and_in_another_object():
    stream = LengthBins(loader(), STEP, WIDTH).read(STEP + 16, 8)
    for first_use in range(STEP + 16, 13 * STEP, 8):
        batch, direct = next(stream), LengthBins(loader(), STEP, WIDTH).micro_batch(first_use, 8)
        assert batch.keys() == direct.keys()
        assert all((batch[name] == direct[name]).all() for name in direct)


def test_smaller_micro_batches_hold_the_same_rows_in_the_same_order():
    bins = LengthBins(loader(), STEP, WIDTH)
    whole, halves = (step_of(bins, 3, count) for count in (16, 8))
    for number, batch in enumerate(whole):
        both = described(halves[2 * number]) + described(halves[2 * number + 1])
        assert sorted(both) == described(batch)


def test_the_shares_of_several_processes_are_the_whole_in_one_shape():
    whole = step_of(LengthBins(loader(), STEP, WIDTH), 2, 8)
    shares = [step_of(LengthBins(loader(share=(rank, 2)), STEP, WIDTH), 2, 8) for rank in range(2)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for name, array in batch.items():
            assert (np.concatenate([part[name] for part in parts]) == array).all()


def test_the_planned_length_is_the_mean_of_what_is_computed():
    rows, _ = pairs()
    lengths = (rows != SPECIAL["[PAD]"]).sum(axis=1)
    for count in (4, 8, 48):
        bins = LengthBins(loader(), STEP, WIDTH)
        steps = [batch["token_ids"].shape[1] for number in range(10) for batch in step_of(bins, number, count)]
        assert mean_length(lengths, STEP, count, WIDTH, LENGTH) == pytest.approx(np.mean(steps), rel=0.04)
    # Of a large batch nothing but the rounding up is left.
    rounded = np.minimum(-(-lengths // WIDTH) * WIDTH, LENGTH).mean()
    assert mean_length(lengths, 65_536, 8, WIDTH, LENGTH) == pytest.approx(rounded, rel=0.02)
    # A batch in one piece is as long as its longest row.
    assert mean_length(lengths, 48, 48, WIDTH, LENGTH) == LENGTH
