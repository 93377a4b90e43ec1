"""A run that is cut off between the renames of a save goes on, to the same bits.

Twenty cuts take some minutes: `python -m pytest -s -m soak tests/faults/test_power_cuts.py`.
"""

import random
import re
import subprocess
import sys

import pytest

from tests.programs import REPOSITORY
from tests.training import several

pytestmark = pytest.mark.without_backend


def run(corpus, directory, number):
    command = [sys.executable, "-m", "tests.faults.power_cuts", str(corpus), str(directory), str(number)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("cuts", [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)])
def test_a_power_cut_during_a_save_loses_no_run_and_changes_no_bit(cuts, small_corpus, tmp_path):
    draw, corpus = random.Random(0), small_corpus.directory
    done = run(corpus, tmp_path / "undisturbed", 0)
    renames = int(re.search(r"^renames: (\d+)$", done.stdout, re.MULTILINE)[1])
    # Every run is cut several times on its way: the moments are those of the renames that are left.
    left, number = cuts, 0
    while left:
        number += 1
        directory = tmp_path / f"cut-{number}"
        for _ in range(min(left, 4)):
            moment = draw.randrange(1, renames // 2) + draw.choice((0, 0.5))
            ended = run(corpus, directory, moment)
            print(f"run {number}, rename {moment}: code {ended.returncode}")
            # A run that goes on has fewer renames before it, and may come to its end.
            assert ended.returncode in (-9, 0), ended.stderr[-2000:]
            left -= ended.returncode == -9
            if ended.returncode == 0:
                break
        assert run(corpus, directory, 0).returncode == 0
        weights = several.weights(directory)
        assert several.farthest(weights, several.weights(tmp_path / "undisturbed")) == 0
        assert (directory / "marks" / "0.5.keras").exists()
        assert [path for path in directory.rglob("*") if ".tmp" in path.name or path.name.endswith(".old")] == []
