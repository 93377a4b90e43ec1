import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetMaskedLM

from .examples import FAMILIES, TEXTS, VOCABULARY, VOCABULARY_SIZE, batch, masked_lm, to_numpy

each_family = pytest.mark.parametrize("family", FAMILIES)
POSITIONS = np.array([[1, 5], [2, 3], [9, 0]], "int32")


@each_family
def test_logits_are_float32_at_the_positions_asked_for(family):
    model = masked_lm(family, dtype="mixed_bfloat16")
    logits = model({**batch(), "mask_positions": POSITIONS})
    assert tuple(logits.shape) == (3, 2, VOCABULARY_SIZE)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    swapped = model({**batch(), "mask_positions": POSITIONS[:, ::-1].copy()})
    np.testing.assert_allclose(to_numpy(swapped)[:, ::-1], to_numpy(logits), atol=1e-5)


def test_only_families_that_have_them_carry_head_weights():
    names = [{v.path.split("/", 1)[1] for v in masked_lm(family).head.weights} for family in FAMILIES]
    table = {"token/embeddings"}
    transform = {"transform/kernel", "transform/bias", "transform_norm/gamma", "transform_norm/beta"}
    assert names == [table | transform | {"bias"}, table | transform, table]


@each_family
def test_fit_on_raw_strings_lowers_the_loss(family):
    keras.utils.set_random_seed(0)
    model = masked_lm(family, dropout=0.0)
    model.compile(optimizer=keras.optimizers.Adam(3e-3))
    many = TEXTS * 40  # masks are drawn anew at each use: few of them make the loss too noisy to compare
    before = model.evaluate(many, batch_size=64, verbose=0, return_dict=True)["loss"]
    model.fit(TEXTS * 4, batch_size=32, epochs=20, verbose=0)
    assert model.evaluate(many, batch_size=64, verbose=0, return_dict=True)["loss"] < 0.7 * before


def test_preprocessor_masks_and_replaces_within_the_vocabulary():
    x, y, weights = masked_lm().preprocessor(TEXTS * 20)
    assert set(x) == {"token_ids", "padding_mask", "segment_ids", "mask_positions"}
    assert to_numpy(x["token_ids"]).max() < len(VOCABULARY)
    assert tuple(x["token_ids"].shape) == (160, 16)
    assert tuple(y.shape) == tuple(weights.shape) == tuple(x["mask_positions"].shape) == (160, 4)


def test_fill_mask_gives_tokens_and_probabilities_for_each_mask_in_order():
    model = masked_lm(dropout=0.0)
    both = model.fill_mask(["the [MASK] sat on the [MASK].", "[MASK] cat"], k=3)
    assert [[len(mask) for mask in text] for text in both] == [[3, 3], [3]]
    for token, probability in both[0][0]:
        assert token in VOCABULARY
        assert 0 < probability < 1
    assert both[0][0] == sorted(both[0][0], key=lambda pair: -pair[1])
    assert model.fill_mask(["[MASK] cat"], k=3)[0][0][0][0] == both[1][0][0][0]


def test_fill_mask_never_answers_with_a_row_beyond_the_vocabulary():
    model = masked_lm()
    bias = np.zeros(VOCABULARY_SIZE)
    bias[len(VOCABULARY) :] = 100.0
    bias[VOCABULARY.index("cat")] = 50.0
    model.head.bias.assign(bias)
    ((token, probability),) = model.fill_mask(["the [MASK]"], k=1)[0][0]
    assert token == "cat"
    assert probability == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("no mask", r"no \[MASK\] in 'no mask'"), ("[MASK]" + " the" * 14, "17 tokens .* the model reads 16")],
)
def test_fill_mask_refuses_what_it_cannot_fill(text, message):
    with pytest.raises(ValueError, match=message):
        masked_lm().fill_mask(["[MASK]", text])


def test_fill_mask_needs_a_tokenizer():
    with pytest.raises(ValueError, match="needs a tokenizer"):
        masked_lm(preprocessor=None).fill_mask(["[MASK]"])


@each_family
def test_preset_directory_round_trip(family, tmp_path):
    model = masked_lm(family)
    model.save_to_preset(tmp_path / "preset")
    loaded = BertBudgetMaskedLM.from_preset(str(tmp_path / "preset"))
    assert loaded.get_config()["head_transform"] == model.head_transform
    inputs = {**batch(), "mask_positions": POSITIONS}
    np.testing.assert_allclose(to_numpy(loaded(inputs)), to_numpy(model(inputs)), atol=1e-5)
    assert loaded.preprocessor.tokenizer.get_vocabulary() == VOCABULARY
    assert loaded.preprocessor.sequence_length == 16


def test_a_loaded_file_continues_with_its_optimizer(tmp_path):
    model = masked_lm()
    model.fit(TEXTS, batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(to_numpy(loaded.optimizer.iterations)) == 2
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)
