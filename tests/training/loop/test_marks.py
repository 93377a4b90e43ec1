"""Models that are kept for good on the way: each once, whatever interrupts the run."""

import json
import os
import threading

import pytest

from budgetbert.training.run.directory import Run
from tests.training.runs import SlowStep, train

pytestmark = pytest.mark.without_backend


class Killed(BaseException):
    """Stands for the end of the process: nothing of the run is done after it."""


def train_until(step, *arguments, **flags):
    """Trains until the hooks of a step are done, with which the run ends; what was being saved is saved."""

    def hook(state):
        if state.progress.step == step:
            raise Killed

    with pytest.raises(Killed):
        train(*arguments, hooks=(hook,), **flags)
    for thread in threading.enumerate():
        if thread.name == "checkpoint":
            thread.join()


def marks_of(directory):
    return [(line["mark"], line["step"]) for line in Run(str(directory)).lines() if "mark" in line]


def test_a_mark_that_was_kept_is_not_kept_again_after_a_resume(small_corpus, tmp_path):
    flags = {"marks": "0.5,0.75", "budget": "4steps", "checkpoint_every": "2steps"}
    train_until(2, small_corpus.directory, tmp_path, **flags)
    assert marks_of(tmp_path) == [(0.5, 2)]
    before = os.stat(tmp_path / "marks" / "0.5.keras")
    train(small_corpus.directory, tmp_path, **flags)
    assert marks_of(tmp_path) == [(0.5, 2), (0.75, 3)]
    after = os.stat(tmp_path / "marks" / "0.5.keras")
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(os.listdir(tmp_path / "marks")) == ["0.5.keras", "0.75.keras"]


def test_a_mark_that_time_passed_before_a_checkpoint_was_saved_is_kept_after_the_resume(small_corpus, tmp_path):
    # Seconds of the simulated clock: a step takes 100, and what comes after the marks in the fourth step 100 more.
    slow = SlowStep(lambda seconds: 100.0)

    def make_step(*arguments):
        step = slow.make_step(*arguments)
        synchronize = step.synchronize

        def late():
            if 400 <= slow.now() < 500:
                slow.pass_by(100.0)
            return synchronize()

        step.synchronize = late
        return step

    flags = {"marks": "0.49", "budget": "1000s", "checkpoint_every": "4steps"}
    train_until(4, small_corpus.directory, tmp_path, now=slow.now, make_step=make_step, **flags)
    state = json.loads((tmp_path / "checkpoints" / "step-00000004" / "state.json").read_text())
    assert state["marked"] < 0.49 < state["progress"]["seconds"] / 1000
    assert marks_of(tmp_path) == []
    train(small_corpus.directory, tmp_path, now=slow.now, make_step=slow.make_step, **flags)
    assert marks_of(tmp_path) == [(0.49, 5)]


def test_a_checkpoint_of_before_the_state_knew_its_marks_still_opens(small_corpus, tmp_path):
    flags = {"budget": "4steps", "checkpoint_every": "2steps"}
    assert train(small_corpus.directory, tmp_path, stop_at=0.5, **flags) is None
    for path in (tmp_path / "checkpoints").glob("*/state.json"):
        state = json.loads(path.read_text())
        del state["marked"], state["sha256"]["state.json"]
        path.write_text(json.dumps(state))
    train(small_corpus.directory, tmp_path, marks="0.5,0.75", **flags)
    assert marks_of(tmp_path) == [(0.75, 3)]
