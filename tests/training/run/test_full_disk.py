"""A disk that fills: the run ends with one sentence, and nothing is lost but what could not be written."""

import errno
import os
import subprocess

import pytest

from budgetbert.errors import TrainingError
from budgetbert.training.run.directory import Run
from tests.training import several
from tests.training.runs import train

STEPS = tuple(f"step-{step:08d}" for step in range(1, 10))  # what fails is tried once more, at the step that finds it
FULL = "No space left on device.*mend that, and the same command goes on"


def left_over(directory):
    return [name for _, folders, files in os.walk(directory) for name in (*folders, *files) if ".tmp" in name]


@pytest.mark.slow
@pytest.mark.without_backend
def test_each_write_that_fails_ends_the_run_and_the_same_command_goes_on(
    finished_run, small_corpus, tmp_path, monkeypatch
):
    replace, written = os.replace, []

    def full(source, target):
        if str(target).endswith(written[-1]) and ".tmp" in str(source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(source))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    run = tmp_path / "run"
    # one after another on the way: each call gets as far as the next of them
    for name in ("recipe.json", "plan.png", STEPS, "0.5.keras", "run/model.keras", "report.html"):
        written.append(name)
        with pytest.raises(TrainingError, match=FULL):
            train(small_corpus.directory, run, marks="0.5", report=True)
        assert left_over(run) == []
    written.append("nothing")
    assert train(small_corpus.directory, run, marks="0.5", report=True)
    assert (run / "marks" / "0.5.keras").exists()
    assert (run / "report.html").exists()
    assert several.farthest(several.weights(run), several.weights(finished_run)) == 0


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(filler, room):
    """Writes a file that leaves so many bytes free."""
    with open(filler, "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            file.truncate(file.tell() - room)


@pytest.mark.without_backend
def test_a_disk_that_is_full_costs_the_newest_checkpoint(finished_run, small_corpus, small_disk):
    filler = small_disk / "filler"

    def filling(line, spent):
        if line["step"] == 4 and not filler.exists():
            fill(filler, 100_000)  # for the log, and no checkpoint

    with pytest.raises(TrainingError, match=FULL):
        train(small_corpus.directory, small_disk / "run", marks="0.5", watchers=[filling])
    lines = Run(str(small_disk / "run")).lines()
    assert max(line["step"] for line in lines if "step" in line) < 9  # not at the end only
    assert left_over(small_disk) == []
    fill(filler, 0)
    with pytest.raises(TrainingError, match=FULL):  # at its start, too
        train(small_corpus.directory, small_disk / "run", marks="0.5")
    assert Run(str(small_disk / "run")).lines() == lines
    filler.unlink()
    train(small_corpus.directory, small_disk / "run", marks="0.5")
    assert several.farthest(several.weights(small_disk / "run"), several.weights(finished_run)) == 0
    resumed = [line for line in Run(str(small_disk / "run")).lines() if "resumed_from_step" in line]
    assert resumed in (
        [{"resumed_from_step": 3}],
        [{"resumed_from_step": 0}],
    )  # 0 where that of step 3 was still being written
