"""The command that writes pages and compares, as a user types it."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from budgetbert.corpus import store
from tests.finetuning.results import make_result, write
from tests.pages import check_page
from tests.programs import call
from tests.training.runs import train

pytestmark = pytest.mark.without_backend


@pytest.fixture(scope="module")
def runs(small_corpus, finished_run, tmp_path_factory):
    """The directories of two real runs, of 12 and of 8 steps."""
    directory = tmp_path_factory.mktemp("compared") / "shorter"
    train(small_corpus.directory, directory, budget="8steps", learning_rate=1e-2)
    return finished_run, directory


@pytest.fixture
def results(tmp_path):
    """The directories of a GLUE result and of a baseline."""
    for name in ("ours", "baseline"):
        (tmp_path / name).mkdir()
    write(tmp_path / "ours", make_result(cola={"matthews": [0.3, 0.31, 0.32]}, sst2={"accuracy": [0.79]}))
    write(tmp_path / "baseline", make_result(True, cola={"matthews": [0.0, 0.01, 0.02]}, sst2={"accuracy": [0.78]}))
    return tmp_path / "ours", tmp_path / "baseline"


def report(*arguments):
    return call("budgetbert.report", *arguments)


def log(directory):
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def test_each_directory_gets_its_page(runs, small_corpus, results, tmp_path):
    places = [runs[0], tmp_path / "corpus", results[0]]
    shutil.copytree(small_corpus.directory, places[1])
    pages = [runs[0] / "report.html", places[1] / store.REPORT, results[0] / "glue.html"]
    for page in pages:
        page.unlink(missing_ok=True)
    done = report(*places)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(map(str, pages))
    for page in pages:
        check_page(page.read_text(encoding="utf-8"))


def test_runs_are_laid_over_each_other_and_compared_where_all_have_been(runs, tmp_path):
    picture = tmp_path / "comparison.png"
    done = report(*runs, "--x", "steps", "--output", picture)
    assert done.returncode == 0, done.stderr
    with Image.open(picture) as image:
        colors = {color for _, color in image.convert("RGB").getcolors(100_000)}
    # The first two colours of matplotlib: a curve for each run.
    assert {(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)} <= colors
    assert "validation loss at 8 steps" in done.stdout
    for directory in runs:
        lines = log(directory)
        losses = {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
        row = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == [directory.name])
        assert row[1] == str(lines[-1]["step"])
        assert row[-3:-1] == [f"{losses[0]:.3f}", f"{lines[-1]['validation_loss']:.3f}"]
        assert float(row[-1]) == pytest.approx(np.interp(8, list(losses), list(losses.values())), abs=6e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("x", "y"), [("tokens", "loss"), ("flops", "gradient_norm"), ("seconds", "learning_rate")])
def test_any_number_of_the_log_can_be_compared(runs, tmp_path, x, y):
    picture = tmp_path / "comparison.png"
    done = report(*runs, "--x", x, "--y", y, "--output", picture)
    assert done.returncode == 0, done.stderr
    assert f"{y.replace('_', ' ')} at " in " ".join(done.stdout.split())
    assert picture.stat().st_size > 1000


def test_a_glue_result_is_compared_with_its_baseline(results):
    ours, baseline = results
    done = report(ours / "glue.json", baseline)
    assert done.returncode == 0, done.stderr
    assert "cramming_24h mini_crammed against A random initialisation. Protocol `cramming`" in done.stdout
    assert "| CoLA | Matthews | 31.0 | 1.0 | +30.0 | 4.0 | beaten | twice the spread of 3 seeds |" in done.stdout
    assert "| SST-2 | accuracy | 79.0 | 78.0 | +1.0 | 2.8 | not beaten | one seed: twice the" in done.stdout
    for name in ("glue.html", "glue.md"):
        assert "Against the baseline" in (ours / name).read_text(encoding="utf-8")
        assert "Against the baseline" not in (baseline / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing is given"),
        (["nonesuch"], "nonesuch holds no run"),
        (["RUN", "OTHER", "--y", "lr"], "has no 'lr' to compare: it holds"),
        (["RUN", "OTHER", "--output", "comparison.text"], "--output comparison.text cannot be written"),
        (["RUN", "--x", "hours"], "flag --x=hours"),
        (["a.json", "b.json", "c.json"], "3 GLUE results are given"),
        (["a.json"], "a.json does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(runs, arguments, message):
    done = report(*({"RUN": runs[0], "OTHER": runs[1]}.get(argument, argument) for argument in arguments))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
