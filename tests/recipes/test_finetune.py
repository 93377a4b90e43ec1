"""The recipes as a user types them: from a labelled file to a page, and from there to labels of another file."""

import json

import keras
import pytest

from tests.finetuning import folder
from tests.finetuning.labelled.files import texts, write
from tests.programs import call


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    folder.pretrained().save(path)
    return path


@pytest.mark.slow
@pytest.mark.any_backend
def test_from_a_labelled_file_to_labels_of_another(model, tmp_path):
    rows = [(text, "cat" if cat else "dog") for text, cat in texts(60)]
    train = write(tmp_path / "a.csv", ("text", "label"), rows)
    flags = ("--model", model, "--train", train, "--output_dir", tmp_path / "out", "--precision", "float32")
    done = call("recipes/finetune.py", *flags, "--epochs", "1", "--seeds", "1", "--test", train)
    assert done.returncode == 0, done.stderr
    for told in (
        "task classify (one class for each text, 2 labels): the labels are names",
        "columns: text 'text', label 'label' (from the header: 'text', 'label')",
        "dev: held out of",
        "of 60 rows stand in the training examples too, so its scores flatter",
        "test, TF-IDF and a linear model: accuracy",
    ):
        assert told in done.stdout
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert result["tasks"]["classify"]["metrics"]["accuracy"]["n"] == 1
    assert (tmp_path / "out" / "metrics.html").exists()
    output = tmp_path / "labels.jsonl"
    flags = ("--model", tmp_path / "out" / "model.keras", "--input", train, "--text", "text", "--output", output)
    done = call("recipes/predict.py", *flags)
    assert done.returncode == 0, done.stderr
    assert f"60 rows of {train} are labelled in {output}." in done.stdout
    assert len(output.read_text().splitlines()) == 60


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--model": "none.keras"}, "--model none.keras cannot be read"),
        ({"--input": "none.csv"}, "--input none.csv cannot be read"),
        ({"--input": "hf:someone/something"}, "is no file: download it"),
        ({"--output": "out.txt"}, "--output out.txt ends in none of .jsonl, .csv, .parquet"),
        ({"--output": "there.csv"}, "--output there.csv is there already"),
        ({"--output": "nowhere/out.csv"}, "there is no folder"),
        ({"--batch_size": "0"}, "--batch_size=0"),
    ],
)
def test_bad_input_of_predict_is_one_sentence_before_keras_is_imported(tmp_path, monkeypatch, changed, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("text\none\n")
    (tmp_path / "keras.py").write_text("raise ImportError('Keras was imported')")
    flags = {"--model": ".", "--input": "there.csv", "--output": "out.csv", **changed}
    done = call(
        "recipes/predict.py", *(part for name, value in flags.items() for part in (name, value)), first_on_path=tmp_path
    )
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
