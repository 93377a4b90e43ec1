import json
import os

import pytest

from budgetbert.command_line import InputError
from budgetbert.training.run import Run, replacing


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


def test_a_directory_is_replaced_whole(tmp_path):
    for content in ("old", "new"):
        with replacing(str(tmp_path / "step")) as temporary:
            os.makedirs(temporary)
            with open(os.path.join(temporary, "state.json"), "w") as file:
                file.write(content)
    assert (tmp_path / "step" / "state.json").read_text() == "new"
    assert os.listdir(tmp_path) == ["step"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with pytest.raises(OSError), replacing(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    with replacing(str(path)) as temporary, open(temporary, "w") as file:
        file.write("new")
    assert path.read_text() == "new"


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


def test_the_log_is_json_whatever_the_loss(tmp_path):
    run = Run(str(tmp_path))
    run.log({"step": 1, "loss": float("nan"), "seconds": {"step": float("inf")}, "answers": [["a", float("nan")]]})
    assert run.lines() == [{"step": 1, "loss": None, "seconds": {"step": None}, "answers": [["a", None]]}]
