import errno
import json
import os
import resource

import pytest

from budgetbert.errors import InputError, is_disk_full
from budgetbert.training.run.directory import Run

pytestmark = pytest.mark.without_backend


def test_a_new_directory_becomes_a_run(tmp_path):
    run = Run(str(tmp_path / "new"))
    run.start({"seed": 1, "pair": (1, 2)}, {"corpus": "x"})
    written = run.read_json("recipe.json")
    assert written["recipe"] == {"seed": 1, "pair": [1, 2]}
    assert written["circumstances"]["packages"]["keras"]
    run.release()
    again = Run(str(tmp_path / "new"))
    again.start({"seed": 1, "pair": (1, 2)}, {"corpus": "elsewhere"})
    assert again.final is None


def test_another_run_is_refused_with_key_and_values(tmp_path):
    run = Run(str(tmp_path))
    run.start({"seed": 1}, {})
    run.log({"step": 0})
    with pytest.raises(InputError, match=r"its seed is 1, asked for was 2"):
        Run(str(tmp_path)).check({"seed": 2})


def test_a_run_of_nvidias_lamb_from_before_goes_on(tmp_path):
    run = Run(str(tmp_path))
    run.start({"phases": {"1": {"schedule": "polynomial(warmup=0.2843, power=0.5, jump=1)"}}}, {})
    run.log({"step": 0})
    Run(str(tmp_path)).check({"phases": {"1": {"schedule": "polynomial(warmup=0.2843, power=0.5)"}}})


def test_a_run_that_was_only_planned_gives_way(tmp_path):
    run = Run(str(tmp_path))
    run.start({"budget": "1h"}, {})
    run.write_json("plan.json", {"steps": 5})
    run.release()
    other = Run(str(tmp_path))
    other.check({"budget": "2h"})
    assert other.read_json("plan.json") is None
    other.start({"budget": "2h"}, {})
    assert other.read_json("recipe.json")["recipe"] == {"budget": "2h"}


def test_a_directory_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="not empty and holds no run"):
        Run(str(tmp_path))
    with pytest.raises(InputError, match="cannot be made"):
        Run(str(tmp_path / "thesis.tex"))


def test_a_damaged_recipe_is_refused(tmp_path):
    for text, message in (("{", r"recipe\.json is not readable"), ("[1]", r"recipe\.json is not that of a run")):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(InputError, match=message):
            Run(str(tmp_path))


def test_a_recipe_or_a_plan_that_is_not_as_it_was_written_is_refused(tmp_path):
    run = Run(str(tmp_path))
    run.start({"seed": 1}, {})
    run.write_json("plan.json", {"batch_size": 64})
    (tmp_path / "plan.json").write_text((tmp_path / "plan.json").read_text().replace("64", "65"))
    with pytest.raises(InputError, match=r"plan\.json is damaged, it is not what was written"):
        run.read_json("plan.json")
    (tmp_path / "recipe.json").write_text((tmp_path / "recipe.json").read_text().replace('"seed": 1', '"seed": 2'))
    with pytest.raises(InputError, match=r"recipe\.json is damaged, it is not what was written"):
        Run(str(tmp_path))


def test_an_unfinished_last_line_of_the_log_goes_at_resumption(tmp_path):
    run = Run(str(tmp_path))
    run.start({}, {})
    run.log({"step": 1})
    with open(run.path("log.jsonl"), "a") as file:
        file.write('{"step": 2, "lo')
    assert run.lines() == [{"step": 1}]
    run.resume_log(1)
    run.log({"step": 2})
    with open(run.path("log.jsonl")) as file:
        assert [json.loads(line) for line in file] == [{"step": 1}, {"resumed_from_step": 1}, {"step": 2}]


def test_what_a_killed_start_left_is_no_hindrance(tmp_path):
    for name in (".lock", "recipe.tmp.json"):
        (tmp_path / name).write_text("")
    Run(str(tmp_path)).start({"a": 1}, {})


def test_a_log_that_was_cut_off_and_a_changed_version_go_together(tmp_path):
    run = Run(str(tmp_path))
    run.start({"a": 1}, {})
    run.log({"step": 1})
    run.release()
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"step": 2, "lo')
    written = run.read_json("recipe.json")
    written["circumstances"]["backend"] = "another"
    run.write_json("recipe.json", written)
    again = Run(str(tmp_path))
    with pytest.warns(UserWarning, match="backend"):
        again.start({"a": 1}, {})
    again.resume_log(1)
    assert [list(line) for line in Run(str(tmp_path)).lines()] == [["step"], ["resumed_from_step"], ["changed"]]


def test_a_line_that_does_not_fit_leaves_no_half_of_it(tmp_path):
    run = Run(str(tmp_path))
    run.log({"step": 1})
    size, limits = os.path.getsize(run.path("log.jsonl")), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, limits[1]))
    try:
        with pytest.raises(OSError):
            run.log({"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    run.log({"step": 3})
    with open(run.path("log.jsonl")) as file:
        assert [json.loads(line)["step"] for line in file] == [1, 3]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "x"), OSError(errno.EDQUOT, "x"), RuntimeError("No space left")]
)
def test_a_full_disk_is_known_by_its_error_or_what_that_came_from(error):
    assert is_disk_full(error)
    try:
        try:
            raise error
        except (OSError, RuntimeError):
            raise ValueError("I/O operation on closed file")  # noqa: B904 (as zipfile does it)
    except ValueError as last:
        assert is_disk_full(last)
    assert not is_disk_full(OSError(errno.EIO, "x"))
    assert not is_disk_full(None)


def test_the_log_is_json_whatever_the_loss(tmp_path):
    run = Run(str(tmp_path))
    run.log({"step": 1, "loss": float("nan"), "seconds": {"step": float("inf")}, "answers": [["a", float("nan")]]})
    assert run.lines() == [{"step": 1, "loss": None, "seconds": {"step": None}, "answers": [["a", None]]}]
