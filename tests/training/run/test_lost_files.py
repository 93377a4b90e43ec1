"""A corpus or an output directory that vanishes, shrinks or changes while a run goes on."""

import os
import shutil

import numpy as np
import pytest

from budgetbert.errors import TrainingError
from budgetbert.training.run.directory import Run
from tests.training import several
from tests.training.runs import EVERY_STEP, train

pytestmark = pytest.mark.without_backend
LONGER = {"budget": "60steps", "checkpoint_every": "60steps"}  # More steps than are read ahead.


@pytest.fixture(scope="module")
def longer_run(small_corpus, tmp_path_factory):
    """The directory of an undisturbed run."""
    directory = tmp_path_factory.mktemp("run") / "longer"
    train(small_corpus.directory, directory, **LONGER)
    return directory


def shorten(corpus):
    with open(next(corpus.glob("train-*.npy")), "rb+") as file:
        file.truncate(1000)


def fill_with_ids_that_are_none(corpus):
    path = next(corpus.glob("train-*.npy"))
    np.lib.format.open_memmap(path, "r+")[:] = 65_535


def delete(corpus):
    for path in corpus.glob("*"):
        path.unlink()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (shorten, "train-00000.npy has become shorter since it was opened"),
        (fill_with_ids_that_are_none, "train-00000.npy holds 65535 and all values in it are below"),
    ],
)
def test_rows_that_are_lost_end_the_run_with_all_steps_saved(change, told, longer_run, small_corpus, tmp_path):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(small_corpus.directory, corpus)

    def changing(line, spent):
        if line.get("step") == 2 and "learning_rate" in line:
            change(corpus)

    with pytest.raises(TrainingError, match=told) as ended:
        train(corpus, run, watchers=[changing], log_every=EVERY_STEP, **LONGER)
    assert "the same command goes on from there" in str(ended.value)
    lines = Run(str(run)).lines()
    last = max(line["step"] for line in lines)
    assert last > 2
    assert f"all up to step {last} is saved" in str(ended.value)
    shutil.rmtree(corpus)
    shutil.copytree(small_corpus.directory, corpus)
    train(corpus, run, **LONGER)
    assert several.farthest(several.weights(run), several.weights(longer_run)) == 0


def test_a_corpus_that_is_deleted_is_read_on_where_it_is_open(finished_run, small_corpus, tmp_path):
    corpus, run = tmp_path / "corpus", tmp_path / "run"
    shutil.copytree(small_corpus.directory, corpus)
    train(corpus, run, watchers=[lambda line, spent: delete(corpus)], log_every=EVERY_STEP)
    assert several.farthest(several.weights(run), several.weights(finished_run)) == 0


@pytest.mark.parametrize("replaced", [False, True])
def test_an_output_directory_that_is_deleted_ends_the_run_at_the_next_write(replaced, small_corpus, tmp_path):
    run, seen = tmp_path / "run", []

    def deleting(line, spent):
        seen.append(line.get("step", 0))
        if line.get("step") == 2 and "learning_rate" in line and run.exists():
            shutil.rmtree(run)
            if replaced:
                shutil.copytree(tmp_path / "another", run)

    os.mkdir(tmp_path / "another")
    (tmp_path / "another" / ".lock").touch()
    with pytest.raises(TrainingError, match=r"run can no longer be written .*it was deleted, moved or replaced"):
        train(small_corpus.directory, run, watchers=[deleting], log_every=EVERY_STEP)
    assert max(seen) == 2
    assert not (run / "checkpoints").exists()
    assert not (run / "log.jsonl").exists()
