"""A question-answering model for other programs: answers with their places, the same numbers as in Keras."""

import numpy as np
import pytest
from keras import ops

from budgetbert.models import BertBudgetQuestionAnswering, BertBudgetQuestionAnsweringPreprocessor
from tests.models.examples import encoder, tokenizer

from .models import TEXTS, disturb

KNOTTY = ["The \u00adcat (🎉) on\u00a0the Straße", "", "👨‍👩‍👧 ﬁn ½ cafe\u0301", "\u200d"]
LONG = ["cat on the Straße " * 40, "dog, " * 100 + "½ mat"]
CONTEXTS = [*TEXTS, *KNOTTY, *LONG]
QUESTIONS = [["the cat", "", "mat " * 60, "Straße?"][number % 4] for number in range(len(CONTEXTS))]


def answerer(family="tiny_24h", threshold=None):
    """A model whose answers differ from text to text."""
    preprocessor = BertBudgetQuestionAnsweringPreprocessor(tokenizer(), sequence_length=48)
    model = disturb(BertBudgetQuestionAnswering(encoder(family, dropout=0.0), preprocessor, max_answer_length=5))
    # Random weights that are small make all tokens nearly alike.
    model.logits.kernel.assign(np.random.default_rng(0).normal(0, 1, model.logits.kernel.shape).astype("float32"))
    model.no_answer_threshold = threshold
    return model


def median_threshold():
    """A threshold over which half of the answers are."""
    return float(np.median(answerer().best_spans((QUESTIONS, CONTEXTS), verbose=0).differences))


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.parametrize("with_none", [False, True])
def test_a_served_model_answers_strings_as_keras_does(with_none, tmp_path, monkeypatch):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.export import answering_signature
    from budgetbert.export.serving import export_serving

    from .test_served_operations import ANSWERING, unknown

    monkeypatch.setattr(answering_signature, "_ROWS", 7)  # so that rows are computed in several parts
    model = answerer(threshold=median_threshold() if with_none else None)
    version = export_serving(model, str(tmp_path / "served"))
    serve = tf.saved_model.load(version).signatures["serving_default"]
    answer = serve(question=tf.constant(QUESTIONS), context=tf.constant(CONTEXTS))
    answer = {name: value.numpy() for name, value in answer.items()}
    expected = model.predict((QUESTIONS, CONTEXTS), verbose=0)
    assert [text.decode() for text in answer["text"]] == [found["text"] for found in expected]
    for name in ("start", "end"):
        assert answer[name].tolist() == [found[name] for found in expected]
    np.testing.assert_allclose(answer["score"], [found["score"] for found in expected], rtol=1e-3, atol=1e-6)
    # Two contexts have no pieces; the best answers of the long ones are in a later row.
    nothing = [found["start"] for found in expected].count(-1)
    assert nothing > 5 if with_none else nothing == 2
    assert with_none or max(found["start"] for found in expected[-2:]) > 48
    for row, found in enumerate(expected):
        (alone,) = serve(question=tf.constant([QUESTIONS[row]]), context=tf.constant([CONTEXTS[row]]))["start"].numpy()
        assert alone == found["start"]
    empty = serve(question=tf.constant([], tf.string), context=tf.constant([], tf.string))
    assert [value.shape[0] for value in empty.values()] == [0] * 4
    assert set(unknown(tmp_path / "served" / "1")) == ANSWERING


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_24h", "tiny_frontier"])
def test_transformers_loads_the_folder_and_the_way_back_gives_the_same_model(family, tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from budgetbert.models.loading import load_any

    from .test_transformers_folder import OURS, export

    model = answerer(family, threshold=0.5)
    path = export(model, tmp_path / "folder")
    trust = {"trust_remote_code": family in OURS}
    hf_model = transformers.AutoModelForQuestionAnswering.from_pretrained(path, **trust).eval()
    hf_tokenizer = transformers.AutoTokenizer.from_pretrained(path, **trust)
    inputs = hf_tokenizer(QUESTIONS[:4], CONTEXTS[:4], padding=True, return_tensors="pt")
    places = torch.tensor([1, 0, 5, 10**6])
    with torch.no_grad():
        outputs = hf_model(**inputs, start_positions=places, end_positions=places)
    used = inputs["attention_mask"].numpy() == 1
    ours = {
        "token_ids": inputs["input_ids"].numpy().astype("int32"),
        "padding_mask": inputs["attention_mask"].numpy().astype("int32"),
        "segment_ids": inputs.get("token_type_ids", 0 * inputs["input_ids"]).numpy().astype("int32"),
    }
    logits = ops.convert_to_numpy(model(ours))
    for kind, name in enumerate(("start_logits", "end_logits")):
        np.testing.assert_allclose(outputs[name].numpy()[used], logits[:, :, kind][used], atol=1e-4)
    chosen = logits[np.arange(3), places[:3].numpy()]
    # A place outside of the row does not count.
    expected = (np.log(np.exp(outputs_of(outputs)).sum(1))[:3] - chosen).mean()
    np.testing.assert_allclose(float(outputs.loss), expected, rtol=1e-3)
    back = load_any(path)
    assert isinstance(back, BertBudgetQuestionAnswering)
    assert (back.no_answer_threshold, back.max_answer_length, back.preprocessor.sequence_length) == (0.5, 5, 48)
    found, known = (m.predict((QUESTIONS[:6], CONTEXTS[:6]), verbose=0) for m in (back, model))
    assert [answer["text"] for answer in found] == [answer["text"] for answer in known]


def outputs_of(outputs):
    return np.stack([outputs["start_logits"].numpy(), outputs["end_logits"].numpy()], axis=-1)


@pytest.mark.without_backend
def test_a_checkpoint_of_transformers_answers_with_its_own_tokenizer(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from budgetbert.models.hugging_face_checkpoint import load_transformers
    from tests.models.examples import VOCABULARY

    torch.manual_seed(0)
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY), max_position_embeddings=64, initializer_range=0.5, **sizes
    )
    hf_model = transformers.BertForQuestionAnswering(config).eval()
    hf_model.save_pretrained(tmp_path)
    model = load_transformers(str(tmp_path), dropout=0.0)
    assert model.no_answer_threshold is None
    assert model.preprocessor.sequence_length == 64
    encoded = transformers.AutoTokenizer.from_pretrained(tmp_path)("the cat?", CONTEXTS[0], return_tensors="pt")
    with torch.no_grad():
        outputs = hf_model(**encoded)
    rows = model.preprocessor.rows_of(["the cat?"], CONTEXTS[:1])
    assert rows.ids[0].tolist() == encoded["input_ids"][0].tolist()
    logits = ops.convert_to_numpy(model(model.preprocessor.packed(rows)))[:, : len(rows.ids[0])]
    np.testing.assert_allclose(logits, outputs_of(outputs), atol=1e-4)


def test_onnx_gives_the_same_numbers(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for package in ("torch", "transformers", "onnx", "onnxscript"):
        pytest.importorskip(package)
    from budgetbert.export.onnx import write_onnx

    model = answerer()
    facts = write_onnx(model, str(tmp_path), "float32")
    assert facts["labels"] is None
    inputs = model.preprocessor((QUESTIONS[:6], CONTEXTS[:6]))
    names = ["start_logits", "end_logits"]
    found = np.stack(onnxruntime.InferenceSession(tmp_path / "model.onnx").run(names, inputs), axis=-1)
    used = inputs["padding_mask"] == 1
    np.testing.assert_allclose(found[used], ops.convert_to_numpy(model(inputs))[used], atol=1e-4)


@pytest.mark.without_backend
@pytest.mark.parametrize("export_format", ["serving", "transformers"])
def test_the_card_tells_how_it_is_loaded(export_format, tmp_path):
    from budgetbert.export.card import render

    card = render(answerer(), str(tmp_path / "model.keras"), export_format, "folder")
    assert "pipeline_tag: question-answering" in card
    assert "AutoModelForQuestionAnswering" in card
    assert '{"question": "How is the weather?", "context": "The weather is lovely today."}' in card
    assert "fill_mask" not in card
