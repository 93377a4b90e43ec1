"""The loop in real runs of `tiny`: schedules, guards, marks, early ends, disks that fill."""

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from budgetbert import schedules
from budgetbert.batches import Loader
from budgetbert.errors import TrainingError
from budgetbert.training.loop.validation import Validation
from budgetbert.training.run.directory import Run
from budgetbert.training.step.base import make_step
from tests.training.runs import EVERY_STEP, RECIPE, SlowStep, train


def lines(directory, key):
    return [line for line in Run(str(directory)).lines() if key in line]


@pytest.mark.any_backend
def test_batch_and_mask_rate_follow_their_schedules(small_corpus, tmp_path):
    steps, flags = 20, {"batch_ramp": 0.6, "mask_rate": "0.30:0.15", "micro_batch_size": 2}
    train(small_corpus.directory, tmp_path, budget=f"{steps}steps", log_every=EVERY_STEP, **flags)
    logged = lines(tmp_path, "learning_rate")
    assert [line["step"] for line in logged] == list(range(1, steps + 1))
    for i, line in enumerate(logged):
        x = i / steps
        rows = schedules.batch_ramp(x, 8, 2, 0.6)
        assert line["batch_size"] == rows
        assert line["mask_rate"] == pytest.approx(0.30 - 0.15 * x)
        assert line["learning_rate"] == pytest.approx(1e-3 * schedules.linear(x))
    batches = [line["batch_size"] for line in logged]
    assert batches[0] == 2
    assert batches[-1] == 8
    assert logged[-1]["tokens"] == 32 * sum(batches)
    # the head's FLOPs fall with the predictions, here 9 to 5 of 32 tokens
    per_token = np.diff([line["flops"] for line in logged]) / np.diff([line["tokens"] for line in logged])
    assert per_token[0] > per_token[-1]
    assert len(set(np.round(per_token))) == 9 - 5 + 1  # after the first step
    assert lines(tmp_path, "final")[0]["tokens"] == Run(str(tmp_path)).read_json("plan.json")["tokens"]


@pytest.mark.any_backend
def test_a_time_budget_ends_at_learning_rate_0_though_the_machine_slows_down(small_corpus, tmp_path):
    slow = SlowStep(lambda seconds: 1.0 if seconds < 50 else 10.0)
    seams = {"log_every": EVERY_STEP, "now": slow.now, "make_step": slow.make_step}
    train(small_corpus.directory, tmp_path, budget="100s", **seams)
    logged = lines(tmp_path, "learning_rate")
    spent = lines(tmp_path, "validation_loss")[0]["budget_spent"]
    for line in logged:
        # Each step starts where the one before ended; between them the seconds kept back for the end may grow a bit.
        assert line["learning_rate"] == pytest.approx(1e-3 * schedules.linear(spent), abs=5e-5)
        assert min(1.0, line["elapsed_seconds"] / 100) <= line["budget_spent"] <= line["elapsed_seconds"] / 80
        spent = line["budget_spent"]
    final = lines(tmp_path, "final")[0]
    assert final["budget_spent"] == 1.0
    assert final["elapsed_seconds"] <= 110
    assert logged[-1]["learning_rate"] < 1.2e-4


def test_a_run_that_stops_by_the_way_goes_on_as_if_it_had_not(small_corpus, tmp_path, capsys):
    flags = {"batch_ramp": 0.6, "mask_rate": "0.30:0.15"}
    whole = train(small_corpus.directory, tmp_path / "whole", **flags)
    assert train(small_corpus.directory, tmp_path / "halved", stop_at=0.5, **flags) is None
    assert "stopped by --stop_at after step 6" in capsys.readouterr().out.replace("\n", " ")
    assert lines(tmp_path / "halved", "validation_loss")[-1]["step"] == 6
    halved = train(small_corpus.directory, tmp_path / "halved", marks="0.5,0.75", **flags)
    assert [line["step"] for line in lines(tmp_path / "halved", "validation_loss")].count(6) == 1
    for one, two in zip(whole.get_weights(), halved.get_weights(), strict=True):
        assert (one == two).all()
    # the mark that was passed before it was asked for is not made up
    assert os.listdir(tmp_path / "halved" / "marks") == ["0.75.keras"]
    marked = keras.models.load_model(tmp_path / "halved" / "marks" / "0.75.keras")
    assert marked.fill_mask(["the [MASK]"], k=1)
    assert lines(tmp_path / "halved", "mark") == [{"mark": 0.75, "step": 9, "path": "marks/0.75.keras"}]


@pytest.mark.any_backend
def test_a_hopeless_run_is_ended_early_and_stays_so(small_corpus, tmp_path):
    assert train(small_corpus.directory, tmp_path, early_stop="3steps:0.1")
    final = lines(tmp_path, "final")[0]
    assert 3 <= final["step"] < 12
    assert lines(tmp_path, "incident")[0]["incident"] == "early_stop"
    train(small_corpus.directory, tmp_path, early_stop="3steps:0.1")
    assert lines(tmp_path, "final") == [final]


@pytest.mark.any_backend
def test_masked_words_are_sampled_by_the_way(small_corpus, tmp_path):
    train(small_corpus.directory, tmp_path)
    sampled = lines(tmp_path, "samples")
    assert sampled[-1]["step"] == 12
    assert len(sampled) == 4
    for sample in sampled[0]["samples"]:
        assert "[MASK]" in sample["text"]
        assert sample["expected"].isalpha()
        assert len(sample["answers"]) == 5
        assert all(0 <= probability <= 1 for _, probability in sample["answers"])


@pytest.mark.any_backend
def test_a_run_that_diverges_goes_back_three_times_and_then_says_so(small_corpus, tmp_path):
    flags = {"budget": "600steps", "learning_rate": 300.0, "checkpoint_every": "20steps", "batch_size": 4}
    with pytest.raises(TrainingError, match=r"the loss diverged 4 times.*lower --learning_rate"):
        train(small_corpus.directory, tmp_path, **flags)
    kinds = [line["incident"] for line in lines(tmp_path, "incident")]
    assert kinds == ["rollback"] * 3 + ["diverged"]
    for line in lines(tmp_path, "incident")[:3]:
        there, back = map(int, re.search(r"at step (\d+); went back to step (\d+)", line["message"]).groups())
        assert back < there - 18
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_bad_stretch_of_data_is_left_behind(small_corpus, tmp_path, monkeypatch):
    read = Loader.micro_batch

    def poisoned(self, first_use, count):
        batch = read(self, first_use, count)
        if 560 <= first_use < 800 and self.masking.seed == 0 and len(batch["weights"]) == 4:
            batch["weights"] = np.full_like(batch["weights"], np.nan)
        return batch

    monkeypatch.setattr(Loader, "micro_batch", poisoned)
    flags = {"budget": "120steps", "checkpoint_every": "10steps", "keep_checkpoints": 20}
    model = train(small_corpus.directory, tmp_path / "poisoned", **flags)
    incidents = lines(tmp_path / "poisoned", "incident")
    assert [line["incident"] for line in incidents] == ["rollback"]
    assert "went back to step 70" in incidents[0]["message"]
    final = lines(tmp_path / "poisoned", "final")[0]
    assert final["step"] == 120
    assert final["tokens"] == (120 + 20) * 8 * 32  # what was thrown away was spent all the same
    assert final["validation_loss"] < final["first_validation_loss"] - 0.5
    assert all(np.isfinite(weight).all() for weight in model.get_weights())

    # stopped on the way, where no undisturbed run saves, it goes back to the same step
    monkeypatch.setattr(Loader, "micro_batch", poisoned)
    for stop in (0.57, 0.63, 0.9, 1.0):
        again = train(small_corpus.directory, tmp_path / "pieces", stop_at=stop, **flags)
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        assert (one == two).all()


@pytest.mark.any_backend
def test_a_checkpoint_that_cannot_be_written_costs_nothing_else(small_corpus, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(line, spent):
        if "learning_rate" in line:
            full = 4 <= line["step"] < 8
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if full else limits[0], limits[1]))

    try:
        model = train(small_corpus.directory, tmp_path / "full", checkpoint_every="2steps", watchers=[fill])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    incidents = lines(tmp_path / "full", "incident")
    assert {line["incident"] for line in incidents} == {"checkpoint_failed"}
    assert "could not be written" in incidents[0]["message"]
    assert lines(tmp_path / "full", "final")[0]["step"] == 12
    assert all(name.startswith("step-") for name in os.listdir(tmp_path / "full" / "checkpoints"))
    for one, two in zip(
        model.get_weights(), train(small_corpus.directory, tmp_path / "well").get_weights(), strict=True
    ):
        assert (one == two).all()


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_run_goes_on_on_another_backend(small_corpus, tmp_path):
    other = {"tensorflow": "torch", "torch": "jax", "jax": "tensorflow"}[keras.backend.backend()]
    train(small_corpus.directory, tmp_path / "run", stop_at=0.5)
    code = "from tests.training.runs import train; import sys;sys.exit(0 if train(sys.argv[1], sys.argv[2]) else 1)"
    environment = {**os.environ, "KERAS_BACKEND": other, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code, str(small_corpus.directory), str(tmp_path / "run")],
        env=environment,
        cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert lines(tmp_path / "run", "resumed_from_step")[-1] == {"resumed_from_step": 6}
    assert "changed" in json.dumps(lines(tmp_path / "run", "changed"))
    whole = train(small_corpus.directory, tmp_path / "whole")
    there = keras.models.load_model(tmp_path / "run" / "model.keras")
    # dropout draws differently, so the weights are near and not equal
    for one, two in zip(whole.get_weights(), there.get_weights(), strict=True):
        np.testing.assert_allclose(one, two, atol=0.02)


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_signal_during_a_large_batch_is_obeyed_within_a_call(small_corpus, tmp_path):
    calls = []

    def interrupting(*arguments):
        step = make_step(*arguments)
        accumulate = step.accumulate

        def counted(batches, count, first):
            calls.append(count)
            if len(calls) == 40:  # calibration makes at most 22
                os.kill(os.getpid(), signal.SIGUSR1)
            return accumulate(batches, count, first)

        step.accumulate = counted
        return step

    flags = {"batch_size": 65_536, "micro_batch_size": 64, "budget": "2steps"}
    assert train(small_corpus.directory, tmp_path, make_step=interrupting, **flags) is None
    assert len(calls) == 40  # of 1,024 micro-batches, at most 8 a call
    assert lines(tmp_path, "learning_rate") == []


@pytest.mark.any_backend
def test_trouble_found_at_the_end_is_trouble_all_the_same(small_corpus, tmp_path, monkeypatch):
    read = Loader.micro_batch

    def poisoned(self, first_use, count):
        batch = read(self, first_use, count)
        if first_use >= 8 * 40 and self.masking.seed == 0 and len(batch["weights"]) == 4:
            batch["weights"] = np.full_like(batch["weights"], np.nan if first_use < 8 * 65 else 1.0)
        return batch

    monkeypatch.setattr(Loader, "micro_batch", poisoned)
    recipe = dataclasses.replace(RECIPE, validate_at=())
    flags = {"budget": "64steps", "checkpoint_every": "20steps", "marks": "1"}
    # The interval is so long that the trouble is found only when the budget is spent.
    assert train(small_corpus.directory, tmp_path, recipe, log_every=(1000, 600.0), **flags)
    assert [line["incident"] for line in lines(tmp_path, "incident")] == ["rollback"]
    assert lines(tmp_path, "final")[0]["step"] == 64
    assert lines(tmp_path, "mark")[-1]["step"] == 64


@pytest.mark.any_backend
def test_a_signal_at_the_last_validation_leaves_it_to_the_next_start(small_corpus, tmp_path, monkeypatch):
    validate = Validation.__call__

    def interrupted(self, stopped):
        if [line["step"] for line in lines(tmp_path, "learning_rate")][-1:] == [12]:
            os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, stopped)

    monkeypatch.setattr(Validation, "__call__", interrupted)
    assert train(small_corpus.directory, tmp_path) is None
    assert not lines(tmp_path, "final")
    monkeypatch.undo()
    assert train(small_corpus.directory, tmp_path)
    final, validation = lines(tmp_path, "final")[0], lines(tmp_path, "validation_loss")[-2]
    assert final["step"] == validation["step"] == 12
    assert final["validation_loss"] == validation["validation_loss"]


@pytest.mark.slow
def test_bfloat16_stays_with_float32(small_corpus, tmp_path):
    ends = []
    for precision in ("float32", "mixed_bfloat16"):
        train(small_corpus.directory, tmp_path / precision, budget="60steps", batch_size=32, precision=precision)
        ends.append(lines(tmp_path / precision, "final")[0]["validation_loss"])
    assert ends[0] < 4.0  # from 5.6
    assert abs(ends[0] - ends[1]) < 0.02
