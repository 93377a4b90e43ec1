"""The search over settings of a recipe."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from budgetbert.errors import InputError
from budgetbert.search import Arm, Search, read_arms

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[1]
RECIPE = REPOSITORY / "recipes" / "frontier.py"
SMALL = {"preset": "tiny_bert", "batch_size": 8, "micro_batch_size": 8, "precision": "float32"}


def grid(tmp_path, written):
    path = tmp_path / "grid.json"
    path.write_text(json.dumps(written))
    return str(path)


def test_arms_are_listed_or_all_combinations(tmp_path):
    arms = read_arms(grid(tmp_path, {"learning_rate": [1e-3, 2e-3], "warmup": [0, 0.1]}), "frontier")
    assert [arm.flags for arm in arms] == [
        *({"learning_rate": 1e-3, "warmup": 0}, {"learning_rate": 1e-3, "warmup": 0.1}),
        *({"learning_rate": 2e-3, "warmup": 0}, {"learning_rate": 2e-3, "warmup": 0.1}),
    ]
    listed = read_arms(grid(tmp_path, [{"flags": {"optimizer": "lamb"}}, {"config": {"num_layers": 3}}]), "frontier")
    assert listed == [Arm({"optimizer": "lamb"}, {}), Arm({}, {"num_layers": 3})]
    assert listed[1].arguments == ['--config={"num_layers": 3}']
    assert len(read_arms("published", "academic_24h")) == 36


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[", "is not JSON"),
        ([], "0 arms"),
        ([{"flags": {}}], "1 arms"),
        ({"learning_rate": 1e-3}, "no list of arms"),
        ([{"flag": {"seed": 1}}] * 2, "no list of arms"),
        ({"learning_rte": [1, 2]}, "learning_rte is none of"),
        ({"seed": [1, 2]}, "seed is none of"),
        ({"optimizer": ["muon"], "betas": ["0.9", "0.8,0.9"]}, "--betas '0.9' cannot be read"),
        ([{"config": {"num_layers": -1}}] * 2, "num_layers is -1"),
        ([{"config": {"layers": 2}}] * 2, "layers is no field"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_one_sentence(tmp_path, written, message):
    path = grid(tmp_path, written)
    if written == "[":
        Path(path).write_text("[")
    with pytest.raises(InputError, match=message):
        read_arms(path, "frontier")
    with pytest.raises(InputError, match="frontier published none"):
        read_arms("published", "frontier")
    with pytest.raises(InputError, match="cannot be read"):
        read_arms(str(tmp_path / "nowhere.json"), "frontier")


def make(tmp_path, corpus, total="80steps", rates=(1e-4, 1e-3, 1e-2, 1e-1)):
    arms = [Arm({**SMALL, "learning_rate": rate}, {}) for rate in rates]
    return Search(str(RECIPE), str(corpus), arms, "24steps", total, 1.0, 1, str(tmp_path / "search"))


def test_the_total_is_planned(tmp_path):
    search = make(tmp_path, "corpus")
    assert search.rungs == (0.25, 0.5, 1.0)
    assert "about 48 steps if half of the arms go on at each, 96 if all do, 80 at most" in search.plan
    search.check()
    with pytest.raises(InputError, match=r"--total_budget 41steps is less than 42"):
        make(tmp_path, "corpus", "41steps").check()
    with pytest.raises(InputError, match="give both in one unit"):
        make(tmp_path, "corpus", "1h").check()


def command(search, corpus, tmp_path):
    rates = grid(tmp_path, [{"flags": arm.flags} for arm in search.arms])
    program = [sys.executable, str(REPOSITORY / "recipes" / "search.py"), "--recipe=frontier", f"--corpus={corpus}"]
    program += [f"--grid={rates}", "--run_budget=24steps", f"--total_budget={search.total_budget}", "--stop_at=1"]
    return [*program, f"--output_dir={search.directory}"]


@pytest.mark.slow
def test_a_search_is_killed_goes_on_names_the_winner_and_keeps_its_budget(small_corpus, tmp_path):
    search = make(tmp_path, small_corpus.directory)
    program = command(search, small_corpus.directory, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    first = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 600
    while search.spent() < 24 and time.monotonic() < deadline:
        assert first.poll() is None
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert 24 <= search.spent() < 80
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(Path(search.directory, "search.json").read_text())
    assert result["ended"] in ("done", "budget")
    assert 24 <= result["spent"] <= 80
    by_arm = {row["arm"]: row for row in result["arms"]}
    assert len(by_arm[0]["losses"]) == 3  # the first has nobody to be behind
    winner = result["winner"]
    whole = [row for row in result["arms"] if row["state"] == "whole"]
    assert winner["losses"][-1] == min(row["losses"][-1] for row in whole)
    assert winner["flags"]["learning_rate"] in (1e-3, 1e-2)
    assert f"winner: arm {winner['arm']}" in done.stdout
    report = Path(search.directory, "report.md").read_text()
    assert f"Winner: arm {winner['arm']}" in report and "recipes/frontier.py --preset=tiny" in report
    # The same command gives the result again; other settings are refused.
    again = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert f"winner: arm {winner['arm']}" in again.stdout
    other = subprocess.run(
        [*program, "--seeds=2", "--total_budget=200steps"], env=environment, capture_output=True, text=True, check=False
    )
    assert other.returncode == 2 and "holds another search: its seeds is 1 and not 2" in other.stderr
