import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.models import BertBudgetMaskedLM, BertBudgetTextClassifier
from budgetbert.optimizers import Lamb, count_parts, exclude_from_weight_decay, is_decayed, is_hidden_matrix
from budgetbert.presets import PRESETS

# What each variable is: D it decays, A LAMB adapts its step, H a hidden matrix; a digit, that it is so many in one.
BLOCK = {
    "attention/qkv/kernel": "DAH3",
    "attention/qkv/bias": "3",
    "attention/output/kernel": "DAH",
    "attention/output/bias": "",
    "attention_norm/gamma": "",
    "attention_norm/beta": "",
    "feed_forward/intermediate/kernel": "DAH",
    "feed_forward/intermediate/bias": "",
    "feed_forward/output/kernel": "DAH",
    "feed_forward/output/bias": "",
    "feed_forward_norm/gamma": "",
    "feed_forward_norm/beta": "",
}
# no biases, and a gate
GATED_BLOCK = {
    **{name: kind for name, kind in BLOCK.items() if not name.endswith("bias") and "intermediate" not in name},
    "feed_forward/gated_intermediate/kernel": "DAH2",
}
TABLES = {
    "embeddings/token/embeddings": "DA",
    "embeddings/position/embeddings": "DA",
    "embeddings/segment/embeddings": "DA",
}
HEAD_TRANSFORM = {
    "masked_lm_head/transform/kernel": "DA",
    "masked_lm_head/transform/bias": "",
    "masked_lm_head/transform_norm/gamma": "",
    "masked_lm_head/transform_norm/beta": "",
}
CLASSIFIER_HEAD = {"pooler/kernel": "DA", "pooler/bias": "", "logits/kernel": "DA", "logits/bias": ""}


def norm(name):
    return {f"{name}/gamma": "", f"{name}/beta": ""}


ENCODERS = {
    "bert": (BLOCK, {**TABLES, **norm("embeddings/norm")}),
    "24h": (BLOCK, {**TABLES, **norm("final_norm")}),
    "crammed": (
        GATED_BLOCK,
        {
            "embeddings/token/embeddings": "DA",
            "embeddings/position_scale": "DA",
            **norm("embeddings/norm"),
            **norm("final_norm"),
        },
    ),
}
# Rotary positions have no variable.
ENCODERS["frontier"] = (
    GATED_BLOCK,
    {name: kind for name, kind in ENCODERS["crammed"][1].items() if name != "embeddings/position_scale"},
)
HEADS = {"bert": {**HEAD_TRANSFORM, "masked_lm_head/bias": ""}, "24h": HEAD_TRANSFORM, "crammed": {}, "frontier": {}}
LAYERS = 2


def narrow(task, preset, **arguments):
    """A preset with all of its variables, a few numbers wide and two layers deep."""
    width = 2 * PRESETS[preset]["backbone"]["num_heads"]
    sizes = {"vocabulary_size": 8, "hidden_dim": width, "intermediate_dim": 2 * width, "max_sequence_length": 4}
    return task.from_preset(preset, load_weights=False, num_layers=LAYERS, **sizes, **arguments)


def kind_of(variable):
    parts = count_parts(variable)
    return "".join(
        letter
        for letter, holds in (
            ("D", is_decayed(variable)),
            ("A", Lamb(1e-3).is_adapted(variable)),
            ("H", is_hidden_matrix(variable)),
            (str(parts), parts > 1),
        )
        if holds
    )


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_variable_of_every_preset_is_what_the_papers_take_it_for(preset):
    family = next(name for name in ("24h", "crammed", "frontier", "bert") if name in preset)
    block, others = ENCODERS[family]
    model = narrow(BertBudgetMaskedLM, preset)
    expected = {f"block_{i}/{name}": kind for i in range(LAYERS) for name, kind in block.items()}
    assert {v.path: kind_of(v) for v in model.trainable_variables} == {**expected, **others, **HEADS[family]}


@pytest.mark.parametrize("preset", ["tiny_bert", "tiny_24h", "tiny_crammed"])
def test_a_classifiers_head_decays_and_is_no_hidden_matrix(preset):
    model = narrow(BertBudgetTextClassifier, preset, num_classes=2)
    kinds = {v.path: kind_of(v) for v in model.trainable_variables}
    assert {path: kinds[path] for path in CLASSIFIER_HEAD} == CLASSIFIER_HEAD


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, Lamb])
def test_optimizers_of_keras_and_ours_decay_by_the_same_rule(make):
    # without gradients AdamW moves nothing but what decays; LAMB moves it by its own norm
    model = narrow(BertBudgetMaskedLM, "tiny_bert")
    for variable in model.trainable_variables:
        variable.assign(ops.ones(variable.shape))
    optimizer = make(learning_rate=0.1, weight_decay=0.5)
    exclude_from_weight_decay(optimizer, model.trainable_variables)
    optimizer.build(model.trainable_variables)
    optimizer.apply([ops.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
    left = 1 - 0.1 * (0.5 if make is keras.optimizers.AdamW else 1)
    for variable in model.trainable_variables:
        expected = left if is_decayed(variable) else 1.0
        np.testing.assert_allclose(ops.convert_to_numpy(variable), expected, rtol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize(
    ("layer", "name", "decayed"), [("norm", "scale", False), ("norm", "position_scale", True), ("bias", "kernel", True)]
)
def test_an_exclusion_is_the_whole_last_component_of_a_path(layer, name, decayed):
    with keras.name_scope(layer):
        variable = keras.Variable(np.ones(2), name=name)
    assert variable.path == f"{layer}/{name}"
    assert is_decayed(variable) == decayed
    assert Lamb(1e-3).is_decayed(variable) == decayed
