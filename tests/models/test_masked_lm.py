import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetMaskedLM, BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor

from .examples import FAMILIES, TEXTS, VOCABULARY, VOCABULARY_SIZE, batch, encoder, masked_lm, to_numpy, tokenizer

each_family = pytest.mark.parametrize("family", FAMILIES)
POSITIONS = np.array([[1, 5], [2, 3], [9, 0]], "int32")


@each_family
def test_logits_are_those_at_the_positions_asked_for(family):
    model = masked_lm(family, dropout=0.0)
    logits = model({**batch(), "mask_positions": POSITIONS})
    swapped = model({**batch(), "mask_positions": POSITIONS[:, ::-1].copy()})
    np.testing.assert_allclose(to_numpy(swapped)[:, ::-1], to_numpy(logits), atol=1e-5)


def test_a_preset_directory_holds_the_preprocessor(tmp_path):
    masked_lm().save_to_preset(tmp_path / "preset")
    loaded = BertBudgetMaskedLM.from_preset(str(tmp_path / "preset"))
    assert loaded.preprocessor.tokenizer.get_vocabulary() == VOCABULARY
    assert loaded.preprocessor.sequence_length == 16


def test_only_families_that_have_them_carry_head_weights():
    names = [{v.path.split("/", 1)[1] for v in masked_lm(family).head.weights} for family in FAMILIES]
    table = {"token/embeddings"}
    transform = {"transform/kernel", "transform/bias", "transform_norm/gamma", "transform_norm/beta"}
    assert names == [table | transform | {"bias"}, table | transform, table, table]


@each_family
def test_fit_on_raw_strings_lowers_the_loss(family):
    keras.utils.set_random_seed(0)
    model = masked_lm(family, dropout=0.0)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))  # At 3e-3 the loss jumps now and then.
    many = TEXTS * 40  # masks are drawn anew at each use: few of them make the loss too noisy to compare
    before = model.evaluate(many, batch_size=64, verbose=0, return_dict=True)["loss"]
    model.fit(TEXTS * 4, batch_size=32, epochs=25, verbose=0)
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


def test_a_loaded_file_continues_with_its_optimizer(tmp_path):
    model = masked_lm()
    model.fit(TEXTS, batch_size=4, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert int(to_numpy(loaded.optimizer.iterations)) == 2
    assert len(loaded.optimizer.variables) == len(model.optimizer.variables)


def weighted_mean(model, x, y, weights, value):
    """What NumPy makes of the masked tokens of all rows, each as much as any other: their nats or their accuracy."""
    logits = to_numpy(model({key: np.asarray(tensor) for key, tensor in x.items()})).astype("float64")
    logits -= logits.max(-1, keepdims=True)
    nats = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, y[..., None], -1)[..., 0]
    return float(((nats if value == "loss" else logits.argmax(-1) == y) * weights).sum() / weights.sum())


def test_the_loss_is_in_nats_per_masked_token():
    model = masked_lm(dropout=0.0)
    texts = ["the cat", "on the mat the dog sat", "Paris", "a dog", "the cat sat on the mat the cat sat", "mat"]
    x, y, weights = model.preprocessor(texts)
    x, y, weights = {key: np.asarray(value) for key, value in x.items()}, np.asarray(y), np.asarray(weights, "float32")
    assert len(set(weights.sum(1))) > 1  # rows of different lengths, and empty slots
    assert weights.min() == 0
    model.head.bias.assign(np.random.default_rng(0).normal(size=VOCABULARY_SIZE))
    expected = {name: weighted_mean(model, x, y, weights, name) for name in ("loss", "sparse_categorical_accuracy")}
    model.preprocessor = None
    results = model.evaluate(x, y, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)  # 4 rows and 2
    assert results == pytest.approx(expected, rel=1e-5)
    as_list = model.evaluate(x, y, sample_weight=weights, batch_size=4, verbose=0)
    assert as_list == pytest.approx(list(expected.values()), rel=1e-5)
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    history = model.fit(x, y, sample_weight=weights, batch_size=4, epochs=2, verbose=0).history
    assert history["loss"] == pytest.approx([expected["loss"]] * 2, rel=1e-5)
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))  # one of the user's own
    own = model.evaluate(x, y, sample_weight=weights, batch_size=6, verbose=0, return_dict=True)["loss"]
    assert own == pytest.approx(expected["loss"] * weights.mean(), rel=1e-5)


def test_the_loss_of_a_loaded_file_is_in_nats_per_masked_token(tmp_path):
    model = masked_lm()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.loss.reduction == "mean_with_sample_weight"
    config = model.get_compile_config()  # as files had it while the loss was divided by the slots
    del config["optimizer"]["built"]
    config["optimizer_built"], config["loss"]["config"]["reduction"] = False, "sum_over_batch_size"
    loaded.compile_from_config(config)
    loss = loaded.evaluate(TEXTS * 4, batch_size=16, verbose=0)[0]
    assert loss == pytest.approx(np.log(VOCABULARY_SIZE), rel=0.2)  # of random weights


def test_one_string_is_filled_without_a_list():
    model = masked_lm()
    assert model.fill_mask("the [MASK] sat on the [MASK].") == model.fill_mask(["the [MASK] sat on the [MASK]."])[0]
    with pytest.raises(ValueError, match=r"reads strings\. Received: nan"):
        model.fill_mask([float("nan")])
    with pytest.raises(ValueError, match="k=0"):
        model.fill_mask("[MASK]", k=0)


def test_a_head_that_a_folder_does_not_have_is_told(tmp_path, recwarn):
    classifier = BertBudgetTextClassifier(encoder(), 2, BertBudgetTextClassifierPreprocessor(tokenizer()))
    classifier.save_to_preset(tmp_path / "classifier")
    masked_lm().save_to_preset(tmp_path / "masked_lm")
    recwarn.clear()
    BertBudgetMaskedLM.from_preset(str(tmp_path / "classifier"))
    told = [str(warning.message) for warning in recwarn if "random" in str(warning.message)]
    assert len(told) == 1
    assert f"{tmp_path / 'classifier'} holds no head of a BertBudgetMaskedLM: masked_lm_head/" in told[0]
    recwarn.clear()
    BertBudgetMaskedLM.from_preset(str(tmp_path / "masked_lm"))
    BertBudgetMaskedLM.from_preset(str(tmp_path / "classifier"), load_weights=False)
    BertBudgetMaskedLM.from_preset(str(tmp_path / "classifier"), head_transform=False, output_bias=False)
    assert not [warning for warning in recwarn if "random" in str(warning.message)]
