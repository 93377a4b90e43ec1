"""`--remat`: chosen where nothing else fits, told with its reason, and another one when a run goes on."""

import json

import numpy as np
import pytest
from keras import ops

from budgetbert.errors import InputError
from budgetbert.presets import PRESETS
from budgetbert.training.plan import memory
from budgetbert.training.step.base import make_step
from tests.training.runs import train


def speed(directory):
    return json.loads((directory / "plan.json").read_text())["phases"][0]["speed"]


@pytest.fixture(scope="module")
def roomy(small_corpus, tmp_path_factory):
    """The directory of a run that was planned where there is room for everything."""
    directory = tmp_path_factory.mktemp("plan") / "roomy"
    train(small_corpus.directory, directory, plan_only=True)
    return directory


def room_for(rows, small_corpus, roomy):
    """Returns the bytes in which a number of rows, perhaps a broken one, fits when all activations are kept."""
    plan = json.loads((roomy / "plan.json").read_text())
    config = {**PRESETS["tiny_24h"]["backbone"], "vocabulary_size": -(-len(small_corpus.vocabulary) // 64) * 64}
    one = memory.activation_bytes(config, 1, plan["sequence_length"], plan["predictions_per_row"])
    # As many bytes as the sums are the weights, of which the optimizer's step takes two more.
    return 2 * plan["memory"]["sums"] + rows * one


@pytest.mark.without_backend
def test_auto_takes_it_where_not_even_a_row_fits_without(small_corpus, roomy, tmp_path, monkeypatch, capsys):
    room = room_for(0.9, small_corpus, roomy)
    assert speed(roomy)["remat"] == ""
    monkeypatch.setattr(memory, "available", lambda: room)
    train(small_corpus.directory, tmp_path / "small", plan_only=True, micro_batch_size=None)
    told = capsys.readouterr().out
    assert "blocks are computed again in the backward pass (micro-batches do not fit otherwise)" in told
    assert "about a third more compute" in told
    assert speed(tmp_path / "small")["micro_batch_size"] == 1
    # What is computed twice is counted once.
    counted = [json.loads((at / "plan.json").read_text())["flops_per_token"] for at in (roomy, tmp_path / "small")]
    assert counted[0] == counted[1]


@pytest.mark.without_backend
def test_a_micro_batch_that_was_asked_for_is_kept_by_it_unless_it_is_off(small_corpus, roomy, tmp_path, monkeypatch):
    room = room_for(3.9, small_corpus, roomy)
    monkeypatch.setattr(memory, "available", lambda: room)
    with pytest.raises(InputError, match=r"size of 4 rows .* take 3 or less, or leave it out, or give --remat on"):
        train(small_corpus.directory, tmp_path / "off", remat="off")
    train(small_corpus.directory, tmp_path / "auto", remat="auto", plan_only=True)
    assert speed(tmp_path / "auto")["micro_batch_size"] == 4
    assert speed(tmp_path / "auto")["remat"]


def test_so_it_is_where_the_device_says_that_memory_ran_out(small_corpus, tmp_path):
    tried = []

    def make(*arguments):
        step = make_step(*arguments)
        accumulate = step.accumulate

        def limited(batches, *rest):
            tried.append(step.remat)
            if not step.remat:
                raise MemoryError
            return accumulate(batches, *rest)

        step.accumulate = limited
        return step

    train(small_corpus.directory, tmp_path, plan_only=True, make_step=make)
    assert tried[:2] == [False, True] and set(tried[1:]) == {True}
    assert speed(tmp_path)["remat"] == "micro-batches do not fit otherwise"


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_run_goes_on_with_another_setting_equal_within_rounding(small_corpus, tmp_path, capsys):
    flags = {"budget": "4steps", "checkpoint_every": "2steps"}
    undisturbed = train(small_corpus.directory, tmp_path / "off", remat="off", **flags)
    train(small_corpus.directory, tmp_path / "both", remat="off", stop_at=0.5, **flags)
    capsys.readouterr()
    model = train(small_corpus.directory, tmp_path / "both", remat="on", **flags)
    assert "--remat on, equal within rounding only" in capsys.readouterr().out
    assert speed(tmp_path / "both")["remat"] == "as asked for"
    for one, other in zip(undisturbed.trainable_variables, model.trainable_variables, strict=True):
        np.testing.assert_allclose(ops.convert_to_numpy(other), ops.convert_to_numpy(one), atol=2e-6)


@pytest.mark.without_backend
def test_the_estimate_holds_the_inputs_of_all_blocks_and_one_block():
    config = PRESETS["bert_large_24h"]["backbone"]
    kept, recomputed = (memory.activation_bytes(config, 8, 128, 19, 2, remat) for remat in (False, True))
    logits = 8 * 3 * 4 * 19 * config["vocabulary_size"]
    inputs = 8 * 128 * 1024 * 2
    assert recomputed - logits == 24 * inputs + (kept - logits) / 24
