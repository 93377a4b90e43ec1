"""ONNX and LiteRT: the same numbers as ours, from the tokenizer that stands beside the model."""

import numpy as np
import pytest
from keras import ops

from .models import TEXTS, UNSEEN, classifier, masked

pytestmark = pytest.mark.without_backend
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_text")
tokenizers = pytest.importorskip("tokenizers")


def encode(folder, texts, length=None):
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=length)
    rows = tokenizer.encode_batch(texts)
    names = {"token_ids": "ids", "padding_mask": "attention_mask", "segment_ids": "type_ids"}
    return {key: np.array([getattr(row, name) for row in rows], "int32") for key, name in names.items()}


@pytest.mark.parametrize("make", [classifier, masked])
def test_onnx_runtime_gives_the_same_numbers_at_any_size(make, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    from budgetbert.export.onnx import write_onnx

    model = make()
    write_onnx(model, str(tmp_path), "float32")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for texts in (TEXTS, UNSEEN[:1]):
        inputs = encode(tmp_path, texts)
        part, name = (model, "logits") if make is classifier else (model.backbone, "hidden_states")
        (found,) = session.run([name], inputs)
        expected = ops.convert_to_numpy(part(inputs))
        used = inputs["padding_mask"] == 1 if expected.ndim == 3 else slice(None)
        np.testing.assert_allclose(found[used], expected[used], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "tolerance"), [("float32", 1e-4), ("float16", 1e-2), ("int8", 0.2)])
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # that the interpreter moves to another package
def test_litert_gives_the_same_numbers(weights, tolerance, tmp_path):
    from budgetbert.export.litert import write_litert

    model = classifier()
    facts = write_litert(model, str(tmp_path), weights)
    inputs = encode(tmp_path, UNSEEN[:1], facts["sequence_length"])
    found = tf.lite.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()(**inputs)
    np.testing.assert_allclose(found["logits"], ops.convert_to_numpy(model(inputs)), atol=tolerance)
