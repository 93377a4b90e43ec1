"""What was asked, read once."""

import dataclasses
import json

import pytest

from budgetbert.budget import Budget, Progress
from budgetbert.errors import InputError
from budgetbert.training.flags import CIRCUMSTANCE, DECISIVE, Cadence, Options

pytestmark = pytest.mark.without_backend

ASKED = {"preset": "mini", "budget": "24h", "mask_rate": "0.30:0.15", "marks": "0.75,0.5", "early_stop": "3h:6.0"}


def test_each_option_is_read_into_its_type_and_kept_as_it_was_given():
    options = Options.read(ASKED, family="24h")
    assert options.preset == "mini_24h"
    assert options.budget == Budget(86_400.0, "seconds")
    assert options.mask_rate(0.5) == pytest.approx(0.225)
    assert options.marks == (0.5, 0.75)
    assert options.checkpoint_every == Cadence(600.0, "seconds")
    assert options.given["marks"] == "0.75,0.5"
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 1


def test_recipe_json_has_what_decides_apart_from_the_circumstances():
    """An option that decides the result and is not written would let another run go on in the same directory."""
    options = Options.read(ASKED, family="24h")
    decisive = {"batch_size", "batch_ramp", "micro_batch_size", "learning_rate", "mask_rate", "precision", "seed"}
    assert set(options.written(DECISIVE)) == decisive | {"early_stop"}
    assert options.written(DECISIVE)["mask_rate"] == "0.30:0.15"
    changing_nothing = {"output_dir", "plan_only", "recalibrate", "demo"}
    in_the_numbers_of_the_recipe = {
        "schedule",
        "warmup",
        "weight_decay",
        "betas",
        "clip_norm",
        "dropout",
        "config",
        "length_bins",
    }
    in_a_form_of_their_own = {"budget", "preset", "optimizer", *in_the_numbers_of_the_recipe}
    written = {*options.written(DECISIVE), *options.written(CIRCUMSTANCE)}
    assert {*written, *changing_nothing, *in_a_form_of_their_own} == set(options.given)


def test_24h_bert_s_early_stop_is_for_days():
    def of(budget, early_stop="published"):
        options = Options.read({**ASKED, "budget": budget, "early_stop": early_stop}, family="24h")
        return options.early_stop, options.given["early_stop"]

    stop, given = of("24h")
    assert given == "10692s:6.0"
    # Validation at an eighth of the budget, less the time that is kept back for the end, comes a little before 3 hours.
    assert stop(Progress(step=1), 10_692, 6.1) and stop(Progress(step=1), 10_691, 6.1) is None
    assert of("2d")[1] == "21384s:6.0"
    for budget in ("23h", "20000steps", "1EFLOP"):
        assert of(budget) == (None, None)
    assert of("24h", "none") == (None, None)
    assert of("1h", "30m:5")[1] == "30m:5"


@pytest.mark.parametrize(
    ("flag", "text"),
    [("betas", "0.9"), ("betas", "0.9,1"), ("betas", "0.9,0.99,0.999"), ("betas", "a,b"), ("betas", "nan,0.9")]
    + [("clip_norm", text) for text in ("0", "-1", "nan", "inf", "1e9", "no")],
)
def test_betas_and_norms_that_are_none_are_refused(flag, text):
    with pytest.raises(InputError, match=f"--{flag} '{text}' cannot be read"):
        Options.read({**ASKED, flag: text}, family="24h")


def test_a_config_is_of_known_fields_and_values_of_their_kind():
    given = {"num_layers": 6, "num_segments": 0, "norm": "rms_norm", "gated": True, "dropout": 0}
    assert Options.read({**ASKED, "config": json.dumps(given)}, family="24h").config == given
    assert Options.read(ASKED, family="24h").config == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((text, "cannot be read") for text in ("", "[", "[1]", "6", "num_layers=6", "[" * 100_000)),
        ('{"layers": 6}', "layers is no field"),
        ('{"vocabulary_size": 64}', "vocabulary_size is no field"),
        *((f'{{"num_layers": {value}}}', "give for example 128") for value in ("0", "-1", "2.5", "true", "1e9", '"6"')),
        *((f'{{"dropout": {value}}}', "give for example 0.1") for value in ("NaN", "Infinity", "-0.1", "true", "[]")),
        ('{"gated": 1}', "give for example true"),
        ('{"norm": "batch_norm"}', "give layer_norm or rms_norm"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        Options.read({**ASKED, "config": text}, family="24h")


@pytest.mark.parametrize("text", ["two", "0", "-1", "1.5", ""])
def test_what_is_no_number_of_devices_is_refused(text):
    assert Options.read({**ASKED, "devices": "2"}, family="24h").devices == 2
    with pytest.raises(InputError, match="cannot be read: write auto, or how many"):
        Options.read({**ASKED, "devices": text}, family="24h")


def test_marks_that_are_no_shares_are_refused():
    for marks in ("half", "0", "1.5"):
        with pytest.raises(InputError, match=r"--marks .* cannot be read"):
            Options.read({**ASKED, "marks": marks}, family="24h")


def test_a_cadence_in_steps_counts_their_number_and_one_in_time_the_seconds_since():
    steps, time = Cadence.parse("20steps"), Cadence.parse("10m")
    assert [steps.due(step, 0.0) for step in (19, 20, 40)] == [False, True, True]
    assert [time.due(7, seconds) for seconds in (599.0, 600.0)] == [False, True]
    assert not steps.regular(19)
    assert time.regular(19)
