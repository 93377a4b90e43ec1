"""The command `budgetbert` of a clone; `tests/test_wheel.py` tries that of a wheel."""

import sys
from pathlib import Path

import pytest

from budgetbert import __main__ as command
from budgetbert import __version__

pytestmark = pytest.mark.without_backend

RECIPES = Path(__file__).parents[1] / "recipes"


def test_a_recipe_is_found_by_its_name_and_the_demo_is_frontier_s():
    assert command.recipes() == {path.stem: path for path in RECIPES.glob("*.py")}
    assert command.command_of(["finetune-glue", "--tasks", "rte"]) == (
        RECIPES / "finetune_glue.py",
        ["--tasks", "rte"],
    )
    program, arguments = command.command_of(["demo", "--output_dir", "mine"])
    assert (program.name, arguments[0], arguments[-1]) == ("frontier.py", "--demo", "mine")
    assert command.command_of(["report", "runs/mine"])[0].name == "report.py"


def test_help_names_each_recipe_with_what_it_is(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["budgetbert"])
    command.main()
    printed = capsys.readouterr().out
    for path in RECIPES.glob("*.py"):
        assert path.stem in printed
    assert "24hBERT: BERT-large in one day" in printed
    monkeypatch.setattr(sys, "argv", ["budgetbert", "--version"])
    command.main()
    assert capsys.readouterr().out.strip() == __version__


def test_what_is_no_recipe_is_told_in_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["budgetbert", "cramning"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert (ended.value.code, capsys.readouterr().err.count("\n")) == (2, 1)
