"""A classifier that encodes two texts apart: what serves it, and what says that it cannot."""

import contextlib

import numpy as np
import pytest
from keras import ops

from budgetbert.errors import InputError
from budgetbert.models.hugging_face_heads import head_config

from .models import LABELS, TEXTS, classifier

pytestmark = pytest.mark.without_backend

SECOND = [*TEXTS[1:], ""]


@pytest.fixture(scope="module")
def model():
    return classifier(pair=True, apart=True)


def test_it_is_served_on_strings(model):
    pytest.importorskip("tensorflow_text")
    import tensorflow as tf

    from budgetbert.export import signatures

    endpoints = signatures.endpoints(model, contextlib.nullcontext)
    answer = endpoints["serving_default"](tf.constant(TEXTS), tf.constant(SECOND))
    expected = ops.convert_to_numpy(ops.softmax(model.predict((TEXTS, SECOND), verbose=0)))
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert [label.decode() for label in answer["label"].numpy()] == [LABELS[i] for i in expected.argmax(axis=1)]
    tokens = endpoints["tokenize"](tf.constant(["a cat"]), tf.constant(["the dog sat"]))["tokens"].numpy().tolist()
    assert tokens == [[[b"[CLS]", b"a", b"cat", b"[SEP]", b"[PAD]"], [b"[CLS]", b"the", b"dog", b"sat", b"[SEP]"]]]
    none = endpoints["serving_default"](tf.constant([], tf.string), tf.constant([], tf.string))
    assert none["probabilities"].shape == (0, 2)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"pair": True, "apart": True}, "this one reads two texts apart"),
        ({"pooling": "mean"}, "the mean over the tokens"),
    ],
)
def test_transformers_and_onnx_say_that_they_cannot_hold_it(given, told):
    with pytest.raises(InputError, match=f"{told}.*--format serving"):
        head_config(classifier(**given))


def test_litert_says_that_it_cannot_hold_it(model, tmp_path):
    from budgetbert.export.litert import write_litert

    with pytest.raises(InputError, match="reads two texts apart: export it with --format serving"):
        write_litert(model, tmp_path, "float32")
    assert not list(tmp_path.iterdir())
