"""A Keras user's first hour and a Hugging Face user's, each as the script that such a user types."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import budgetbert
import budgetbert.models
from tests.programs import call

pytestmark = pytest.mark.slow


@pytest.mark.any_backend
def test_a_keras_user(finished_run, tmp_path):
    done = call("tests/first_hour/keras_user.py", finished_run / "model.keras", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("the hour is over")
    assert done.stdout.count("told:") == 3


@pytest.mark.without_backend
def test_a_hugging_face_user(finished_run, tmp_path):
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    pretrained = keras.models.load_model(finished_run / "model.keras")
    preprocessor = budgetbert.BertBudgetTextClassifierPreprocessor(pretrained.preprocessor.tokenizer)
    classifier = budgetbert.BertBudgetTextClassifier(pretrained.backbone, 2, preprocessor, label_names=["cat", "dog"])
    classifier.save(tmp_path / "classifier.keras")
    for name, model in (("masked", finished_run / "model.keras"), ("classified", tmp_path / "classifier.keras")):
        given = ("--model", model, "--format", "transformers", "--output_dir", tmp_path / name)
        done = call("recipes/export_model.py", *given)
        assert done.returncode == 0, done.stderr[-3000:]
    script = Path(__file__).with_name("hugging_face_user.py")
    command = [sys.executable, "-P", script, tmp_path / "masked", tmp_path / "classified", tmp_path]
    blocked = {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **blocked}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.rstrip().endswith("the hour is over")
