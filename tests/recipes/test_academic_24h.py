import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import budgetbert.models  # noqa: F401 (it registers the classes of the files that are loaded here)

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "recipes" / "academic_24h.py"


def run(*flags):
    return subprocess.run(
        [sys.executable, RECIPE, *map(str, flags)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--corpsu", "x"], "Unknown command line flag 'corpsu'"),
        (["--output_dir", "x"], "--corpus is missing"),
        (["stray"], "'stray' is not a flag"),
        (["--seed", "many"], "flag --seed=many"),
    ],
)
@pytest.mark.without_backend
def test_a_wrong_flag_is_one_sentence_and_code_2(flags, message):
    done = run(*flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.without_backend
def test_help_says_what_a_run_costs_and_shows_the_flags():
    done = run("--help")
    assert done.returncode == 0
    for shown in ("Hardware", "Expected", "--corpus: A prepared corpus, raw text, or demo.", "--budget: "):
        assert shown in done.stdout


@pytest.mark.slow
@pytest.mark.any_backend
def test_text_goes_in_and_an_encoder_that_fills_masks_comes_out(small_text, tmp_path):
    flags = ("--corpus", small_text, "--output_dir", tmp_path / "run", "--preset", "tiny", "--budget", "3steps")
    done = run(*flags, "--batch_size", 8, "--micro_batch_size", 8, "--precision", "float32")
    assert done.returncode == 0, done.stderr
    for shown in ("differs from the published recipe", "The plan: tiny_24h", "Result", "unigram entropy"):
        assert shown in done.stdout
    assert "Traceback" not in done.stderr
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    (guesses,) = model.fill_mask(["The cat [MASK] a dog."], k=3)[0]
    assert len(guesses) == 3


def test_a_wrong_budget_is_one_sentence_and_code_2(small_text, tmp_path):
    done = run("--corpus", small_text, "--output_dir", tmp_path / "run", "--budget", "soon")
    assert done.returncode == 2
    assert done.stderr.startswith("academic_24h.py: --budget 'soon' cannot be read")
    assert len(done.stderr.strip().splitlines()) == 1
