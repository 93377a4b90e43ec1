import keras
import numpy as np
import pytest

from budgetbert.models import PRESETS, BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier

from .examples import FAMILIES, batch, encoder, to_numpy

each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_hidden_states_have_the_shape_and_dtype_of_the_computation(family, policy):
    model = encoder(family, dtype=policy)
    outputs = model(batch())
    assert tuple(outputs.shape) == (3, 16, 128)
    assert keras.backend.standardize_dtype(outputs.dtype) == model.compute_dtype
    assert all(v.dtype == "float32" for v in model.weights)


@each_family
def test_no_mask_equals_a_mask_of_ones(family):
    model, inputs = encoder(family), batch()
    ones = {**inputs, "padding_mask": np.ones((3, 16), "int32"), "segment_ids": np.zeros((3, 16), "int32")}
    np.testing.assert_allclose(to_numpy(model(ones)), to_numpy(model(inputs)), atol=1e-5)


@each_family
def test_padding_does_not_influence_other_positions(family):
    model, inputs = encoder(family), batch(full=False)
    mask = inputs["padding_mask"]
    other = {**inputs, "token_ids": np.where(mask, inputs["token_ids"], 7).astype("int32")}
    before, after = to_numpy(model(inputs)), to_numpy(model(other))
    np.testing.assert_allclose(after[mask == 1], before[mask == 1], atol=1e-5)


@each_family
def test_config_round_trip(family):
    config = encoder(family, attention_dropout=0.2, dtype="mixed_bfloat16").get_config()
    assert BertBudget.from_config(config).get_config() == config


def test_feed_forward_kernels_differ_between_layers():
    first, second = (
        block.feed_forward.intermediate.kernel for block in encoder("tiny_24h", num_layers=2).transformer_layers
    )
    assert np.abs(to_numpy(first) - to_numpy(second)).max() > 0.01
    assert abs(to_numpy(first).std() - 0.02) < 1e-3


def test_no_two_layers_share_a_dropout_seed():
    model = encoder("tiny_bert", num_layers=2)
    seeds = [tuple(to_numpy(v).tolist()) for v in model.non_trainable_variables if "seed" in v.path]
    assert len(seeds) == 7
    assert len(set(seeds)) == 7


def test_a_quantized_encoder_comes_back_from_its_file(tmp_path):
    model, inputs = encoder("tiny_24h"), batch()
    before = to_numpy(model(inputs))
    model.quantize("int8")
    quantized = to_numpy(model(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.transformer_layers[0].attention.qkv.kernel.dtype == "int8"
    np.testing.assert_allclose(to_numpy(loaded(inputs)), quantized, atol=1e-5)
    np.testing.assert_allclose(quantized, before, atol=0.1)


@pytest.mark.parametrize(
    ("preset", "vocabulary_size", "parameters"),
    [
        ("bert_base", 30522, 109_514_298),
        ("bert_large", 30522, 335_174_458),
        ("bert_large_24h", 30528, 335_150_080),
        ("crammed_base", 32768, 119_589_889),
    ],
)
def test_presets_have_the_published_number_of_parameters(preset, vocabulary_size, parameters):
    # Built in a scope that initialises no variable: BERT-large would take 1.3 GB.
    with keras.StatelessScope(initialize_variables=False):
        model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dropout=0.0, compile=False)
        assert model.backbone.vocabulary_size == vocabulary_size
        assert model.count_params() == parameters
    keras.utils.clear_session()


@pytest.mark.parametrize("cls", [BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier])
def test_a_preset_without_weights_says_so(cls):
    assert cls.presets is PRESETS
    with pytest.raises(ValueError, match="pass load_weights=False"):
        cls.from_preset("crammed_base")


def test_keywords_override_a_preset():
    model = BertBudgetMaskedLM.from_preset(
        "tiny_24h", load_weights=False, vocabulary_size=64, dropout=0.0, dtype="mixed_bfloat16", output_bias=True
    )
    assert model.backbone.vocabulary_size == 64
    assert model.backbone.dropout == 0.0
    assert model.backbone.compute_dtype == "bfloat16"
    assert model.output_bias
    assert model.preprocessor is None


def test_a_directory_named_like_a_preset_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = encoder("tiny_24h")
    saved.save_to_preset("tiny_24h")
    np.testing.assert_array_equal(
        to_numpy(BertBudget.from_preset("tiny_24h").token_embedding.embeddings),
        to_numpy(saved.token_embedding.embeddings),
    )
