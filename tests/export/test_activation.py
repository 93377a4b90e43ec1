"""A classifier's activation is applied once, wherever it is served."""

import keras
import numpy as np
import pytest

pytest.importorskip("tensorflow_text")

from budgetbert.errors import InputError
from budgetbert.export import signatures
from budgetbert.export.token_function import token_function

from .models import TEXTS, classifier

pytestmark = pytest.mark.without_backend


def served(model):
    answer = signatures.endpoints(model, keras.StatelessScope)["serving_default"]
    return {name: tensor.numpy() for name, tensor in answer(TEXTS).items()}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_what_is_served_equals_predict(activation):
    model = classifier(activation=activation)
    np.testing.assert_allclose(served(model)["probabilities"], model.predict(TEXTS, verbose=0), atol=1e-6)
    inputs = {name: np.asarray(value, "int32") for name, value in model.preprocessor(TEXTS).items()}
    logits = token_function(model)(**inputs)["logits"].numpy()
    expected = keras.ops.convert_to_numpy(model.activation(logits))
    np.testing.assert_allclose(expected, model.predict(TEXTS, verbose=0), atol=1e-6)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_a_score_is_served_with_its_activation(activation):
    model = classifier(num_classes=1, activation=activation)
    np.testing.assert_allclose(served(model)["score"], model.predict(TEXTS, verbose=0)[:, 0], atol=1e-6)


def test_what_gives_no_probabilities_is_refused():
    with pytest.raises(InputError, match="'tanh' gives no probabilities"):
        served(classifier(activation="tanh"))


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_crammed"])
@pytest.mark.parametrize(
    ("activation", "num_classes", "problem", "of_logits"),
    [
        ("softmax", 2, "single_label_classification", "softmax"),
        ("sigmoid", 2, "multi_label_classification", "sigmoid"),
        ("sigmoid", 1, "multi_label_classification", "sigmoid"),
    ],
)
def test_transformers_gets_the_logits_and_is_told_what_to_make_of_them(
    family, activation, num_classes, problem, of_logits
):
    torch, _ = pytest.importorskip("torch"), pytest.importorskip("transformers")
    from budgetbert.models.hugging_face import has_architecture, to_torch, to_transformers

    model = classifier(family, num_classes=num_classes, activation=activation)
    hf_model = (to_transformers if has_architecture(model) else to_torch)(model)
    assert hf_model.config.problem_type == problem
    inputs = {key: torch.tensor(np.asarray(value)).long() for key, value in model.preprocessor(TEXTS).items()}
    names = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    with torch.no_grad():
        logits = hf_model(**{name: inputs[key] for name, key in names.items()}).logits.numpy()
    probabilities = keras.ops.convert_to_numpy(getattr(keras.ops, of_logits)(logits))
    np.testing.assert_allclose(probabilities, model.predict(TEXTS, verbose=0), atol=1e-5)


def test_transformers_refuses_another_activation_and_lora():
    pytest.importorskip("torch"), pytest.importorskip("transformers")
    from budgetbert.models.hugging_face import to_transformers

    with pytest.raises(InputError, match="cannot apply the classifier's activation 'tanh'"):
        to_transformers(classifier(activation="tanh"))
    quantized = classifier()
    quantized.quantize("int8")
    with pytest.raises(InputError, match=r"is quantized \(int8\), which this format does not hold"):
        to_transformers(quantized)
    model = classifier()
    model.backbone.enable_lora(2)
    with pytest.raises(ValueError, match="has LoRA enabled"):
        to_transformers(model)
