import keras
import numpy as np
import pytest

from budgetbert.models import BertBudget, BertBudgetMaskedLM, BertBudgetTextClassifier
from budgetbert.models.arguments import own_arguments
from budgetbert.presets import FIELDS, PRESETS

from .examples import FAMILIES, batch, encoder, to_numpy

each_family = pytest.mark.parametrize("family", FAMILIES)


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


def test_our_preset_rotates_and_the_published_one_adds_a_sinusoid():
    ours = BertBudget.from_preset("tiny_frontier", load_weights=False, vocabulary_size=512)
    assert ours.position == "rotary"
    assert [block.attention.rotary_base for block in ours.transformer_layers] == 4 * [ours.rotary_base]
    assert not hasattr(ours.embeddings, "position_scale")
    published = BertBudget.from_preset("tiny_crammed", load_weights=False, vocabulary_size=512)
    assert float(to_numpy(published.embeddings.position_scale)) == pytest.approx(128**-0.5)
    assert published.transformer_layers[0].attention.rotary_embedding is None


def test_a_config_from_before_rotary_positions_loads():
    config = encoder("tiny_crammed").get_config()
    del config["rotary_base"]
    assert BertBudget.from_config(config).position == "scaled_sinusoidal"


def test_a_rotary_encoder_tells_the_order_of_tokens_at_any_length():
    model = encoder("tiny_frontier", dropout=0.0)
    row = np.array([[5, 6, 7, 8, 9, 10]], "int32")
    swapped = row[:, [0, 1, 2, 4, 3, 5]]
    full = {"padding_mask": None, "segment_ids": None}
    first, other = (to_numpy(model({"token_ids": ids, **full})) for ids in (row, swapped))
    assert np.abs(first[0, 0] - other[0, 0]).max() > 1e-4
    with pytest.raises(ValueError, match="longer than the model's 512 positions"):
        model({"token_ids": np.ones((1, 513), "int32"), **full})


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


@pytest.mark.without_backend
def test_a_run_for_research_may_override_all_that_an_encoder_has_but_its_vocabulary():
    assert set(FIELDS) == set(own_arguments(BertBudget)) - {"vocabulary_size", "dtype"}
