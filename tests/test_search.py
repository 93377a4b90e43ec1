"""The search over settings of a recipe."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from budgetbert import schedules
from budgetbert.errors import InputError, TrainingError
from budgetbert.search.arms import RECIPES, Arm, read_arms
from budgetbert.search.report import compare, verdict_of
from budgetbert.search.search import Search
from tests.programs import REPOSITORY, call

pytestmark = pytest.mark.without_backend

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


def judged(arm, losses, at=0.5):
    return {"arm": arm, "at": at, "losses": [9.0, sum(losses) / len(losses)], "by_seed": losses}


def test_a_winner_is_ahead_by_two_standard_deviations_pooled_over_all_arms():
    # The squares of all deviations from the arms' means are 0.02, 0.08 and 0.02; there are three more runs than arms.
    rows = [judged(2, [4.9, 5.1]), judged(0, [5.15, 5.55]), judged(1, [5.9, 6.1]), judged(3, [5.0, 5.0], at=0.25)]
    found = compare(rows[:3])
    assert found["deviation"] == pytest.approx(math.sqrt(0.12 / 3))
    assert found["level"] == [0]  # 0.35 behind, where two deviations are 0.4; arm 1 is a whole nat behind
    told = {"winner": rows[0]}
    assert verdict_of(told | found).startswith("No verdict: the winner is ahead of 0 by no more than two standard dev")
    # An arm that was given up before takes part in the spread, and not in the verdict.
    found = compare([rows[0], rows[2], rows[3]])
    assert found == {"deviation": pytest.approx(math.sqrt(0.04 / 3)), "level": []}
    assert verdict_of(told | found) == (
        "The winner is ahead by more than two standard deviations between seeds (2 x 0.115, pooled over all arms)."
    )
    found = compare([judged(0, [5.0]), judged(1, [6.0])])
    assert found == {"deviation": None, "level": []}
    assert "--seeds 3" in verdict_of(told | found)
    assert verdict_of({"winner": None}) == ""


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[", "is not JSON"),
        ([], "0 arms"),
        ([{"flags": {}}], "1 arms"),
        ([{"flags": {}}] * 2, "the arms 0 and 1 are the same"),
        ({"learning_rate": 1e-3}, "no list of arms"),
        ([{"flag": {"seed": 1}}] * 2, "no list of arms"),
        ({"learning_rte": [1, 2]}, "learning_rte is none of"),
        ({"seed": [1, 2]}, "seed is none of"),
        ({"optimizer": ["muon"], "betas": ["0.9", "0.8,0.9"]}, "arm 0: --betas '0.9' cannot be read"),
        ({"optimizer": ["lamb", "adam"]}, r"arm 1: flag --optimizer=adam: value should be one of <adamw\|lamb\|muon>"),
        ({"learning_rate": [1e-3, 11]}, "arm 1: flag --learning_rate=11"),
        ({"learning_rate": [1e-3, float("nan")]}, "arm 1: --learning_rate nan is no finite number"),
        ({"learning_rate": [0, 1e-3]}, "arm 0: --learning_rate 0.0 is no rate"),
        ({"batch_size": [8, 8.5]}, r"arm 1: flag --batch_size=8.5"),
        ({"keep_checkpoints": [3, None]}, "arm 1: flag --keep_checkpoints=None"),
        ({"preset": ["tiny", "mini"]}, "arm 1: --preset mini is unknown"),  # frontier has no such size
        ({"schedule": ["linear", "triangle"], "warmup": [0.1]}, "does not go with the schedule triangle"),
        ([{"config": {"num_layers": -1}}] * 2, "num_layers is -1"),
        ([{"config": {"layers": 2}}] * 2, "layers is no field"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_one_sentence(tmp_path, written, message):
    path = grid(tmp_path, written)
    if written == "[":
        Path(path).write_text("[")
    with pytest.raises(InputError, match=message) as told:
        read_arms(path, "frontier")
    assert "\n" not in str(told.value)


def test_a_grid_is_of_its_recipe(tmp_path):
    with pytest.raises(InputError, match="frontier published none"):
        read_arms("published", "frontier")
    with pytest.raises(InputError, match="cannot be read"):
        read_arms(str(tmp_path / "nowhere.json"), "frontier")
    warmups = grid(tmp_path, {"warmup": [0.1, 0.2]})
    assert len(read_arms(warmups, "academic_24h")) == 2
    with pytest.raises(InputError, match=r"arm 0: --warmup 0\.1 does not go with the schedule triangle"):
        read_arms(warmups, "cramming_24h")


@pytest.mark.parametrize("name", RECIPES)
def test_family_and_schedule_of_each_recipe_are_its_own(name):
    text = (REPOSITORY / "recipes" / f"{name}.py").read_text()
    family, schedule = RECIPES[name]
    assert f'FAMILY = "{family}"' in text
    assert set(re.findall(r"schedules\.(\w+)", text)) & set(schedules.CURVES) == {schedule}


def make(tmp_path, corpus, total="80steps", rates=(1e-4, 1e-3, 1e-2, 1e-1), run="24steps", stop_at=1.0):
    arms = [Arm({**SMALL, "learning_rate": rate}, {}) for rate in rates]
    return Search(str(RECIPE), str(corpus), arms, run, total, stop_at, 1, str(tmp_path / "search"))


def test_the_total_is_planned(tmp_path):
    search = make(tmp_path, "corpus")
    assert search.rungs == (0.25, 0.5, 1.0)
    assert "about 48 steps if half of the arms go on at each, 96 steps if all do, 80 steps at most" in search.plan
    search.check()
    with pytest.raises(InputError, match=r"--total_budget 41steps is less than 42 steps"):
        make(tmp_path, "corpus", "41steps").check()
    with pytest.raises(InputError, match="is in steps and --total_budget 1h in seconds: give both in one unit"):
        make(tmp_path, "corpus", "1h").check()
    with pytest.raises(InputError, match=r"^--total_budget 'x' cannot be read"):
        make(tmp_path, "corpus", "x").check()
    with pytest.raises(InputError, match=r"^--run_budget '0steps' is no amount"):
        make(tmp_path, "corpus", run="0steps").check()
    with pytest.raises(InputError, match="--stop_at nan is no share"):
        make(tmp_path, "corpus", stop_at=float("nan")).check()


def stand_in(folder, rates, total="200steps", seeds=1):
    """A search with the stand-in for a recipe, whose runs take 16 steps and a moment."""
    folder.mkdir(exist_ok=True)
    recipe = shutil.copy(Path(__file__).with_name("stand_in_recipe.py"), folder)
    arms = [Arm({"learning_rate": rate, "optimizer": "muon"}, {}) for rate in rates]
    return Search(str(recipe), "corpus", arms, "16steps", total, 1.0, seeds, str(folder / "search"))


RATES = (0.5, 2, 0.25, 3, 1.0, 0.125)


def test_those_behind_are_given_up_and_those_that_fail_are_told(tmp_path, capsys):
    search = stand_in(tmp_path, RATES)
    result = search()
    assert result == json.loads((tmp_path / "search" / "search.json").read_text())
    rows = {row["arm"]: row for row in result["arms"]}
    assert [rows[arm]["state"] for arm in range(6)] == ["whole", "failed", "given up", "failed", "whole", "given up"]
    # Of 16 steps it was judged after 2, 4, 8 and 16: the last of its losses is that of its rung, by the formula.
    for arm, reached in {0: 1.0, 1: 0.25, 2: 0.125, 3: 0.125, 4: 1.0, 5: 0.125}.items():
        assert rows[arm]["at"] == reached
        assert rows[arm]["losses"][-1] == pytest.approx(
            8 - {2: 0.75, 3: 0.75}.get(RATES[arm], RATES[arm]) * math.log1p(16 * reached)
        )
    assert [row["arm"] for row in result["arms"]] == [4, 0, 2, 5, 1, 3]  # the best first, those that failed last
    assert result["winner"]["arm"] == 4 and result["winner"]["flags"]["learning_rate"] == 1.0
    assert result["spent"] == 16 + 4 + 2 + 3 + 16 + 2
    assert result["ended"] == "done"
    printed, report = capsys.readouterr().out, (tmp_path / "search" / "report.md").read_text()
    for text in (printed, report):
        assert "after 3 rollbacks" in text
        assert "validation loss 7.00 is above 6" in text
        assert "In all arms: optimizer=muon" in text
        assert "One run an arm tells nothing of chance" in text
    table = [line.split() for line in printed.splitlines() if line.startswith("  ") and "learning_rate" in line]
    assert table[0][:4] == ["4", "learning_rate=1.0", "whole,", "to"]
    assert table[2][:6] == ["2", "learning_rate=0.25", "given", "up", "at", "12.5%"]
    assert table[4][:5] == ["1", "learning_rate=2", "failed", "after", "25.0%"]
    command = "python recipes/stand_in_recipe.py --learning_rate=1.0 --optimizer=muon --budget=16steps"
    assert f"    {command} --corpus=CORPUS --output_dir=DIR\n" in report
    assert f"{command} --corpus=corpus --output_dir={tmp_path}/search/arm-04/seed-0" in printed
    assert "| 3 | learning\\_rate=3 |" in report or "| 3 | learning_rate=3 |" in report


@pytest.mark.slow
def test_a_search_that_is_killed_after_any_write_decides_as_an_undisturbed_one(tmp_path):
    rates, seeds = (0.5, 2, 1.0), 2
    undisturbed = stand_in(tmp_path / "undisturbed", rates, seeds=seeds)()
    assert {row["state"] for row in undisturbed["arms"]} == {"whole", "failed"}
    killed, number = 0, 0
    while killed == number:
        number += 1 if number < 5 else 13
        folder = tmp_path / f"killed-{number}"
        search = stand_in(folder, rates, seeds=seeds)
        (folder / "lives").write_text(str(number))
        try:
            search()
        except TrainingError as error:
            assert "ended before" in str(error) and "code -9" in str(error)
            killed = number
        assert search() == undisturbed
    assert killed > 50


def test_the_budget_ends_a_search_that_goes_on_with_a_larger_one(tmp_path):
    small = stand_in(tmp_path, (0.25, 0.5, 1.0), total="40steps")
    result = small()
    assert (result["ended"], result["spent"]) == ("budget", 40)
    assert [row["state"] for row in result["arms"]] == ["whole", "whole", "cut short"]
    assert small() == result
    larger = stand_in(tmp_path, (0.25, 0.5, 1.0), total="48steps")()
    assert (larger["ended"], larger["spent"], larger["winner"]["arm"]) == ("done", 48, 2)


def test_what_a_recipe_refuses_ends_the_search(tmp_path):
    search = stand_in(tmp_path, (0.5, 1.0))
    Path(search.recipe).write_text("import sys\nprint('r.py: --corpus is no corpus.', file=sys.stderr)\nsys.exit(2)\n")
    with pytest.raises(InputError, match=r"arm 0 \(learning_rate=0.5 .*\) ended with this: r.py: --corpus is no"):
        search()


def command(search, corpus, tmp_path):
    rates = grid(tmp_path, [{"flags": arm.flags} for arm in search.arms])
    program = [sys.executable, str(REPOSITORY / "recipes" / "search.py"), "--recipe=frontier", f"--corpus={corpus}"]
    program += [f"--grid={rates}", "--run_budget=24steps", f"--total_budget={search.total_budget}", "--stop_at=1"]
    return [*program, f"--output_dir={search.directory}"]


def test_grid_and_budgets_are_checked_before_the_corpus(tmp_path):
    given = {"recipe": "frontier", "corpus": "nowhere", "output_dir": tmp_path / "search"}
    given |= {"grid": grid(tmp_path, {"learning_rate": [1, 2]}), "run_budget": "8steps", "total_budget": "16steps"}
    for wrong, message in (
        ({"grid": "nowhere.json"}, "--grid nowhere.json cannot be read"),
        ({"total_budget": "1step"}, "--total_budget 1step is less than"),
        ({}, "--corpus nowhere is no prepared corpus"),
    ):
        done = call("recipes/search.py", *(f"--{name}={value}" for name, value in {**given, **wrong}.items()))
        assert done.returncode == 2
        assert message in done.stderr
    assert not (tmp_path / "search").exists()


@pytest.mark.soak
def test_a_search_is_killed_goes_on_as_an_undisturbed_one_and_keeps_its_budget(small_corpus, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}

    def start(name, *more):
        search = make(tmp_path / name, small_corpus.directory, "48steps", rates=(1e-2, 1e-4))
        program = command(search, small_corpus.directory, tmp_path)
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return search, subprocess.Popen([*program, *more], env=environment, start_new_session=True, **pipes)

    search, first = start("killed")
    deadline = time.monotonic() + 600
    while search.spent() < 12 and time.monotonic() < deadline:
        assert first.poll() is None
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert 12 <= search.spent() < 36
    results = {}
    for name in ("killed", "undisturbed"):
        search, process = start(name)
        printed, said = process.communicate()
        assert process.returncode == 0, said
        results[name] = json.loads(Path(search.directory, "search.json").read_text())
        assert "winner: arm 0" in printed
    assert results["killed"] == results["undisturbed"]
    assert results["killed"]["winner"]["flags"]["learning_rate"] == 1e-2
    assert [row["state"] for row in results["killed"]["arms"]] == ["whole", "given up"]
    assert results["killed"]["spent"] == 24 + 12
    report = Path(search.directory, "report.md").read_text()
    assert "Winner: arm 0" in report and "recipes/frontier.py --preset=tiny_bert" in report
    # The same directory with other settings is refused.
    _, other = start("killed", "--seeds=2", "--total_budget=200steps")
    assert "holds another search: its seeds is 1 and not 2" in other.communicate()[1]
    assert other.returncode == 2
