"""A disk that fills at any moment: one sentence, nothing half written, and the same command then goes on.

All sizes: `python -m pytest -s -m soak tests/faults/test_small_disks.py` (as root, which alone can mount a disk).
"""

import os
import subprocess
import sys

import numpy as np
import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError, TrainingError, is_disk_full
from tests.programs import REPOSITORY, call
from tests.training import several
from tests.training.runs import train

pytestmark = pytest.mark.without_backend
MEGABYTES = 64
PREPARATION = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def leave(disk, room):
    """Fills a disk but for so many bytes; returns the file that fills it."""
    filler = disk / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16))
        except OSError:
            file.truncate(max(0, file.tell() - room))
    return filler


def left_over(directory):
    return [name for _, folders, names in os.walk(directory) for name in (*folders, *names) if ".tmp" in name]


def taken(directory):
    return sum(os.path.getsize(os.path.join(folder, name)) for folder, _, names in os.walk(directory) for name in names)


@pytest.mark.parametrize("sizes", [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)])
def test_a_run_on_a_disk_that_fills_at_any_moment(sizes, finished_run, small_corpus, small_disk, tmp_path):
    whole = tmp_path / "whole"
    train(small_corpus.directory, whole, marks="0.5", report=True)
    ended = []
    for number, room in enumerate(np.linspace(0, 0.95 * taken(whole), sizes).astype(int)):
        run = small_disk / f"run-{number}"
        filler = leave(small_disk, int(room))
        try:
            train(small_corpus.directory, run, marks="0.5", report=True)
            ended.append("finished")
        except (TrainingError, InputError) as error:
            ended.append(str(error))
        print(f"{room:,} bytes: {ended[-1]}")
        assert "\n" not in ended[-1]
        assert left_over(small_disk) == []
        filler.unlink()
        train(small_corpus.directory, run, marks="0.5", report=True)
        assert several.farthest(several.weights(run), several.weights(finished_run)) == 0
        subprocess.run(["rm", "-r", run], check=True)
    assert sum("No space left" in told for told in ended) > sizes // 2


@pytest.mark.parametrize("sizes", [pytest.param(3, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)])
def test_a_corpus_is_prepared_on_a_disk_that_fills_at_any_moment(sizes, small_text, small_corpus, small_disk, tmp_path):
    corpus, most = small_disk / "corpus", 0.5 * small_text.stat().st_size + taken(small_corpus.directory)
    ended = []
    for room in np.linspace(0, most, sizes).astype(int):
        filler = leave(small_disk, int(room))
        words = (f"--{name}={value}" for name, value in PREPARATION.items())
        done = call("recipes/prepare_corpus.py", "--corpus", small_text, "--output_dir", corpus, *words)
        told = [line for line in done.stderr.splitlines() if line.startswith("prepare_corpus.py: ")]
        ended.append(done.returncode)
        print(f"{room:,} bytes: code {done.returncode} {told}")
        assert "Traceback" not in done.stderr, done.stderr[-2000:]
        assert len(told) == (done.returncode != 0)
        assert left_over(small_disk) == []
        filler.unlink()
        again = prepare_corpus(str(small_text), corpus, **PREPARATION)
        assert again.fingerprint == small_corpus.fingerprint
        subprocess.run(["rm", "-r", corpus], check=True)
    assert 1 in ended


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_below_any_command_is_one_sentence():
    code = (
        "import sys; from budgetbert import command_line\n"
        "def main():\n"
        "    with open('/dev/full', 'w') as file: file.write('x')\n"
        "command_line.run(main)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "make room, and the same command goes on" in done.stderr


def test_a_full_disk_is_known_however_deep_it_lies():
    error = RuntimeError("a writer of another library")
    error.__cause__ = OSError(28, "No space left on device")
    assert is_disk_full(error)
    assert is_disk_full(OSError("117780 requested and 4032 written"))  # as NumPy says it
    assert not is_disk_full(OSError(5, "Input/output error"))


def test_what_the_system_refuses_of_a_file_is_one_sentence():
    code = (
        "import resource; from budgetbert import command_line\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))\n"
        "command_line.run(lambda: [open('/dev/null') for _ in range(9)])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("/dev/null: Too many open files: mend that, and run it again.")
