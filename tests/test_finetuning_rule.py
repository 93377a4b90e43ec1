"""Rate, epochs and batch of a finetuning, from the encoder's width and the number of examples."""

import subprocess
import sys

import pytest

from budgetbert.finetuning_rule import finetuning_settings, learning_rate_of


# Cramming's, ELECTRA-small's and the middle of what BERT-large is finetuned with; at 128 our own runs.
@pytest.mark.parametrize(("width", "rate", "within"), [(768, 4e-5, 0.02), (256, 3e-4, 0.05), (1024, 2e-5, 0.25)])
def test_the_rates_are_those_that_published_encoders_are_finetuned_with(width, rate, within):
    assert learning_rate_of(width) == pytest.approx(rate, rel=within)


def test_a_narrower_encoder_has_a_higher_rate_up_to_the_highest_that_was_tried():
    rates = [learning_rate_of(width) for width in (1024, 768, 512, 256, 128, 64)]
    assert rates == sorted(rates)
    assert learning_rate_of(128) == 1e-3
    assert learning_rate_of(8) == 3e-3


def test_small_sets_are_read_more_often():
    epochs = [finetuning_settings(128, examples).epochs for examples in (1, 300, 600, 1_000, 2_000, 400_000)]
    assert epochs == [20, 20, 10, 6, 3, 3]


def test_many_classes_want_more_updates():
    epochs = [finetuning_settings(128, 1_500, classes=classes).epochs for classes in (1, 2, 18, 77, 150)]
    assert epochs == [4, 4, 4, 17, 20]


def test_a_batch_that_is_given_decides_the_epochs():
    assert finetuning_settings(128, 3_000, batch_size=64).batch_size == 64
    assert finetuning_settings(128, 1_000, batch_size=64).epochs > finetuning_settings(128, 1_000).epochs


@pytest.mark.parametrize("wrong", [{"width": 0}, {"examples": 0}, {"batch_size": -1}, {"classes": 0}])
def test_what_is_not_positive_is_refused(wrong):
    with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` must be positive"):
        finetuning_settings(**{"width": 128, "examples": 10, **wrong})


def test_the_rule_needs_no_keras():
    code = "import sys, budgetbert.finetuning_rule; print('keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
