"""LoRA on the encoder alone and inside of a task."""

import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor

from .examples import TEXTS, batch, encoder, masked_lm, to_numpy, tokenizer

LABELS = np.array(["cat" in text.lower() for text in TEXTS], "int32")


def classifier(family="tiny_24h", **kwargs):
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer(), sequence_length=16)
    return BertBudgetTextClassifier(encoder(family, dropout=0.0, **kwargs), 2, preprocessor)


def disturb(model):
    """Moves the added matrices away from a product of zero."""
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        if "lora" in variable.path:
            variable.assign(rng.normal(0, 0.1, variable.shape))


@pytest.mark.parametrize("family", ["tiny_bert", "tiny_crammed"])
def test_every_kernel_of_attention_and_feed_forward_gets_two_matrices(family):
    model, inputs = encoder(family, num_layers=2), batch()
    before = to_numpy(model(inputs))
    model.enable_lora(4)
    names = [variable.path.split("/", 1)[1] for variable in model.trainable_variables]
    first = "gated_intermediate" if family == "tiny_crammed" else "intermediate"
    layers = ("attention/qkv", "attention/output", f"feed_forward/{first}", "feed_forward/output")
    assert names == [f"{layer}/lora_kernel_{part}" for layer in layers for part in "ab"] * 2
    np.testing.assert_array_equal(to_numpy(model(inputs)), before)  # the product starts at zero


def test_fit_changes_the_added_matrices_and_the_head_alone():
    model = classifier()
    model.backbone.enable_lora(4)
    model.compile(keras.optimizers.Adam(1e-2))
    before = {variable.path: to_numpy(variable) for variable in model.variables}
    losses = [float(model.train_on_batch(np.array(TEXTS), LABELS)[0]) for _ in range(8)]
    assert losses[-1] < losses[0] - 0.1
    changed = {path for path, value in before.items() if not np.array_equal(value, to_numpy(by_path(model)[path]))}
    trained = {variable.path for variable in model.trainable_variables}
    assert changed - trained <= {path for path in before if "seed" in path}
    assert trained <= changed
    assert all("lora" in path or path.startswith(("pooler", "logits")) for path in trained)


def by_path(model):
    return {variable.path: variable for variable in model.variables}


def test_the_product_is_added_to_each_part_of_the_fused_kernel():
    model, inputs = encoder("tiny_bert", dropout=0.0), batch()
    plain = encoder("tiny_bert", dropout=0.0)
    plain.set_weights(model.get_weights())
    model.enable_lora(4)
    disturb(model)
    for ours, theirs in zip(dense_layers(model), dense_layers(plain), strict=True):
        product = to_numpy(ours.lora_kernel_a) @ to_numpy(ours.lora_kernel_b)
        theirs.kernel.assign(to_numpy(theirs.kernel) + product)
    np.testing.assert_allclose(to_numpy(model(inputs)), to_numpy(plain(inputs)), atol=1e-4)
    half = encoder("tiny_bert", dropout=0.0, dtype="mixed_bfloat16")
    half.set_weights(plain.get_weights())
    before = to_numpy(half(inputs))
    half = encoder("tiny_bert", dropout=0.0, dtype="mixed_bfloat16")
    half.enable_lora(4)
    for variable, value in zip(half.variables, model.variables, strict=True):
        variable.assign(value.value)
    np.testing.assert_allclose(to_numpy(half(inputs)), before, atol=0.05)


def dense_layers(model):
    for block in model.transformer_layers:
        yield from (block.attention.qkv, block.attention.output_projection)
        yield from (block.feed_forward.intermediate, block.feed_forward.output_projection)


@pytest.mark.parametrize("names", [None, ["qkv"]])
def test_weights_of_lora_go_to_a_file_and_back(names, tmp_path):
    model, other = encoder("tiny_bert", dropout=0.0), encoder("tiny_bert", dropout=0.0)
    other.set_weights(model.get_weights())
    model.enable_lora(3, names)
    disturb(model)
    model.save_lora_weights(tmp_path / "weights.lora.h5")
    other.load_lora_weights(tmp_path / "weights.lora.h5")
    np.testing.assert_array_equal(to_numpy(other(batch())), to_numpy(model(batch())))
    third = encoder("tiny_bert")
    third.enable_lora(3, ["intermediate"])
    with pytest.raises(ValueError, match="has LoRA on other layers"):
        third.load_lora_weights(tmp_path / "weights.lora.h5")
    third.save_weights(tmp_path / "all.weights.h5")
    with pytest.raises(ValueError, match="has no LoRA weights"):
        third.load_lora_weights(tmp_path / "all.weights.h5")


@pytest.mark.parametrize("task", [classifier, masked_lm])
def test_a_keras_file_holds_the_sums(task, tmp_path):
    model = task()
    model.backbone.enable_lora(2)
    disturb(model.backbone)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(to_numpy(loaded.backbone(batch())), to_numpy(model.backbone(batch())), atol=1e-5)
    assert len(loaded.backbone.trainable_variables) == len(task().backbone.trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "`rank` must be an int of 1 or more"),
        ((4, ["query"]), r"no layer \['query'\] for LoRA in the encoder: it has intermediate, output, qkv"),
        ((4, []), "no layer"),
    ],
)
def test_what_adds_nothing_is_refused_and_freezes_nothing(arguments, message):
    model = encoder()
    count = len(model.trainable_variables)
    with pytest.raises(ValueError, match=message):
        model.enable_lora(*arguments)
    assert len(model.trainable_variables) == count
    model.enable_lora(4)
    with pytest.raises(ValueError, match="enabled already"):
        model.enable_lora(8)
