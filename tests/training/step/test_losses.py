import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.training.step import losses
from budgetbert.training.step.losses import cross_entropy, decoded_cross_entropy

CLASSES, WIDTH = 50, 8


def test_cross_entropy_is_the_formula():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 5, 50)).astype("float32") * 4
    labels = generator.integers(0, 50, (3, 5)).astype("int32")
    log_probabilities = logits - np.log(np.exp(logits.astype("float64")).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_probabilities, labels[..., None], -1)[..., 0]
    found = cross_entropy(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits))
    np.testing.assert_allclose(ops.convert_to_numpy(found), expected, atol=1e-5)


def test_cross_entropy_is_exact_where_the_label_is_all_but_impossible():
    logits, labels = np.array([[0.0, 300.0, 1.0], [5.0, -400.0, 5.0]], "float32"), np.array([0, 1], "int32")
    losses = ops.convert_to_numpy(cross_entropy(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits)))
    np.testing.assert_allclose(losses, [300.0, 405 + np.log(2)], rtol=1e-6)


def arrays(with_bias):
    generator = np.random.default_rng(0)
    return {
        "features": generator.normal(size=(3, 4, WIDTH)).astype("float32"),
        "kernel": generator.normal(size=(CLASSES, WIDTH)).astype("float32"),
        "bias": generator.normal(size=CLASSES).astype("float32") if with_bias else None,
        "labels": generator.integers(0, CLASSES, (3, 4)).astype("int32"),
        "weights": (generator.random((3, 4)) < 0.7).astype("float32"),
    }


def by_hand(features, kernel, bias, labels, weights, factor):
    """The loss and `factor` times its gradients, from the formula in float64."""
    features, labels, weights = features.reshape(-1, WIDTH).astype("float64"), labels.ravel(), weights.ravel()
    logits = features @ kernel.T.astype("float64") + (0 if bias is None else bias)
    errors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    loss = -(np.log(errors[np.arange(len(labels)), labels]) * weights).sum()
    errors[np.arange(len(labels)), labels] -= 1
    errors *= factor * weights[:, None]
    return loss, [(errors @ kernel).reshape(3, 4, WIDTH), errors.T @ features, errors.sum(0)]


def differentiated(arrays, dtype, factor):
    """What the current backend makes of it: the loss, and the gradients of `factor` times the loss."""
    names = [name for name in ("features", "kernel", "bias") if arrays[name] is not None]
    variables = [keras.Variable(arrays[name], dtype="float32") for name in names]

    def loss_of(*values):
        found = dict(zip(names, values, strict=True))
        features = ops.cast(found["features"], dtype)
        rest = (ops.convert_to_tensor(arrays[name]) for name in ("labels", "weights"))
        return decoded_cross_entropy(features, found["kernel"], found.get("bias"), *rest)

    values = [variable.value for variable in variables]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def run():
            with tf.GradientTape() as tape:
                loss = loss_of(*values)
                scaled = factor * loss
            return loss, tape.gradient(scaled, values)

        loss, gradients = run()
    elif keras.backend.backend() == "jax":
        import jax

        loss = loss_of(*values)
        gradients = jax.jit(jax.grad(lambda *v: factor * loss_of(*v), argnums=tuple(range(len(values)))))(*values)
    else:
        loss = loss_of(*values)
        (factor * loss).backward()
        gradients = [value.grad for value in values]
        loss = loss.detach()
    return float(loss), [np.asarray(ops.convert_to_numpy(gradient)) for gradient in gradients]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 2e-2), ("float16", 5e-3)])
def test_the_decoded_cross_entropy_and_its_gradients_are_the_formula(dtype, tolerance, with_bias):
    loss, gradients = differentiated(arrays(with_bias), dtype, factor=3.0)
    expected, expected_gradients = by_hand(**arrays(with_bias), factor=3.0)
    assert loss == pytest.approx(expected, rel=tolerance)
    assert len(gradients) == 2 + with_bias
    for gradient, wanted in zip(gradients, expected_gradients, strict=False):
        np.testing.assert_allclose(gradient, wanted, atol=tolerance * np.abs(wanted).max())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the operation in place is TensorFlow's")
def test_a_softmax_too_large_for_the_operation_in_place_is_copied(monkeypatch):
    loss, gradients = differentiated(arrays(with_bias=True), "bfloat16", 1.0)
    monkeypatch.setattr(losses, "MOST_PLACES", 0)
    copied_loss, copied_gradients = differentiated(arrays(with_bias=True), "bfloat16", 1.0)
    assert copied_loss == loss
    for gradient, copied in zip(gradients, copied_gradients, strict=True):
        np.testing.assert_array_equal(gradient, copied)


def test_slots_without_a_prediction_change_nothing():
    given = arrays(with_bias=True)
    loss, gradients = differentiated(given, "float32", 1.0)
    given["labels"] = np.where(given["weights"] == 0, 1, given["labels"])
    assert differentiated(given, "float32", 1.0)[0] == loss
    assert not gradients[0][given["weights"] == 0].any()


def test_a_label_of_probability_0_costs_87_nats_and_no_infinity():
    given = arrays(with_bias=True)
    given["bias"][given["labels"]] = -1000
    loss, gradients = differentiated(given, "float32", 1.0)
    assert loss == pytest.approx(87.3 * given["weights"].sum(), rel=1e-3)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_not_a_number_stays_none(dtype):
    given = arrays(with_bias=False)
    given["features"][0, 0], given["weights"][0, 0] = np.nan, 1.0
    loss, (for_features, for_kernel) = differentiated(given, dtype, 1.0)
    assert np.isnan(loss)
    assert np.isnan(for_features[0, 0]).all()
    assert np.isnan(for_kernel).all()
