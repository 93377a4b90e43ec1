"""Without TensorFlow: from text to a served classifier, in processes in which its import fails."""

import importlib.metadata
import importlib.util
import json
import lzma
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[1]
# The first file that Python runs: an import of either package fails, as where they are not installed.
BLOCKER = 'import sys\nfor name in ("tensorflow", "tensorflow_text", "tf2onnx"):\n    sys.modules[name] = None\n'
USE = """
import sys
import numpy as np, keras, budgetbert, budgetbert.models
run, folder = sys.argv[1:]
pretrained = keras.models.load_model(run + "/model.keras")
print(pretrained.fill_mask("the cat sees a [MASK].", k=1))
preprocessor = budgetbert.BertBudgetTextClassifierPreprocessor(pretrained.preprocessor.tokenizer, sequence_length=16)
model = budgetbert.BertBudgetTextClassifier(pretrained.backbone, 2, preprocessor, label_names=["cat", "dog"])
texts, labels = ["the cat sees a bird", "a dog draws the king"] * 8, ["cat", "dog"] * 8
model.fit(texts, labels, epochs=1, validation_split=0.25, verbose=0)
model.evaluate(texts, labels, verbose=0)
model.save(folder + "/classifier.keras")
model.save_to_preset(folder + "/preset")
again = budgetbert.BertBudgetTextClassifier.from_preset(folder + "/preset")
again.preprocessor.sequence_length = 16
np.testing.assert_allclose(again.predict(texts, verbose=0), model.predict(texts, verbose=0), atol=1e-5)
print("predicted", model.predict("the cat", verbose=0).shape)
"""


def requirements(lines):
    found = [Requirement(line) for line in lines]
    return {requirement.name: str(requirement.specifier) for requirement in found if not requirement.marker}


def test_the_list_is_what_both_packages_ask_for():
    listed = (REPOSITORY / "requirements-without-tensorflow.txt").read_text().splitlines()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    ours = requirements(project["dependencies"])
    assert importlib.metadata.version("keras-hub") in Requirement(f"keras-hub{ours.pop('keras-hub')}").specifier
    hub = requirements(importlib.metadata.requires("keras-hub"))
    assert requirements(line for line in listed if not line.startswith("#")) == {**hub, **ours}


def test_each_backend_is_an_extra():
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"tensorflow", "jax", "torch", "serving", "onnx", "transformers", "test"} <= set(extras)
    assert not [line for name, lines in extras.items() for line in lines if "tensorflow" in line and name == "onnx"]
    assert "tensorflow-text>=2.21.1" in extras["tensorflow"]
    assert '\npip install --quiet -e ".[tensorflow]"\n' in (REPOSITORY / "README.md").read_text()


@pytest.fixture
def start(tmp_path):
    """A function that runs Python with arguments and no TensorFlow, and returns what it printed."""
    (tmp_path / "blocker").mkdir()
    (tmp_path / "blocker" / "sitecustomize.py").write_text(BLOCKER)

    def run(backend, *arguments):
        path = os.pathsep.join([str(tmp_path / "blocker"), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": path}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_pretraining_finetuning_prediction_and_exports_work(backend, start, small_text, tmp_path):
    for package in (backend, "torch", "transformers", "onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    run, exports = tmp_path / "run", tmp_path / "exports"
    options = ("--budget", "6steps", "--batch_size", 8, "--preset", "tiny", "--precision", "float32")
    start(backend, "recipes/frontier.py", "--corpus", small_text, "--output_dir", run, *options)
    assert "predicted (1, 2)" in start(backend, "-c", USE, run, tmp_path)
    for name, weights in (("onnx", "float32"), ("onnx", "int8"), ("transformers", "float32")):
        given = ("--format", name, "--weights", weights, "--output_dir", exports / name / weights)
        start(backend, "recipes/export_model.py", "--model", tmp_path / "classifier.keras", *given)
        assert json.loads((exports / name / weights / "export.json").read_text())["weights"] == weights
    glue = tmp_path / "glue" / "SST-2"
    glue.mkdir(parents=True)
    rows = "sentence\tlabel\n" + "the cat sees a dog\t1\na bird draws the king\t0\n" * 8
    for part in ("train", "dev"):
        with lzma.open(glue / f"{part}.tsv.xz", "wt") as file:
            file.write(rows)
    given = ("--glue_dir", glue.parent, "--protocol", "quick", "--output_dir", tmp_path / "finetuned")
    start(backend, "recipes/finetune_glue.py", "--model", run / "model.keras", *given)
    assert (tmp_path / "finetuned" / "glue.json").exists()
