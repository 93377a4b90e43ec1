"""The recipe as a user types it: a run from a file, its exit codes, and what it says of bad input."""

import json

import keras
import pytest

from tests.finetuning import folder
from tests.programs import call

RECIPE = "recipes/finetune_glue.py"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    folder.pretrained().save(path)
    return path


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return folder.write(tmp_path_factory.mktemp("glue"), tasks=("CoLA", "RTE"))


@pytest.mark.slow
@pytest.mark.any_backend
def test_from_a_file_to_a_table(model, glue, tmp_path):
    flags = ("--model", model, "--glue_dir", glue, "--protocol", "quick", "--output_dir", tmp_path / "out")
    done = call(RECIPE, *flags, "--max_train_examples", "60", "--precision", "float32")
    assert done.returncode == 0, done.stderr
    assert "missing in" in done.stdout
    assert "CoLA, seed 0: matthews" in done.stdout
    result = json.loads((tmp_path / "out" / "glue.json").read_text())
    assert result["tasks"].keys() == {"cola", "rte"}
    assert result["tasks"]["rte"]["train_examples"] == 60
    assert result["pretraining"] is None  # the file lies in no run
    assert "trained on 60 of 120 examples" in result["tasks"]["rte"]["notes"]


@pytest.mark.slow
@pytest.mark.any_backend
def test_two_commands_on_one_directory_make_one_result(model, glue, tmp_path):
    flags = ("--model", model, "--glue_dir", glue, "--protocol", "quick", "--output_dir", tmp_path / "out")
    for task in ("cola", "rte"):
        done = call(RECIPE, *flags, "--tasks", task, "--max_train_examples", "20", "--precision", "float32")
        assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out" / "glue.json").read_text())
    seconds = [part["seconds"] for part in result["tasks"].values()]
    assert len(seconds) == 2
    assert result["finetuning"]["seconds"] == pytest.approx(sum(seconds))


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--model": "none.keras"}, "--model none.keras cannot be read"),
        ({"--glue_dir": "none"}, "--glue_dir none is no folder"),
        ({"--tasks": "qqp"}, "--tasks qqp needs QQP/"),
        ({"--protocol": "best"}, "--protocol=best"),
        ({"--seeds": "0"}, "--seeds=0"),
        ({"--output_dir": None}, "--output_dir is missing"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2_before_keras_is_imported(model, glue, tmp_path, changed, sentence):
    flags = {"--model": model, "--glue_dir": glue, "--output_dir": tmp_path / "out", **changed}
    (tmp_path / "keras.py").write_text("raise ImportError('Keras was imported')")
    arguments = (part for name, value in flags.items() if value is not None for part in (name, value))
    done = call(RECIPE, *arguments, first_on_path=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.without_backend
def test_a_model_without_a_vocabulary_is_refused(glue, tmp_path):
    model = folder.pretrained()
    model.preprocessor = None
    path = tmp_path / "model.keras"
    model.save(path)
    done = call(RECIPE, "--model", path, "--glue_dir", glue, "--output_dir", tmp_path / "out")
    assert done.returncode == 2
    assert "has no vocabulary" in done.stderr
