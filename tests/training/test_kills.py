"""A run that is killed with SIGKILL at random moments ends with the weights of an undisturbed one, to the last bit.

Ten kills take 4 minutes on 2 cores: `KERAS_BACKEND=jax python -m pytest -s -m soak tests/training/test_kills.py`.
"""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.training import several

REPOSITORY = Path(__file__).parents[2]
POLL_SECONDS, LONGEST_DELAY_SECONDS = 0.1, 0.5


@pytest.mark.parametrize(
    ("kills", "steps", "precision"),
    [
        pytest.param(2, 240, "float32", marks=pytest.mark.slow),
        pytest.param(50, 3000, "float32", marks=pytest.mark.soak),
        pytest.param(10, 600, "mixed_bfloat16", marks=pytest.mark.soak),
    ],
)
def test_a_run_that_is_killed_at_random_ends_with_the_same_weights(small_corpus, tmp_path, kills, steps, precision):
    moments = random.Random(0)

    def start(run):
        command = [sys.executable, str(REPOSITORY / "recipes" / "academic_24h.py"), "--output_dir", str(run)]
        command += ["--corpus", str(small_corpus.directory), "--preset", "tiny", "--budget", f"{steps}steps"]
        command += ["--batch_size", "16", "--micro_batch_size", "8", "--checkpoint_every", "20steps"]
        with open(f"{run}.txt", "a") as output:
            environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            command += ["--precision", precision]
            return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)

    def finish(run):
        assert start(run).wait() == 0, Path(f"{run}.txt").read_text()

    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    finish(undisturbed)
    # Spread over the run, so that a busy machine is killed at as many places as a quiet one; where two are near each
    # other the second falls on a process that has hardly gone on.
    for number, step in enumerate(sorted(moments.uniform(0, 0.9 * steps) for _ in range(kills))):
        process = start(killed)
        wait_for(step, process, killed, number)
        time.sleep(moments.uniform(0, LONGEST_DELAY_SECONDS))
        assert process.poll() is None, "The run ended before it could be killed: it needs more steps."
        process.kill()
        process.wait()
        print(f"kill {number + 1}: the log stood at step {newest_step(killed)}")
    finish(killed)

    resumed = resumptions(killed)
    print(f"went on after steps {resumed}")
    assert len(resumed) == kills
    assert min(resumed) > 0
    ours, theirs = several.weights(killed), several.weights(undisturbed)
    assert [np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True)] == [True] * len(theirs)


def wait_for(step, process, run, resumption):
    """Waits until the log has come to a step, behind the resumption of this number or, of the first, a checkpoint."""
    while process.poll() is None:
        begun = len(resumptions(run)) == resumption if resumption else any(run.glob("checkpoints/step-*[1-9]*"))
        if begun and newest_step(run) >= step:
            return
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"The run ended with code {process.returncode} before it could be killed.")


def newest_step(run):
    return max((line.get("step", 0) for line in log(run)), default=0)


def resumptions(run):
    return [line["resumed_from_step"] for line in log(run) if "resumed_from_step" in line]


def log(run):
    """The lines of a log that may be in the middle of being written."""
    path = run / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
