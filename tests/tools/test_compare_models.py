import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "compare_models.py"


def call(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parents[1])}
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], env=environment, capture_output=True, text=True)


def test_a_finished_model_has_the_loss_of_its_run(finished_run, small_corpus, tmp_path):
    done = call(finished_run / "model.keras", "--corpus", small_corpus.directory, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "out.json").read_text()).values()
    final = json.loads((finished_run / "log.jsonl").read_text().splitlines()[-1])
    # the same rows, in other masks where the run judged fewer of them
    assert found["validation_loss"] == pytest.approx(final["validation_loss"], abs=0.1)
    assert f"{found['validation_loss']:.3f}" in done.stdout


def test_another_vocabulary_is_refused(finished_run, two_corpora):
    corpus = two_corpora.split(",")[0]
    path = Path(corpus) / "vocabulary.txt"
    text = path.read_text(encoding="utf-8")
    done = call(finished_run / "model.keras", "--corpus", corpus)
    if text == (finished_run / "vocabulary.txt").read_text(encoding="utf-8"):
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == 2
        assert "has another vocabulary" in done.stderr
