"""ONNX: the same numbers as ours, from the tokenizer that stands beside the model, and no TensorFlow takes part."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

onnxruntime = pytest.importorskip("onnxruntime")
for package in ("torch", "transformers", "onnx", "onnxscript"):
    pytest.importorskip(package)

from budgetbert.export.onnx import INPUTS, write_onnx  # noqa: E402
from tests.models.examples import FAMILIES  # noqa: E402

from .clients import encode  # noqa: E402
from .models import LABELS, TEXTS, UNSEEN, classifier, masked  # noqa: E402

DOCUMENT = Path(__file__).parents[2] / "docs" / "EXPORT.md"


def run(folder, texts, *names):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(list(names), encode(folder, texts))


def expected_of(model, folder, texts):
    inputs = encode(folder, texts)
    return inputs, ops.convert_to_numpy(model(inputs))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pair", [False, True])
def test_a_classifier_gives_the_same_numbers_at_any_size(family, pair, tmp_path):
    model = classifier(family, pair=pair)
    write_onnx(model, str(tmp_path), "float32")
    for texts in (TEXTS, UNSEEN[:1]):
        texts = list(zip(texts, texts[::-1], strict=True)) if pair else texts
        _, expected = expected_of(model, tmp_path, texts)
        np.testing.assert_allclose(run(tmp_path, texts, "logits")[0], expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_masked_lm_gives_the_same_numbers_at_any_size(family, tmp_path):
    model = masked(family)
    write_onnx(model, str(tmp_path), "float32")
    for texts in (TEXTS, UNSEEN[:1]):
        inputs, expected = expected_of(model.backbone, tmp_path, texts)
        hidden, logits = run(tmp_path, texts, "hidden_states", "logits")
        used = inputs["padding_mask"] == 1
        np.testing.assert_allclose(hidden[used], expected[used], atol=1e-4)
        positions = np.tile(np.arange(used.shape[1], dtype="int32"), (len(texts), 1))
        ours = ops.convert_to_numpy(model({**inputs, "mask_positions": positions}))
        np.testing.assert_allclose(logits[used], ours[used], atol=1e-4)


@pytest.mark.parametrize("make", [classifier, masked])
def test_weights_in_8_bits_answer_nearly_the_same_and_are_smaller(make, tmp_path):
    model = make()
    for weights in ("float32", "int8"):
        (tmp_path / weights).mkdir()
        facts = write_onnx(model, str(tmp_path / weights), weights)
        assert facts["weights"] == weights
    exact, small = (run(tmp_path / weights, TEXTS, "logits")[0] for weights in ("float32", "int8"))
    np.testing.assert_allclose(small, exact, atol=0.3)
    assert np.abs(small - exact).max() > 0
    sizes = [(tmp_path / weights / "model.onnx").stat().st_size for weights in ("float32", "int8")]
    assert sizes[1] < 0.45 * sizes[0]
    assert sorted(path.name for path in (tmp_path / "int8").iterdir()) == ["model.onnx", "tokenizer.json"]


HEADS = {
    "softmax": ({"num_classes": 2}, "single_label_classification", LABELS),
    "sigmoid": ({"num_classes": 2, "activation": "sigmoid"}, "multi_label_classification", LABELS),
    "one logit": ({"num_classes": 1, "activation": "sigmoid"}, "multi_label_classification", ["0"]),
    "regression": ({"num_classes": 1}, "regression", None),
}


@pytest.mark.parametrize("kind", HEADS)
def test_the_documented_client_answers_as_predict_does(kind, tmp_path):
    kwargs, problem, labels = HEADS[kind]
    model = classifier(**kwargs)
    facts = write_onnx(model, str(tmp_path), "float32")
    assert (facts["problem_type"], facts["labels"], facts["inputs"]) == (problem, labels, list(INPUTS))
    (tmp_path / "export.json").write_text(json.dumps(facts))
    (client,) = [
        block for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL) if "onnx" in block
    ]
    assert len(client.splitlines()) <= 30
    command = [sys.executable, "-P", "-c", client, str(tmp_path), *UNSEEN]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = model.predict(UNSEEN, verbose=0)
    if kind == "softmax":
        expected = np.exp(expected) / np.exp(expected).sum(-1, keepdims=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    np.testing.assert_allclose([list(row.values()) for row in found], expected, atol=1e-4)
    assert [list(row) for row in found] == [labels or ["score"]] * len(UNSEEN)
