"""A second phase that begins with the weights and moments of another run's first."""

import dataclasses
import shutil

import pytest

from budgetbert.errors import InputError
from budgetbert.training.run.directory import Run
from budgetbert.training.run.initial import InitialRun
from tests.training.runs import TWO_PHASES, train


def phase(number, initial=None, **changes):
    """The recipe of one phase of `TWO_PHASES`, as `recipes/lamb_76min.py` makes it of `--phases`."""
    told = initial.told if initial else str(number)
    flags = {"phases_trained": told}
    phases = TWO_PHASES.phases[number - 1 : number]
    return dataclasses.replace(TWO_PHASES, phases=phases, flags=flags, initial_run=initial, **changes)


@pytest.fixture(scope="module")
def first(two_corpora, tmp_path_factory):
    directory = tmp_path_factory.mktemp("first") / "run"
    train(two_corpora.split(",")[0], directory, recipe=phase(1), budget="8steps")
    return str(directory)


def second(first, corpora, directory, **flags):
    recipe = phase(2, InitialRun(first, "2"))
    flags = {"budget": "4steps", "batch_size": 4, "micro_batch_size": 2} | flags
    return train(corpora.split(",")[1], directory, recipe=recipe, **flags)


@pytest.mark.slow
@pytest.mark.any_backend
def test_both_phases_in_one_run_and_one_after_the_other_are_equal_to_the_bit(first, two_corpora, tmp_path):
    both = train(two_corpora, tmp_path / "both", recipe=TWO_PHASES)
    assert second(first, two_corpora, tmp_path / "second", stop_at=0.5) is None
    resumed = second(first, two_corpora, tmp_path / "second")
    for one, two in zip(both.get_weights(), resumed.get_weights(), strict=True):
        assert (one == two).all()
    losses = [Run(str(tmp_path / name)).final["validation_loss"] for name in ("both", "second")]
    assert losses[0] == losses[1]
    recorded = Run(str(tmp_path / "second")).read_json("recipe.json")["recipe"]
    assert recorded["phases_trained"] == InitialRun(first, "2").told
    assert recorded["phases_trained"].startswith("2 after ")


@pytest.mark.slow
@pytest.mark.without_backend
def test_another_run_to_begin_with_is_another_run(first, two_corpora, tmp_path):
    train(two_corpora.split(",")[1], tmp_path, recipe=phase(2), budget="4steps", stop_at=0.5)
    with pytest.raises(InputError, match="its phases_trained is '2', asked for was '2 after"):
        second(first, two_corpora, tmp_path, batch_size=8, micro_batch_size=4)


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"preset": "mini"}, "has the preset 'tiny_bert', asked for is 'mini_bert'"),
        ({"weight_decay": 0.5}, "has the optimizer"),
        ({"optimizer": "adamw"}, "has the optimizer"),
        ({"config": '{"norm_placement": "pre"}'}, "has the architecture None, asked for is"),
    ],
)
def test_a_run_of_another_kind_is_refused(first, two_corpora, tmp_path, changes, told):
    with pytest.raises(InputError, match=told):
        second(first, two_corpora, tmp_path / "second", **changes)
    assert not (tmp_path / "second" / "checkpoints").exists()


@pytest.mark.without_backend
class TestWhatIsNoSuchRun:
    def test_phases(self, tmp_path):
        with pytest.raises(InputError, match="give --phases 2, not both"):
            InitialRun(str(tmp_path), "both")

    def test_nothing(self, tmp_path):
        with pytest.raises(InputError, match="holds no run: name the directory of one of --phases 1"):
            InitialRun(str(tmp_path), "2")

    def test_a_run_of_both_phases(self, finished_run):
        with pytest.raises(InputError, match="has trained phases None: name a run of --phases 1"):
            InitialRun(str(finished_run), "2")

    def test_a_recipe_that_is_damaged(self, finished_run, tmp_path):
        (tmp_path / "recipe.json").write_text((finished_run / "recipe.json").read_text().replace("tiny", "mini"))
        with pytest.raises(InputError, match=r"is not what was written: put it back .* or give another --initial_run"):
            InitialRun(str(tmp_path), "2")

    @pytest.mark.slow
    def test_an_unfinished_run(self, first, tmp_path):
        copy = shutil.copytree(first, tmp_path / "copy")
        lines = (copy / "log.jsonl").read_text().splitlines()
        (copy / "log.jsonl").write_text("\n".join(lines[:-1]) + "\n")
        with pytest.raises(InputError, match="has not finished"):
            InitialRun(str(copy), "2")

    @pytest.mark.slow
    def test_a_checkpoint_that_is_damaged(self, first, two_corpora, tmp_path):
        copy = shutil.copytree(first, tmp_path / "copy")
        arrays = copy / "checkpoints" / "step-00000008" / "optimizer.npz"
        arrays.write_bytes(arrays.read_bytes()[:-9] + b"123456789")
        with pytest.raises(InputError, match=r"has a damaged checkpoint, .* .optimizer\.npz is not what was written"):
            second(str(copy), two_corpora, tmp_path / "second")
        shutil.rmtree(copy / "checkpoints")
        with pytest.raises(InputError, match=r"has a damaged checkpoint, .*No such file"):
            InitialRun(str(copy), "2")
