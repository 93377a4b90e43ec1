"""A `.keras` file is all that another process, on any backend, needs."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor

from .examples import TEXTS, encoder, masked_lm, tokenizer

PROGRAM = """
import json, sys
import budgetbert.models, keras
masked_lm, classifier = (keras.models.load_model(path) for path in sys.argv[1:3])
filled = masked_lm.fill_mask(["the [MASK] sat on the mat."], k=5)
logits = classifier.predict(json.loads(sys.argv[3]), verbose=0)
print(json.dumps({"filled": filled, "logits": logits.tolist()}))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two saved models and what they predict here."""
    folder = tmp_path_factory.mktemp("files")
    model = masked_lm("tiny_crammed", dropout=0.0)
    model.fit(TEXTS, batch_size=4, verbose=0)
    model.save(folder / "masked_lm.keras")
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=16)
    classifier = BertBudgetTextClassifier(encoder("tiny_24h"), 3, preprocessor)
    classifier.save(folder / "classifier.keras")
    predictions = {
        "filled": model.fill_mask(["the [MASK] sat on the mat."], k=5),
        "logits": classifier.predict(TEXTS, verbose=0),
    }
    return folder, predictions


@pytest.mark.parametrize(
    "backend", ["tensorflow", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jax", "torch"))]
)
def test_a_fresh_process_predicts_the_same(files, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    folder, expected = files
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, folder / "masked_lm.keras", folder / "classifier.keras", json.dumps(TEXTS)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    actual = json.loads(process.stdout.splitlines()[-1])
    probabilities = [[p for _, p in mask] for mask in actual["filled"][0]]
    np.testing.assert_allclose(probabilities, [[p for _, p in mask] for mask in expected["filled"][0]], atol=1e-4)
    np.testing.assert_allclose(actual["logits"], expected["logits"], atol=1e-4)
