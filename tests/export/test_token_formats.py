"""LiteRT: the same numbers as ours, from the tokenizer that stands beside the model."""

import numpy as np
import pytest
from keras import ops

from .clients import encode
from .models import UNSEEN, classifier

pytestmark = pytest.mark.without_backend
tf = pytest.importorskip("tensorflow")
pytest.importorskip("tensorflow_text")


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
