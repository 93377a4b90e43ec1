"""An embedder for other programs: the same vectors as in Keras."""

import json
import os

import numpy as np
import pytest

from budgetbert.models import BertBudgetTextEmbedder, BertBudgetTextEmbedderPreprocessor
from budgetbert.models.sentence_transformers_folder import read_settings
from tests.models.examples import encoder, tokenizer
from tests.texts import HARD

from .models import TEXTS, disturb

# Some are longer than the 32 tokens of a row.
ALL = [*TEXTS, *HARD, "the cat " * 40]


def embedder(family="tiny_24h", **kwargs):
    preprocessor = BertBudgetTextEmbedderPreprocessor(tokenizer(), sequence_length=32)
    return disturb(BertBudgetTextEmbedder(encoder(family, dropout=0.0), preprocessor, **kwargs))


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_served_model_answers_strings_with_vectors(tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.export.serving import export_serving

    from .test_served_operations import unknown

    model = embedder("tiny_frontier")
    version = export_serving(model, str(tmp_path / "served"))
    serve = tf.saved_model.load(version).signatures["serving_default"]
    texts = [text for text in ALL if text.isprintable()]
    vectors = serve(text=tf.constant(texts))["vector"].numpy()
    np.testing.assert_allclose(vectors, model.encode_text(texts, verbose=0), atol=1e-5)
    assert serve(text=tf.constant([], tf.string))["vector"].shape == (0, 128)
    assert not unknown(tmp_path / "served" / "1")


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_24h", "tiny_crammed", "tiny_frontier"])
def test_sentence_transformers_and_automodel_load_the_folder_and_so_does_the_way_back(family, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    import torch
    import transformers

    from budgetbert.models.loading import load_any

    from .test_transformers_folder import OURS, export

    settings = {"pooling": "first", "normalize": False} if family == "tiny_24h" else {}
    model = embedder(family, **settings)
    path, trust = export(model, tmp_path / "folder"), family in OURS
    expected = model.encode_text(ALL, verbose=0)
    theirs = sentence_transformers.SentenceTransformer(path, device="cpu", trust_remote_code=trust)
    assert theirs.max_seq_length == 32
    np.testing.assert_allclose(theirs.encode(ALL, show_progress_bar=False), expected, atol=1e-4)

    reader = transformers.AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
    inputs = reader(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        plain = transformers.AutoModel.from_pretrained(path, trust_remote_code=trust).eval()
        hidden = plain(**inputs).last_hidden_state.numpy()
    used = inputs["attention_mask"].numpy()[:, :, None]
    pooled = hidden[:, 0] if model.pooling == "first" else (hidden * used).sum(1) / used.sum(1)
    if model.normalize:
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    np.testing.assert_allclose(pooled, expected[: len(TEXTS)], atol=1e-4)

    back = load_any(path)
    assert isinstance(back, BertBudgetTextEmbedder)
    assert (back.pooling, back.normalize) == (model.pooling, model.normalize)
    np.testing.assert_allclose(back.encode_text(ALL, verbose=0), expected, atol=1e-5)


@pytest.mark.slow
def test_onnx_gives_the_same_vectors(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for package in ("torch", "transformers", "onnx", "onnxscript"):
        pytest.importorskip(package)
    from budgetbert.export.onnx import write_onnx

    from .clients import encode

    model = embedder()
    write_onnx(model, str(tmp_path), "float32")
    session, texts = onnxruntime.InferenceSession(tmp_path / "model.onnx"), [*TEXTS, "the cat " * 40]
    vectors = session.run(["vector"], encode(tmp_path, texts))[0]
    np.testing.assert_allclose(vectors, model.encode_text(texts, verbose=0), atol=1e-4)


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.filterwarnings("ignore:.*:UserWarning")  # that the interpreter moves to another package
def test_litert_gives_the_same_vector(tmp_path):
    tf = pytest.importorskip("tensorflow")
    from budgetbert.export.litert import write_litert

    from .clients import encode

    model = embedder()
    facts = write_litert(model, str(tmp_path), "float32")
    inputs = encode(tmp_path, TEXTS[:1], facts["sequence_length"])
    found = tf.lite.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()(**inputs)
    np.testing.assert_allclose(found["vector"], model.encode_text(TEXTS[:1], verbose=0), atol=1e-4)


@pytest.mark.without_backend
@pytest.mark.parametrize("export_format", ["serving", "transformers"])
def test_the_card_tells_how_an_embedder_is_loaded(export_format, tmp_path):
    from budgetbert.export.card import render

    card = render(embedder(sizes=[32]), str(tmp_path / "model.keras"), export_format, "folder")
    assert "pipeline_tag: sentence-similarity" in card
    assert "from sentence_transformers import SentenceTransformer" in card
    assert "model.encode_text([" in card
    assert "the first 32 numbers serve alone" in card
    assert "fill_mask" not in card and "AutoModel" not in card


FOLDERS = {
    "a dense layer": ({"modules": ["Transformer", "Pooling", "Dense"]}, "only Transformer in the folder itself"),
    "two poolings": ({"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}}, "its pooling is"),
    "the largest": ({"pooling": {"pooling_mode": "max"}}, "its pooling is max"),
    "a prompt": ({"prompt": "query"}, "puts the prompt 'query' before each text"),
}


@pytest.mark.without_backend
@pytest.mark.parametrize("case", FOLDERS)
def test_what_has_no_equal_here_is_refused(case, tmp_path):
    given, told = FOLDERS[case]
    modules = given.get("modules", ["Transformer", "Pooling"])
    files = {
        "modules.json": [{"path": "1_Pooling" * (n == 1), "type": f"x.{name}"} for n, name in enumerate(modules)],
        "1_Pooling/config.json": given.get("pooling", {"pooling_mode": "mean"}),
        "config_sentence_transformers.json": {"default_prompt_name": given.get("prompt")},
    }
    os.mkdir(tmp_path / "1_Pooling")
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=told):
        read_settings(str(tmp_path))


@pytest.mark.skipif(
    "BUDGETBERT_MINILM" not in os.environ, reason="BUDGETBERT_MINILM names no folder of all-MiniLM-L6-v2"
)
def test_a_published_model_of_sentence_transformers_comes_in_whole():
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from budgetbert.models.loading import load_any

    path = os.environ["BUDGETBERT_MINILM"]
    model = load_any(path)
    assert model.backbone.num_layers == 6 and model.backbone.hidden_dim == 384
    theirs = sentence_transformers.SentenceTransformer(path, device="cpu")
    texts = [*TEXTS, *HARD]
    ids = [theirs.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert [list(map(int, row)) for row in model.preprocessor.tokenizer(texts)] == ids
    assert model.preprocessor.sequence_length == theirs.max_seq_length
    expected = theirs.encode([*texts, "word " * 400], show_progress_bar=False)
    np.testing.assert_allclose(model.encode_text([*texts, "word " * 400], verbose=0), expected, atol=1e-4)
