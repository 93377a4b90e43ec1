"""What was asked, read once."""

import dataclasses

import pytest

from budgetbert.budget import Budget
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
    in_a_form_of_their_own = {"budget", "preset", "optimizer"}
    written = {*options.written(DECISIVE), *options.written(CIRCUMSTANCE)}
    assert {*written, *changing_nothing, *in_a_form_of_their_own} == set(options.given)


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
