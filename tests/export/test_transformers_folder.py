"""Folders for Hugging Face Transformers, and back."""

import json

import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from budgetbert.export import folder, transformers_folder  # noqa: E402
from tests.models.examples import FAMILIES, VOCABULARY  # noqa: E402
from tests.texts import HARD, LANGUAGES, real_lines  # noqa: E402

from .models import LABELS, TEXTS, classifier, masked  # noqa: E402

KINDS = {
    "masked_lm": (masked, "AutoModelForMaskedLM"),
    "classifier": (classifier, "AutoModelForSequenceClassification"),
}


def export(model, directory):
    with folder.replacing(str(directory), "transformers") as written:
        folder.write_record(written, "transformers", **transformers_folder.write_transformers(model, written))
    return str(directory)


def hf_answers(auto_class, path, texts, **kwargs):
    """Logits of the folder's model on texts that its own tokenizer reads, and what it read."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(path, **kwargs)
    model = getattr(transformers, auto_class).from_pretrained(path, **kwargs)
    inputs = tokenizer(*texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs).logits.numpy(), {key: value.numpy() for key, value in inputs.items()}, model.config


def our_logits(model, inputs):
    names = {"input_ids": "token_ids", "attention_mask": "padding_mask", "token_type_ids": "segment_ids"}
    x = {"segment_ids": None, **{names[key]: value.astype("int32") for key, value in inputs.items()}}
    if hasattr(model, "head"):
        x["mask_positions"] = np.tile(np.arange(x["token_ids"].shape[1], dtype="int32"), (len(x["token_ids"]), 1))
    return ops.convert_to_numpy(model(x))


def assert_equal_logits(ours, theirs, inputs):
    used = inputs["attention_mask"] == 1 if ours.ndim == 3 else slice(None)
    np.testing.assert_allclose(ours[used], theirs[used], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_the_folder_and_gives_the_same_logits(family, kind, tmp_path):
    make, auto_class = KINDS[kind]
    model = make(family)
    path = export(model, tmp_path / "folder")
    trust = {"trust_remote_code": True} if family == "tiny_crammed" else {}
    logits, inputs, config = hf_answers(auto_class, path, [[*TEXTS, *HARD]], **trust)
    assert_equal_logits(our_logits(model, inputs), logits, inputs)
    ids = [[2, *map(int, tokens), 3] for tokens in model.preprocessor.tokenizer([*TEXTS, *HARD])]
    used = inputs["attention_mask"] == 1
    assert [row[mask].tolist() for row, mask in zip(inputs["input_ids"], used, strict=True)] == ids
    if kind == "classifier":
        assert [config.id2label[index] for index in range(2)] == LABELS
    assert json.loads((tmp_path / "folder" / "export.json").read_text())["trust_remote_code"] == bool(trust)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["tiny_bert", "tiny_24h"])
@pytest.mark.without_backend
def test_the_way_back_gives_the_same_model_and_tokenizer(family, kind, tmp_path):
    make, _ = KINDS[kind]
    model = make(family, **({"pair": True} if kind == "classifier" else {}))
    back = transformers_folder.load_transformers(export(model, tmp_path / "folder"))
    assert type(back) is type(model)
    tokenizer, before = back.preprocessor.tokenizer, model.preprocessor.tokenizer
    assert tokenizer.get_vocabulary() == before.get_vocabulary()
    assert tokenizer.normalizer == before.normalizer
    inputs = {"input_ids": np.array([[2, 40, 41, 3]]), "attention_mask": np.ones((1, 4))}
    np.testing.assert_array_equal(our_logits(back, inputs), our_logits(model, inputs))
    if kind == "classifier":
        assert (back.label_names, back.pair) == (LABELS, True)
    else:
        assert back.fill_mask(["the [MASK]"]) == model.fill_mask(["the [MASK]"])


@pytest.mark.without_backend
def test_pairs_are_packed_and_cut_as_ours(tmp_path):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.export import signatures

    model = classifier("tiny_bert", pair=True)
    # where both are too long, an odd token goes to the first text here and to the second there
    first, second = ["cat " * 600, "cat " * 300, "the cat"], ["the dog", "the dog", "dog " * 600]
    logits, inputs, _ = hf_answers("AutoModelForSequenceClassification", export(model, tmp_path / "f"), [first, second])
    pack = tf.function(lambda *texts: signatures.pack(model.preprocessor.tokenizer, texts, 512), autograph=False)
    row = pack(tf.constant(first), tf.constant(second))
    np.testing.assert_array_equal(row["token_ids"], inputs["input_ids"])
    np.testing.assert_array_equal(row["padding_mask"], inputs["attention_mask"])
    np.testing.assert_array_equal(row["segment_ids"], inputs["token_type_ids"])
    assert_equal_logits(our_logits(model, inputs), logits, inputs)


@pytest.mark.without_backend
def test_a_regression_keeps_its_score(tmp_path):
    model = classifier("tiny_bert", num_classes=1)
    path = export(model, tmp_path / "folder")
    logits, inputs, config = hf_answers("AutoModelForSequenceClassification", path, [TEXTS])
    assert (logits.shape, config.problem_type) == ((10, 1), "regression")
    assert_equal_logits(our_logits(model, inputs), logits, inputs)


@pytest.mark.without_backend
@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, None), (False, None), (True, False)])
def test_a_bert_checkpoint_comes_in_with_its_tokenizer(lowercase, strip_accents, tmp_path):
    """As bert-base-uncased and -cased are on the hub: ids of the special tokens are found by name."""
    entries = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *VOCABULARY[5:]]
    tokenizer = transformers.BertTokenizer(
        {entry: index for index, entry in enumerate(entries)}, do_lower_case=lowercase, strip_accents=strip_accents
    )
    config = transformers.BertConfig(
        vocab_size=len(entries), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    peer = transformers.BertForMaskedLM(config).eval()
    for part in (tokenizer, peer):
        part.save_pretrained(tmp_path)
    model = transformers_folder.load_transformers(str(tmp_path), dropout=0.0)
    normalizer = model.preprocessor.tokenizer.normalizer
    assert (normalizer.lowercase, normalizer.strip_accents) == (lowercase, lowercase and strip_accents is None)
    logits, inputs, _ = hf_answers("AutoModelForMaskedLM", str(tmp_path), [["the cat sat", "a [MASK]"]])
    ids = [[3, *map(int, tokens), 4] for tokens in model.preprocessor.tokenizer(["the cat sat", "a [MASK]"])]
    assert [row[row != 0].tolist() for row in inputs["input_ids"]] == ids
    assert_equal_logits(our_logits(model, inputs), logits, inputs)


@pytest.mark.without_backend
def test_half_precision_is_half_as_large(tmp_path):
    model = masked()
    sizes = {}
    for weights in ("float32", "float16"):
        (tmp_path / weights).mkdir()
        transformers_folder.write_transformers(model, tmp_path / weights, weights)
        sizes[weights] = (tmp_path / weights / "model.safetensors").stat().st_size
    assert sizes["float16"] < 0.6 * sizes["float32"]


@pytest.mark.without_backend
@pytest.mark.parametrize("real", [False, True], ids=["hard text", "ten thousand real lines"])
def test_the_served_graph_keras_hub_and_hugging_face_make_the_same_tokens(real):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.corpus.encoding import PieceCounter
    from budgetbert.corpus.vocabulary import train_vocabulary
    from budgetbert.export import signatures
    from budgetbert.models import BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer

    texts = [line[:500] for line in real_lines(1000)] if real else [*HARD, *LANGUAGES, "a [MASK] [mask] [SEP]x[CLS]"]
    assert not real or len(texts) == 10_000
    tokenizer = BertBudgetTokenizer(train_vocabulary(PieceCounter(BertBudgetTokenizer().normalizer)(texts * 2), 4096))
    model = masked(preprocessor=BertBudgetMaskedLMPreprocessor(tokenizer), vocabulary_size=4096)
    length = model.backbone.max_sequence_length
    graph = tf.function(lambda x: signatures.pack(tokenizer, [x], length), autograph=False)
    hf = transformers_folder.hf_tokenizer(model)
    expected = [[*row[: length - 1], 3] if len(row) > length else row for row in hf(texts)["input_ids"]]
    served, keras_hub = [], []
    for start in range(0, len(texts), 500):
        batch = texts[start : start + 500]
        row = graph(tf.constant(batch))
        mask = row["padding_mask"].numpy().sum(axis=1)
        served += [ids[:n].tolist() for ids, n in zip(row["token_ids"].numpy(), mask, strict=True)]
        keras_hub += [[2, *map(int, ids[: length - 2]), 3] for ids in tokenizer(batch)]
    assert served == expected
    assert keras_hub == expected
