"""What TensorFlow Serving would answer, from a process without code of ours."""

import base64
import contextlib
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow_text")

from keras import ops

from budgetbert.errors import InputError
from budgetbert.export import signatures
from budgetbert.export.serving import export_serving
from budgetbert.models.loading import load_trained
from budgetbert.models.logits import label_names
from tests.texts import HARD, LANGUAGES

from .models import LABELS, TEXTS, UNSEEN, classifier, masked

pytestmark = pytest.mark.without_backend


def softmax(model, x):
    return ops.convert_to_numpy(ops.softmax(model.predict(x, verbose=0)))


@pytest.mark.slow
def test_a_classifier_answers_strings_with_labels_and_probabilities(exports, server):
    model, _ = exports["classifier"]
    code, answer = server.predict("classifier", instances=TEXTS)
    assert code == 200
    rows = answer["predictions"]
    assert [row["label"] for row in rows] == ["feline"] * 5 + ["canine"] * 5
    assert rows[0]["labels"] == LABELS
    np.testing.assert_allclose([row["probabilities"] for row in rows], softmax(model, TEXTS), atol=1e-5)
    assert server.predict("classifier", inputs={"text": TEXTS})[1]["outputs"]["label"] == [r["label"] for r in rows]


@pytest.mark.slow
def test_a_pair_classifier_reads_two_texts(exports, server):
    model, _ = exports["pair"]
    code, answer = server.predict("pair", inputs={"text_a": TEXTS, "text_b": TEXTS[::-1]})
    assert code == 200
    expected = softmax(model, (TEXTS, TEXTS[::-1]))
    np.testing.assert_allclose(answer["outputs"]["probabilities"], expected, atol=1e-5)


@pytest.mark.slow
def test_regression_answers_a_score(exports, server):
    model, _ = exports["regression"]
    _, answer = server.predict("regression", instances=[{"text": text} for text in TEXTS])
    np.testing.assert_allclose(answer["predictions"], model.predict(TEXTS, verbose=0)[:, 0], atol=1e-5)


@pytest.mark.slow
def test_a_masked_lm_answers_embeddings_over_what_is_not_padding(exports, server):
    model, _ = exports["masked_lm"]
    _, answer = server.predict("masked_lm", instances=UNSEEN)
    for text, row in zip(UNSEEN, answer["predictions"], strict=True):
        ids = np.array([[2, *model.preprocessor.tokenizer(text), 3]])  # alone, so without padding
        hidden = model.backbone({"token_ids": ids, "padding_mask": None, "segment_ids": None})
        hidden = ops.convert_to_numpy(hidden)[0]
        np.testing.assert_allclose(row["first_token"], hidden[0], atol=1e-5)
        np.testing.assert_allclose(row["mean"], hidden.mean(axis=0), atol=1e-5)


@pytest.mark.slow
def test_fill_mask_answers_as_the_method_does(exports, server):
    model, _ = exports["masked_lm"]
    texts = ["The [MASK] sat.", "[MASK] cat [MASK]", "none"]
    _, answer = server.predict("masked_lm", signature_name="fill_mask", instances=texts)
    for row, masks in zip(answer["predictions"], model.fill_mask(texts[:2]), strict=False):
        for tokens, probabilities, expected in zip(row["tokens"], row["probabilities"], masks, strict=False):
            assert tokens == [token for token, _ in expected]
            np.testing.assert_allclose(probabilities, [probability for _, probability in expected], atol=1e-5)
    first, _, none = answer["predictions"]
    assert first["tokens"][1] == none["tokens"][0] == [""] * 5
    assert first["probabilities"][1] == none["probabilities"][0] == [0.0] * 5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["classifier", "pair", "regression", "masked_lm"])
def test_all_tokenize_as_the_model_does(name, exports, server):
    model, _ = exports[name]
    texts = [*HARD, *LANGUAGES]
    inputs = {"text_a": texts, "text_b": texts[::-1]} if name == "pair" else {"text": texts}
    code, answer = server.predict(name, signature_name="tokenize", inputs=inputs)
    assert code == 200
    ids = [list(map(int, tokens)) for tokens in model.preprocessor.tokenizer(texts)]
    second = [[*tokens, 3] for tokens in ids[::-1]] if name == "pair" else [[]] * len(ids)
    answer = answer["outputs"]
    for row, mask, first, last in zip(answer["token_ids"], answer["padding_mask"], ids, second, strict=True):
        assert row[: sum(mask)] == [2, *first, 3, *last]
        assert not any(row[sum(mask) :])
    assert answer["tokens"][0][0] == "[CLS]"


@pytest.mark.slow
def test_length_follows_the_longest_text_up_to_the_models_positions(server):
    def length(*texts):
        return len(
            server.predict("masked_lm", signature_name="tokenize", instances=texts)[1]["predictions"][0]["tokens"]
        )

    assert length("the cat") == 4
    assert length("the cat", "the cat sat on the mat") == 8
    assert length("the " * 10_000) == 512


@pytest.mark.slow
def test_two_long_texts_are_cut_to_the_same_length(server):
    inputs = {"text_a": ["cat " * 1000], "text_b": ["dog " * 1000]}
    _, answer = server.predict("pair", signature_name="tokenize", inputs=inputs)
    (tokens,) = answer["outputs"]["tokens"]
    assert (len(tokens), tokens.count("cat"), tokens.count("dog")) == (512, 255, 254)


INVALID_UTF8 = {"b64": base64.b64encode(b"caf\xe9 \xff\xfe cat \xed\xa0\x80").decode()}
ODD = {
    "empty": "",
    "a megabyte of words": "a cat " * 170_000,
    "a megabyte without a space": "a" * 1_000_000,
    "a megabyte of masks": "[MASK]" * 170_000,
    "nul": "\0",
    "not UTF-8": INVALID_UTF8,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_odd_strings_get_an_answer(text, server):
    for name, signature in (
        ("classifier", "serving_default"),
        ("masked_lm", "serving_default"),
        ("masked_lm", "fill_mask"),
    ):
        code, answer = server.predict(name, signature_name=signature, inputs={"text": [text, "the cat"]})
        assert code == 200, answer
        values = answer["outputs"]["mean" if (name, signature) == ("masked_lm", "serving_default") else "probabilities"]
        assert np.isfinite(np.array(values)).all()


@pytest.mark.slow
def test_an_empty_batch_gets_an_empty_answer(server):
    assert server.predict("classifier", instances=[]) == (200, {"predictions": []})
    assert server.predict("masked_lm", instances=[]) == (200, {"predictions": []})
    code, answer = server.predict("pair", inputs={"text_a": [], "text_b": []})
    assert (code, answer["outputs"]["label"]) == (200, [])
    code, answer = server.predict("masked_lm", signature_name="fill_mask", instances=[])
    assert code == 400
    assert "fill_mask needs at least one text" in answer["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "inputs", [{"text": [1, 2]}, {"text": [["nested"]]}, {"text": [True]}, {"texts": ["other name"]}, {"text": "alone"}]
)
def test_what_is_no_batch_of_strings_is_refused_and_the_server_lives_on(inputs, server):
    code, answer = server.predict("classifier", inputs=inputs)
    assert code == 400
    assert answer["error"]
    assert server.predict("classifier", instances=["the cat"])[0] == 200


@pytest.mark.slow
def test_two_batches_of_different_size_are_refused(server):
    code, answer = server.predict("pair", inputs={"text_a": ["a", "b"], "text_b": ["c"]})
    assert code == 400
    assert answer["error"]


@pytest.mark.slow
def test_a_second_export_is_the_next_version(exports, tmp_path, server):
    model, path = exports["classifier"]
    assert server.get("classifier")["model_version_status"][0]["version"] == "1"
    assert (path / "1" / "saved_model.pb").exists()
    (path / "7").mkdir()
    try:
        assert export_serving(model, str(path)) == str(path / "8")
    finally:
        (path / "7").rmdir()
    assert json.loads((path / "export.json").read_text())["version"] == 8
    assert {entry.name for entry in path.iterdir()} == {"1", "8", "export.json"}


@pytest.mark.slow
def test_saved_model_cli_shows_the_signatures(exports):
    _, path = exports["pair"]
    command = [sys.executable, "-m", "tensorflow.python.tools.saved_model_cli", "show", "--dir", path / "1", "--all"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for part in ("signature_def['serving_default']", "signature_def['tokenize']", "inputs['text_a'] tensor_info"):
        assert part in shown
    assert "shape: (-1)" in shown


@pytest.mark.slow
def test_warmup_requests_are_real_requests(exports, server):
    import tensorflow as tf

    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    for name, (model, path) in exports.items():
        file = str(path / "1" / "assets.extra" / "tf_serving_warmup_requests")
        logs = [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in tf.data.TFRecordDataset(file)]
        requests = {log.predict_log.request.model_spec.signature_name: log.predict_log.request for log in logs}
        assert requests.keys() == signatures.examples(model).keys()
        for signature, request in requests.items():
            inputs = {key: tf.make_ndarray(value).tolist() for key, value in request.inputs.items()}
            inputs = {key: [text.decode() for text in texts] for key, texts in inputs.items()}
            assert inputs == signatures.examples(model)[signature]
            assert server.predict(name, signature_name=signature, inputs=inputs)[0] == 200


@pytest.mark.slow
def test_grpc_answers_as_rest_does(server):
    import tensorflow as tf

    grpc = pytest.importorskip("grpc")
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    with grpc.insecure_channel(f"localhost:{server.grpc}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "classifier", "serving_default"
        request.inputs["text"].CopyFrom(tf.make_tensor_proto(UNSEEN))
        labels = tf.make_ndarray(stub.Predict(request, timeout=30).outputs["label"]).tolist()
        assert labels == [b"feline", b"canine"]
        request.inputs["text"].CopyFrom(tf.make_tensor_proto([1, 2]))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request, timeout=30)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.slow
@pytest.mark.parametrize(("weights", "tolerance"), [("float16", 2e-3), ("int8", 5e-2)])
def test_smaller_weights_answer_nearly_the_same(weights, tolerance, tmp_path, exports):
    import tensorflow as tf

    model, path = exports["masked_lm"]
    small = export_serving(model, str(tmp_path), weights)
    answers = []
    for loaded in (tf.saved_model.load(str(path / "1")), tf.saved_model.load(small)):
        embeddings = loaded.signatures["serving_default"](text=tf.constant(TEXTS))
        filled = loaded.signatures["fill_mask"](text=tf.constant(["the [MASK]"]))
        answers.append([embeddings["mean"].numpy(), embeddings["first_token"].numpy(), filled["probabilities"].numpy()])
    for full, reduced in zip(*answers, strict=True):
        assert 0 < np.abs(full - reduced).max() < tolerance * np.abs(full).max()
    full, reduced = (
        sum(file.stat().st_size for file in folder.rglob("variables.data*")) for folder in (path / "1", tmp_path)
    )
    assert reduced < {"float16": 0.55, "int8": 0.45}[weights] * full


def test_a_binary_loss_makes_probabilities_of_their_own(tmp_path):
    """For several labels at once, and for a single logit; the `.keras` file tells it."""
    import tensorflow as tf

    for classes, names in ((3, ["a", "b", "c"]), (1, None)):
        model = classifier("tiny_bert", num_classes=classes, label_names=names)
        model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
        model.save(tmp_path / "model.keras")
        model = load_trained(str(tmp_path / "model.keras"))
        answer = signatures.endpoints(model, contextlib.nullcontext)["serving_default"](tf.constant(UNSEEN))
        probabilities = 1 / (1 + np.exp(-model.predict(UNSEEN, verbose=0)))
        if classes == 1:
            assert answer.keys() == {"score"}
            np.testing.assert_allclose(answer["score"], probabilities[:, 0], atol=1e-5)
        else:
            assert answer.keys() == {"labels", "probabilities"}
            np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-5)
            assert answer["labels"].numpy().tolist() == [[b"a", b"b", b"c"]] * len(UNSEEN)


def test_classes_without_names_are_numbered(tmp_path):
    assert label_names(classifier(num_classes=3, label_names=None)) == ["0", "1", "2"]


def test_a_model_without_vocabulary_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match="The model has no vocabulary"):
        export_serving(masked(preprocessor=None), str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_another_folder_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(InputError, match="holds something that is no export"):
        export_serving(masked(), str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
