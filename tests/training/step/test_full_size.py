"""The published architectures at full size: a step of each fits in 12 GB, and its parameters are those published."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .full_size import check

REPOSITORY = Path(__file__).parents[3]
# The published number of masked-LM parameters: Hugging Face's, and those counted from the papers' code.
PUBLISHED = {
    "bert_base": 109_514_298,
    "bert_large": 335_174_458,
    "bert_large_24h": 335_150_080,
    "crammed_base": 119_589_889,
}
# Eight cases take 10 minutes on 2 cores.
CASES = [
    *(f"{preset}/128/{optimizer}" for preset in PUBLISHED for optimizer in ("adamw", "lamb")),
    *("bert_large/512/adamw", "bert_large/512/lamb"),
]
LIMIT_GB = 12


def tier(case):
    return pytest.mark.slow if case == "crammed_base/128/lamb" else pytest.mark.soak


@pytest.mark.parametrize("case", [pytest.param(name, marks=tier(name)) for name in CASES])
def test_a_step_of_a_published_architecture_fits(case):
    command = [sys.executable, "-m", "tests.training.step.full_size", case]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    print(case, figures)  # `pytest -s -m soak` shows the table of docs/TRAINING.md.
    assert figures["parameters"] == PUBLISHED[case.split("/")[0]]
    assert figures["peak_gb"] < LIMIT_GB


@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_step_of_a_tiny_one_decays_and_splits_what_it_should(optimizer):
    figures = check(f"tiny_24h/32/{optimizer}")
    matrices, norms_and_biases = 3 + 2 * 4 + 1, 2 * (4 + 4) + 2 + 3
    assert figures["parameters"] == 4_673_664  # 32,768 words, 512 positions and 2 segments of 128; two blocks, head
    assert (figures["decayed"], figures["not_decayed"]) == (matrices, norms_and_biases)
    assert figures["slots"] == 2 * (matrices + norms_and_biases)
    assert figures["parts"] == matrices + norms_and_biases + 2 * 2 * 2  # q, k and v count as three, biases too
