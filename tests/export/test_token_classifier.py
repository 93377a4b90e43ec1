"""A token classifier for other programs: entities with their places, the same tags and numbers as in Keras."""

import numpy as np
import pytest
from keras import ops

from budgetbert.models import BertBudgetTokenClassifier, BertBudgetTokenClassifierPreprocessor
from tests.models.examples import encoder, tokenizer

from .models import TEXTS, disturb

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
KNOTTY = ["The \u00adcat (🎉) on\u00a0the Straße", "", "👨‍👩‍👧 ﬁn ½ cafe\u0301", "\u200d"]
SHORT = [*TEXTS, *KNOTTY]


def tagger(family="tiny_24h"):
    """A token classifier whose tags differ from word to word."""
    preprocessor = BertBudgetTokenClassifierPreprocessor(tokenizer(), sequence_length=64)
    model = disturb(BertBudgetTokenClassifier(encoder(family, dropout=0.0), TAGS, preprocessor))
    # Random weights that are small make all tags nearly alike.
    model.logits.kernel.assign(np.random.default_rng(0).normal(0, 1, model.logits.kernel.shape).astype("float32"))
    return model


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_served_model_answers_strings_with_entities_as_keras_does(tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.export.serving import export_serving

    from .test_served_operations import TAGGING, unknown

    model = tagger()
    version = export_serving(model, str(tmp_path / "served"))
    serve = tf.saved_model.load(version).signatures["serving_default"]
    answer = {name: value.numpy() for name, value in serve(text=tf.constant(SHORT)).items()}
    expected = model.predict(SHORT, verbose=0)
    assert sum(map(len, expected)) > 20
    for row, entities in enumerate(expected):
        count = len(entities)
        for name, key in (("starts", "start"), ("ends", "end")):
            assert answer[name][row, :count].tolist() == [entity[key] for entity in entities]
            assert (answer[name][row, count:] == -1).all()
        for name, key in (("labels", "label"), ("texts", "text")):
            assert [part.decode() for part in answer[name][row, :count]] == [entity[key] for entity in entities]
        np.testing.assert_allclose(answer["scores"][row, :count], [e["score"] for e in entities], atol=1e-4)
    assert not answer["truncated"].any()
    long = serve(text=tf.constant(["cat " * 600, "cat"]))
    assert long["truncated"].numpy().tolist() == [True, False]
    assert serve(text=tf.constant([], tf.string))["starts"].shape[0] == 0
    assert set(unknown(tmp_path / "served" / "1")) == TAGGING


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_24h", "tiny_frontier"])
def test_transformers_loads_the_folder_and_the_way_back_gives_the_same_model(family, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from budgetbert.models.loading import load_any

    from .test_transformers_folder import OURS, assert_equal_logits, export, hf_answers, our_logits

    model = tagger(family)
    path = export(model, tmp_path / "folder")
    trust = {"trust_remote_code": True} if family in OURS else {}
    logits, inputs, config = hf_answers("AutoModelForTokenClassification", path, [TEXTS], **trust)
    assert_equal_logits(our_logits(model, inputs), logits, inputs)
    assert [config.id2label[index] for index in range(len(TAGS))] == TAGS
    back = load_any(path)
    assert isinstance(back, BertBudgetTokenClassifier)
    assert back.label_names == TAGS
    expected, found = model.predict(SHORT, verbose=0), back.predict(SHORT, verbose=0)
    strip = [[{k: v for k, v in entity.items() if k != "score"} for entity in row] for row in (*expected, *found)]
    assert strip[: len(SHORT)] == strip[len(SHORT) :]


def test_onnx_gives_the_same_numbers(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for package in ("torch", "transformers", "onnx", "onnxscript"):
        pytest.importorskip(package)
    from budgetbert.export.onnx import write_onnx

    from .clients import encode

    model = tagger()
    facts = write_onnx(model, str(tmp_path), "float32")
    assert facts["labels"] == TAGS
    inputs = encode(tmp_path, TEXTS)
    logits = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(["logits"], inputs)[0]
    used = inputs["padding_mask"] == 1
    np.testing.assert_allclose(logits[used], ops.convert_to_numpy(model(inputs))[used], atol=1e-4)


@pytest.mark.without_backend
@pytest.mark.parametrize("export_format", ["serving", "transformers"])
def test_the_card_tells_how_a_token_classifier_is_loaded(export_format, tmp_path):
    from budgetbert.export.card import render

    card = render(tagger(), str(tmp_path / "model.keras"), export_format, "folder")
    assert "pipeline_tag: token-classification" in card
    assert "AutoModelForTokenClassification" in card
    assert "Labels: O, B-LOC, I-LOC, B-PER, I-PER." in card
    assert "fill_mask" not in card
