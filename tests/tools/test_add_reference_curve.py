"""From finished runs to the curve that reports compare with, in a copy of the package, which has the curves in it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SETTINGS = {"recipe": "cramming_24h", "preset": "mini_crammed", "budget": "1000 steps", "learning_rate": 1e-3}
PLAN = {"corpus_kind": "5f1c", "batch_size": 32, "sequence_length": 128}
DEVICE = {"device": "an abacus", "backend": "jax", "precision": "float32"}


@pytest.fixture
def package(tmp_path):
    """The folder of a copy of the package."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "budgetbert", tmp_path / "copy" / "budgetbert", ignore=ignored)
    (tmp_path / "copy" / "budgetbert" / "training" / "reference_curves.json").write_text("[]\n")
    return tmp_path / "copy"


@pytest.fixture
def make_run(tmp_path):
    """A function that writes what a run of 1,000 steps leaves, its validation losses at tenths of the budget given."""

    def make(seed, losses, finished=True, **settings):
        directory = tmp_path / f"seed_{seed}"
        directory.mkdir()
        lines = [
            {"step": round(1000 * share), "budget_spent": share, "validation_loss": loss, "tokens": 4_096_000 * share}
            for share, loss in losses.items()
        ]
        if finished:
            lines.append({**lines[-1], "final": True})
        (directory / "recipe.json").write_text(json.dumps({"recipe": {**SETTINGS, **settings, "seed": seed}}))
        (directory / "plan.json").write_text(json.dumps({**PLAN, **DEVICE}))
        (directory / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return directory

    return make


@pytest.fixture
def call(package):
    def call(*directories):
        return subprocess.run(
            [sys.executable, REPOSITORY / "tools" / "add_reference_curve.py", *map(str, directories)],
            env={**os.environ, "PYTHONPATH": str(package)},
            capture_output=True,
            text=True,
        )

    return call


def curves(package):
    return json.loads((package / "budgetbert" / "training" / "reference_curves.json").read_text())


LOSSES = {0.0: 10.0, 0.1: 7.0, 0.2: 6.5, 0.3: 6.3, 0.5: 6.0, 1.0: 5.0}


def test_runs_that_differ_in_their_seed_become_a_curve(package, make_run, call):
    higher = {share: loss + 0.02 for share, loss in LOSSES.items()}
    done = call(make_run(0, LOSSES), make_run(1, higher))
    assert done.returncode == 0, done.stderr
    (curve,) = curves(package)
    assert curve["losses"] == [7.01, 6.41, 6.01, 5.01]  # at 25 % between the validations around it
    assert curve["ranges"] == [0.02] * 4
    assert curve["seeds"] == [0, 1]
    assert curve["tokens"] == 4_096_000
    assert {key: curve[key] for key in DEVICE} == DEVICE
    assert (SETTINGS | PLAN).items() <= curve["settings"].items()
    *lines, path = done.stdout.splitlines()
    assert lines[1] == " 25% of the budget: 6.410 nats, seeds within 0.020"
    assert len(lines) == 4
    assert path == str(package / "budgetbert" / "training" / "reference_curves.json")


def test_the_same_settings_measured_again_replace_their_curve_and_no_other(package, make_run, call):
    assert call(make_run(0, LOSSES)).returncode == 0
    assert call(make_run(1, LOSSES, preset="tiny_crammed")).returncode == 0
    assert call(make_run(2, LOSSES)).returncode == 0
    assert [(curve["settings"]["preset"], curve["seeds"]) for curve in curves(package)] == [
        ("tiny_crammed", [1]),
        ("mini_crammed", [2]),
    ]


def test_what_is_no_curve_is_one_sentence_and_code_2_and_changes_nothing(package, make_run, call, tmp_path):
    good = make_run(0, LOSSES)
    for directories, message in (
        ((), "no run is given"),
        ((tmp_path / "nonesuch",), "holds no run"),
        ((good, good), "the runs have the seeds 0, 0"),
        ((good, make_run(1, LOSSES, finished=False)), "seed_1 is no finished run"),
        ((good, make_run(2, LOSSES, learning_rate=2e-3)), "seed_2 has other settings than"),
    ):
        done = call(*directories)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert curves(package) == []
