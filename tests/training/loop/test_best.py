"""Runs over small corpora: the best model is kept, a rising loss ends the run, what is forgotten is seen."""

import dataclasses
import types

import keras
import pytest

from budgetbert.budget import Budget, BudgetClock, Progress
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.training.loop.best import Best
from budgetbert.training.loop.hooks import Log
from budgetbert.training.loop.state import TrainState
from budgetbert.training.run.directory import Run
from tests.test_processes import together
from tests.training.runs import RECIPE, train

pytestmark = pytest.mark.without_backend


def lines(directory, key):
    return [line for line in Run(str(directory)).lines() if key in line]


@pytest.mark.slow
def test_a_run_whose_loss_rises_ends_and_gives_the_model_from_before(small_corpus, tmp_path, capsys):
    """At a hundred times the rate nothing is learned but noise, so the first model is the best."""
    model = train(small_corpus.directory, tmp_path, early_stop="rising", learning_rate=1.0, budget="24steps")
    validations, final = lines(tmp_path, "validation_loss")[:-1], lines(tmp_path, "final")[0]
    losses = [line["validation_loss"] for line in validations]
    assert final["step"] < 24
    assert (final["best_step"], final["validation_loss"]) == (validations[0]["step"], min(losses))
    told = " ".join(capsys.readouterr().out.split())
    assert "of the budget: the validation loss was" in told
    assert "the model of step 0, where the validation loss was lowest, is the result" in told
    best = keras.models.load_model(tmp_path / "marks" / "best.keras")
    for one, two in zip(best.get_weights(), model.get_weights(), strict=True):
        assert (one == two).all()
    train(small_corpus.directory, tmp_path, early_stop="rising", learning_rate=1.0, budget="24steps")
    assert lines(tmp_path, "final") == [final]


def test_the_loss_on_the_text_from_before_stands_beside_that_on_the_new(small_corpus, tmp_path, capsys):
    """The same text as old and new has the same loss, whatever becomes of the model."""
    recipe = dataclasses.replace(RECIPE, keep_an_eye_on=str(small_corpus.directory))
    flags = {"early_stop": "rising", "report": True}
    train(small_corpus.directory, tmp_path, recipe=recipe, **flags)
    validations = lines(tmp_path, "validation_loss")
    for what in ("loss", "accuracy"):
        found = [(line[f"validation_old_{what}"], line[f"validation_{what}"]) for line in validations]
        assert all(old == new for old, new in found)
    final = validations[-1]
    assert final["first_validation_old_loss"] == validations[0]["validation_loss"] > final["validation_old_loss"]
    assert "best_step" not in final  # The last model is the best.
    assert "old text" in capsys.readouterr().out
    assert "on the text from before" in (tmp_path / "report.html").read_text()
    assert Run(str(tmp_path)).read_json("recipe.json")["recipe"]["keep_an_eye_on"] == small_corpus.fingerprint


def test_text_with_other_tokens_cannot_be_watched(small_corpus, small_text, tmp_path):
    options = {"vocabulary_size": 256, "lowercase": False, "sequence_length": 32, "workers": 1}
    other = prepare_corpus(str(small_text), tmp_path / "other", **options)
    for watched, message in ((other.directory, "has other tokens than"), (small_text, "is no prepared corpus")):
        recipe = dataclasses.replace(RECIPE, keep_an_eye_on=str(watched))
        with pytest.raises(InputError, match=message):
            train(small_corpus.directory, tmp_path / "run", recipe=recipe)


def test_what_only_the_first_process_has_kept_does_not_part_it_from_the_others(tmp_path):
    """Each machine may have a directory of its own, so that after a restart the others find no best model in theirs."""
    (tmp_path / "0" / "marks").mkdir(parents=True)
    (tmp_path / "0" / "marks" / "best.json").write_text('{"step": 4, "validation_loss": 2.0}')
    (tmp_path / "0" / "recipe.json").write_text('{"recipe": {}}')
    idle = types.SimpleNamespace(synchronize=lambda: None, save_model=lambda path: None)

    def judge(processes):
        run = Run(str(tmp_path / str(processes.rank)), writes=processes.first)
        log = Log(run, processes.clock(BudgetClock(Budget.parse("9steps"))), device=None, processes=processes)
        best = Best(log, idle, idle)
        kept = []
        for step, loss in ((6, 2.5), (8, 1.5)):
            best(TrainState(Progress(step=step), validations=[{"step": step, "validation_loss": loss}]))
            kept.append((best.line and best.line["step"], processes.broadcast(f"{step} by {processes.rank}")))
        return kept

    theirs = [(None, "6 by 0"), (8, "8 by 0")]
    assert together(judge) == [[(4, "6 by 0"), (8, "8 by 0")], theirs, theirs]
