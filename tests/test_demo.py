"""The demo's own parts; `.ci/run` runs it whole."""

import keras
import numpy as np
import pytest

import budgetbert
from budgetbert import demo
from budgetbert.corpus.sources import novels
from budgetbert.reporting.numbers import nats

pytestmark = pytest.mark.without_backend


def test_the_authors_are_in_equal_parts_and_judged_by_other_books():
    task, examples = demo.read_authors()
    train, test = examples["train"], examples["test"]
    assert np.bincount(train.labels).tolist() == [demo.PASSAGES] * 6
    assert np.bincount(test.labels).tolist() == [60] * 6
    assert len(set(train.texts[0]) | set(test.texts[0])) == len(train) + len(test)
    assert task.labels[int(test.labels[0])] == next(novels.read(novels.HELD_OUT))["author"]


@pytest.mark.parametrize(("seconds", "updates", "done"), [(3600.0, 20, 20), (1e-9, 20, 1)])
def test_a_fit_ends_after_its_seconds_or_updates_with_a_rate_that_fell(seconds, updates, done):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    rates = []
    within = demo.WithinSeconds(seconds, updates, 0.5)
    seen = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    x = np.zeros((64, 1), "float32")
    model.fit(x, x, batch_size=8, epochs=9, callbacks=[within, seen], verbose=0)
    assert len(rates) == within.done == done
    if done > 1:
        assert (rates[0], max(rates), rates[2], rates[-1]) == pytest.approx((0.0, 0.5, 0.5, 0.5 / 18), abs=0.02)


def test_masks_are_shown_beside_the_frequency_of_words(capsys, monkeypatch):
    monkeypatch.setattr(novels, "read", lambda name: iter([{"text": "the door the"}]))
    tokenizer = budgetbert.BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "door"])
    assert demo.word_frequency(tokenizer)[5:].tolist() == pytest.approx([2 / 3, 1 / 3])
    model = budgetbert.BertBudgetMaskedLM.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        preprocessor=budgetbert.BertBudgetMaskedLMPreprocessor(tokenizer, sequence_length=16),
    )
    demo.show_filled_masks(model)
    printed = capsys.readouterr().out
    assert all(sentence in printed for sentence in demo.SENTENCES)
    assert printed.count("(66.7%)") == len(demo.SENTENCES) + 1


def test_the_expected_loss_is_read_off_between_recorded_runs_and_beyond_them_said_to_be_unknown():
    (first, loss), *_, (last, end) = demo.RECORDED
    told = [demo.recorded_runs(flops) for flops in (first / 2, first, last, 2 * last)]
    assert [line.startswith("recorded runs of as many FLOPs") for line in told] == [False, True, True, False]
    assert [line.partition(": ")[2] for line in told] == [nats(loss), nats(loss), nats(end), nats(end)]
    losses = [
        float(demo.recorded_runs(flops).partition(": ")[2]) for flops in np.geomspace(first * 1.01, last * 0.99, 20)
    ]
    assert losses == sorted(losses, reverse=True)
