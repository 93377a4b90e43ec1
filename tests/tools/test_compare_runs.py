import json
import os

import numpy as np
import pytest
from PIL import Image

from tests.programs import call
from tests.training.runs import train


@pytest.fixture(scope="module")
def runs(small_corpus, finished_run, tmp_path_factory):
    """The directories of two real runs, of 12 and of 8 steps."""
    directory = tmp_path_factory.mktemp("compared") / "shorter"
    train(small_corpus.directory, directory, budget="8steps", learning_rate=1e-2)
    return finished_run, directory


def log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_runs_are_laid_over_each_other_and_compared_where_all_have_been(runs, tmp_path):
    picture = tmp_path / "comparison.png"
    done = call("tools/compare_runs.py", *runs, "--x", "steps", "--output", picture)
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(100_000)}
    assert {(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)} <= colors  # the first two of matplotlib: a curve for each run
    assert "validation loss at 8 steps" in done.stdout
    for directory in runs:
        lines = log(directory)
        losses = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
        row = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == [directory.name])
        assert row[1] == str(lines[-1]["step"])
        assert row[-3:-1] == [f"{losses[0]:.3f}", f"{lines[-1]['validation_loss']:.3f}"]
        assert float(row[-1]) == pytest.approx(np.interp(8, list(losses), list(losses.values())), abs=6e-4)


@pytest.mark.parametrize(("x", "y"), [("tokens", "loss"), ("flops", "gradient_norm"), ("seconds", "learning_rate")])
def test_any_number_of_the_log_can_be_compared(runs, tmp_path, x, y):
    picture = tmp_path / "comparison.png"
    done = call("tools/compare_runs.py", *runs, "--x", x, "--y", y, "--output", picture)
    assert done.returncode == 0, done.stderr
    assert f"{y.replace('_', ' ')} at " in " ".join(done.stdout.split())
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no run is given"),
        (["nonesuch"], "nonesuch holds no run"),
        (["RUN", "--y", "lr"], "has no 'lr' to compare: it holds"),
        (["RUN", "--output", "comparison.text"], "--output comparison.text cannot be written"),
        (["RUN", "--x", "hours"], "flag --x=hours"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(runs, arguments, message):
    done = call("tools/compare_runs.py", *(runs[0] if argument == "RUN" else argument for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_report_of_runs_is_written_on_request(runs):
    for directory in runs:
        os.utime(directory / "report.html", (0, 0))
    done = call("tools/report_run.py", *runs)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(directory / "report.html") for directory in runs]
    for directory in runs:
        assert (directory / "report.html").stat().st_mtime > 0
        assert "Finished run" in (directory / "report.html").read_text()
    assert call("tools/report_run.py").returncode == 2
