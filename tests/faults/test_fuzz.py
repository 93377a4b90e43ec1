"""Damaged inputs of every kind end in one sentence, or as sound ones do.

All 6,696 take an hour on two cores: `python -m pytest -s -m soak tests/faults/test_fuzz.py` prints the table of
docs/RELIABILITY.md.
"""

import collections
import json
import subprocess
import sys

import pytest

from tests.programs import REPOSITORY

pytestmark = pytest.mark.without_backend
SEED = 1
ALL = {
    "corpus": 1000,
    "run": 100,
    "state": 500,
    "keras_file": 400,
    "preset": 200,
    "hugging_face": 150,
    "glue": 600,
    "flags": 3746,
}
SAMPLE = {
    "corpus": 40,
    "run": 6,
    "state": 40,
    "keras_file": 15,
    "preset": 10,
    "hugging_face": 6,
    "glue": 40,
    "flags": 40,
}
GOOD, BAD = ("clean", "sentence"), ("traceback", "hang", "silent", "crash")


def run(kind, number, folder):
    """Returns how each input of a kind ended; a process that an input ends is started again behind it."""
    folder.mkdir()
    file = folder / "found.jsonl"
    for start in range(10):
        work = folder / f"work-{start}"
        work.mkdir()
        command = [sys.executable, "-m", "tests.faults.fuzz", kind, str(SEED), str(number), str(work), str(file)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if done.returncode >= 0:
            assert done.returncode == 0, done.stderr[-3000:]
            break
        lines = file.read_text().count("\n") if file.exists() else 0
        crash = {
            "kind": kind,
            "number": lines,
            "what": done.stderr.strip().splitlines()[-1],
            "ended": "crash",
            "said": "",
        }
        with open(file, "a", encoding="utf-8") as told:
            told.write(json.dumps({**crash, "seconds": 0}) + "\n")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def table(found):
    """Returns the counts of each kind as a table of Markdown."""
    lines = [f"| what | inputs | {' | '.join((*GOOD, *BAD))} |", "|---|" + "---|" * 7]
    for kind in (*dict.fromkeys(line["kind"] for line in found), "all"):
        counts = collections.Counter(line["ended"] for line in found if kind in (line["kind"], "all"))
        lines.append(f"| {kind} | {counts.total():,} | {' | '.join(f'{counts[name]:,}' for name in (*GOOD, *BAD))} |")
    return "\n".join(lines)


@pytest.mark.parametrize(
    "numbers",
    [pytest.param(SAMPLE, marks=pytest.mark.slow, id="sample"), pytest.param(ALL, marks=pytest.mark.soak, id="all")],
)
def test_damaged_inputs_end_in_one_sentence_or_as_sound_ones(numbers, tmp_path):
    found = [line for kind, number in numbers.items() for line in run(kind, number, tmp_path / kind)]
    print(f"\n{table(found)}")
    assert [line for line in found if line["ended"] in BAD] == []
    assert {line["ended"] for line in found} == set(GOOD)
    assert len(found) == sum(numbers.values())
