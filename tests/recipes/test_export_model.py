"""The recipe, as users run it; models from each backend come out on TensorFlow."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from budgetbert.export.export import export_model
from tests.export.conftest import serving
from tests.export.models import LABELS, UNSEEN, finetuned, masked

pytest.importorskip("tensorflow_text")
REPOSITORY = Path(__file__).parents[2]


def run(*flags):
    return subprocess.run(
        [sys.executable, REPOSITORY / "recipes" / "export_model.py", *map(str, flags)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def export(model, export_format, directory, *flags):
    done = run("--model", model, "--format", export_format, "--output_dir", directory, *flags)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_what_was_trained_on_any_backend_is_served(tmp_path):
    model = finetuned()
    model.save(tmp_path / "model.keras")
    done = export(tmp_path / "model.keras", "serving", tmp_path / "serving")
    assert f"is exported to {tmp_path / 'serving' / '1'}" in done.stdout
    assert not done.stderr
    with serving(model=tmp_path / "serving") as server:
        _, answer = server.predict("model", instances=[{"text": text} for text in UNSEEN])
    assert [row["label"] for row in answer["predictions"]] == LABELS
    probabilities = keras.ops.convert_to_numpy(keras.ops.softmax(model.predict(UNSEEN, verbose=0)))
    np.testing.assert_allclose([row["probabilities"] for row in answer["predictions"]], probabilities, atol=1e-4)


def snippets(card):
    """The Python of a card by the heading above it."""
    return dict(re.findall(r"^### ([\w ]+)\n.*?^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL))


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.parametrize("kind", ["a run's masked-LM", "a classifier"])
def test_the_three_snippets_of_the_card_say_the_same(kind, tmp_path, finished_run):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    file = tmp_path / "model.keras"
    if kind == "a classifier":
        model = finetuned()
        model.save(file)
        (tmp_path / "glue.json").write_text(
            json.dumps({"tasks": {"rte": {"metrics": {"accuracy": {"values": [0.5, 0.6], "median": 0.55, "n": 2}}}}})
        )
    else:
        for name in ("model.keras", "recipe.json", "plan.json", "log.jsonl"):
            (tmp_path / name).write_bytes((Path(finished_run) / name).read_bytes())
    for export_format in ("serving", "transformers"):
        export_model(str(file), export_format, str(tmp_path / export_format))
    cards = [(tmp_path / name / "README.md").read_text() for name in ("serving", "transformers")]
    assert cards[0] == (tmp_path / "serving" / "1" / "assets.extra" / "README.md").read_text()
    assert snippets(cards[0]) == snippets(cards[1])
    with serving(model=tmp_path / "serving") as server:
        code = "\nprint('|')\n".join(snippets(cards[0]).values()).replace("localhost:8501", f"localhost:{server.rest}")
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "KERAS_BACKEND": "tensorflow"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
    printed = dict(zip(snippets(cards[0]), done.stdout.split("|\n"), strict=True))
    assert printed.keys() == {"Keras", "Transformers", "TensorFlow Serving"}
    if kind == "a classifier":
        served = [row["label"] for row in ast.literal_eval(printed["TensorFlow Serving"])]
        assert re.findall("feline|canine", printed["Keras"]) == served
        assert re.findall("feline|canine", printed["Transformers"]) == served
        assert "| rte | accuracy | 55.0 | 10.0 | 2 | – |" in cards[0]
        assert "no record of its training" in cards[0]
    else:
        (row,) = ast.literal_eval(printed["TensorFlow Serving"])
        (filled,) = row["tokens"]
        assert ast.literal_eval(printed["Transformers"]) == filled
        assert [token for token, _ in ast.literal_eval(printed["Keras"].splitlines()[-1])[0][0]] == filled
        for told in ("| recipe | academic_24h tiny_24h |", "| steps | 12 |", "| sources | small.txt", "| hours |"):
            assert told in cards[0]
        corpus = json.loads((tmp_path / "recipe.json").read_text())["recipe"]["corpus"]
        assert f"| corpus | {corpus} |" in cards[0]
        assert "GLUE\n\nNot measured." in cards[0]
        assert str(tmp_path) not in cards[0]


@pytest.mark.without_backend
def test_bad_input_is_one_sentence_and_code_2(tmp_path):
    model, other = tmp_path / "model.keras", tmp_path / "other"
    masked().save(model)
    masked(preprocessor=None).save(tmp_path / "bare.keras")
    other.mkdir()
    (other / "photo.jpg").write_text("mine")
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / "export.json").write_text('{"format": "onnx"}')
    for flags, told in (
        (["--format", "serving", "--output_dir", other], "--model is missing"),
        (["--model", model, "--format", "pickle", "--output_dir", "x"], "flag --format=pickle"),
        (["--model", model, "--format", "serving", "--output_dir", other], "holds something that is no export"),
        (["--model", model, "--format", "serving", "--output_dir", earlier], "holds an export to onnx"),
        (["--model", model, "--format", "serving", "--output_dir", model], "is a file"),
        (["--model", model, "--format", "transformers", "--output_dir", "x", "--weights", "int8"], "is not possible"),
        (["--model", tmp_path / "bare.keras", "--format", "serving", "--output_dir", tmp_path / "x"], "no vocabulary"),
    ):
        done = run(*flags)
        assert done.returncode == 2, done.stderr
        assert told in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"model.keras", "bare.keras", "other", "earlier"}


@pytest.mark.without_backend
def test_a_missing_package_is_named(tmp_path):
    code = (
        "import sys; sys.modules['onnxscript'] = None; from budgetbert.export.export import check_request; "
        f"check_request('onnx', {str(tmp_path / 'x')!r}, 'float32')"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "--format onnx needs" in done.stderr
    assert "onnxscript, which is not installed: pip install 'budgetbert[onnx]'" in done.stderr


@pytest.mark.without_backend
def test_the_surface_is_what_stands_so_far():
    done = run("--help")
    assert done.returncode == 0
    assert re.findall(r"^  --(\w+):", done.stdout, re.MULTILINE) == ["format", "model", "output_dir", "weights"]
