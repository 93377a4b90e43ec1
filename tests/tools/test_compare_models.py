import json

import pytest

from budgetbert.corpus.prepare import prepare_corpus
from tests.programs import call

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOL = "tools/compare_models.py"


def test_a_finished_model_has_the_loss_of_its_run(finished_run, small_corpus, tmp_path):
    done = call(TOOL, finished_run / "model.keras", "--corpus", small_corpus.directory, "--json", tmp_path / "out.json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "out.json").read_text()).values()
    final = json.loads((finished_run / "log.jsonl").read_text().splitlines()[-1])
    # the same rows, in other masks where the run judged fewer of them
    assert found["validation_loss"] == pytest.approx(final["validation_loss"], abs=0.1)
    assert f"{found['validation_loss']:.3f}" in done.stdout
    assert str(finished_run / "model.keras") in done.stdout  # whole, however long


def test_another_vocabulary_is_refused(finished_run, small_text, tmp_path):
    cased = {"lowercase": False, "vocabulary_size": 256, "sequence_length": 32, "workers": 1}
    other = prepare_corpus(str(small_text), tmp_path / "other", **cased)
    done = call(TOOL, finished_run / "model.keras", "--corpus", other.directory)
    assert done.returncode == 2
    assert "has another vocabulary" in done.stderr
