"""Folders for Hugging Face Transformers, and back."""

import json

import keras
import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from budgetbert.export import folder, transformers_folder  # noqa: E402
from budgetbert.models import BertBudgetMaskedLMPreprocessor  # noqa: E402
from budgetbert.models.hugging_face import to_torch  # noqa: E402
from budgetbert.models.hugging_face_checkpoint import load_transformers, our_tokenizer  # noqa: E402
from budgetbert.tokenization.normalizer import KINDS as NORMALIZERS  # noqa: E402
from budgetbert.tokenization.normalizer import Normalizer  # noqa: E402
from tests.models.examples import FAMILIES, VOCABULARY, tokenizer  # noqa: E402
from tests.texts import HARD, LANGUAGES, real_lines  # noqa: E402

from .models import LABELS, TEXTS, classifier, masked  # noqa: E402

OURS = ("tiny_crammed", "tiny_frontier")  # Transformers has no architecture for them: the folder brings it.
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
    reader = transformers.AutoTokenizer.from_pretrained(path, **kwargs)
    model = getattr(transformers, auto_class).from_pretrained(path, **kwargs)
    inputs = reader(*texts, padding=True, truncation=True, return_tensors="pt")
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
    trust = {"trust_remote_code": True} if family in OURS else {}
    logits, inputs, config = hf_answers(auto_class, path, [[*TEXTS, *HARD]], **trust)
    assert_equal_logits(our_logits(model, inputs), logits, inputs)
    ids = [[2, *map(int, tokens), 3] for tokens in model.preprocessor.tokenizer([*TEXTS, *HARD])]
    used = inputs["attention_mask"] == 1
    assert [row[mask].tolist() for row, mask in zip(inputs["input_ids"], used, strict=True)] == ids
    if kind == "classifier":
        assert [config.id2label[index] for index in range(2)] == LABELS
    assert json.loads((tmp_path / "folder" / "export.json").read_text())["trust_remote_code"] == bool(trust)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.without_backend
def test_the_way_back_gives_the_same_model_and_tokenizer(family, kind, tmp_path):
    make, _ = KINDS[kind]
    model = make(family, **({"pair": True} if kind == "classifier" else {}))
    back = load_transformers(export(model, tmp_path / "folder"))
    assert type(back) is type(model)
    after, before = back.preprocessor.tokenizer, model.preprocessor.tokenizer
    assert after.get_vocabulary() == before.get_vocabulary()
    assert after.normalizer == before.normalizer
    assert back.backbone.position == model.backbone.position
    inputs = {"input_ids": np.array([[2, 40, 41, 3]]), "attention_mask": np.ones((1, 4))}
    np.testing.assert_array_equal(our_logits(back, inputs), our_logits(model, inputs))
    if kind == "classifier":
        assert (back.label_names, back.pair) == (LABELS, True)
    else:
        (found,), (expected,) = (m.fill_mask(["the [MASK]"]) for m in (back, model))
        assert [token for token, _ in found[0]] == [token for token, _ in expected[0]]
        # Equal weights at other addresses of memory may be summed in another order.
        np.testing.assert_allclose([p for _, p in found[0]], [p for _, p in expected[0]], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.without_backend
def test_what_transformers_saved_again_comes_back_whole(family, tmp_path):
    model = classifier(family, pair=True)
    path, again = export(model, tmp_path / "folder"), str(tmp_path / "again")
    trust = {"trust_remote_code": family in OURS}
    transformers.AutoTokenizer.from_pretrained(path).save_pretrained(again)
    transformers.AutoModelForSequenceClassification.from_pretrained(path, **trust).save_pretrained(again)
    back = load_transformers(again)
    assert (back.label_names, back.pair, back.dropout) == (LABELS, True, model.dropout)
    assert back.preprocessor.tokenizer.normalizer == model.preprocessor.tokenizer.normalizer
    inputs = {"input_ids": np.array([[2, 40, 41, 3]]), "attention_mask": np.ones((1, 4))}
    np.testing.assert_allclose(our_logits(back, inputs), our_logits(model, inputs), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("kind", NORMALIZERS)
@pytest.mark.without_backend
def test_a_tokenizer_that_transformers_saved_again_keeps_its_ids(kind, lowercase, strip_accents, tmp_path):
    preprocessor = BertBudgetMaskedLMPreprocessor(
        tokenizer(normalizer=kind, lowercase=lowercase, strip_accents=strip_accents)
    )
    hf = transformers_folder.hf_tokenizer(masked(preprocessor=preprocessor))
    for _ in range(2):
        hf.save_pretrained(tmp_path)
        hf = transformers.AutoTokenizer.from_pretrained(tmp_path)
    back = our_tokenizer(hf)
    assert back.normalizer == preprocessor.tokenizer.normalizer
    texts = [*HARD, *TEXTS, "The Cat SAT On The Mat , Café"]
    assert [[2, *map(int, ids), 3] for ids in back(texts)] == hf(texts)["input_ids"]


def hugging_face_tokenizer(
    normalizer="bert", pre_tokenizer=None, model=None, template="[CLS] $A [SEP] $B [SEP]", add=()
):
    """BERT's tokenizer of VOCABULARY in parts, any of which may be another."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    entries = {entry: index for index, entry in enumerate(VOCABULARY)}
    backend = Tokenizer(model or models.WordPiece(entries, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer() if normalizer == "bert" else normalizer
    backend.pre_tokenizer = pre_tokenizer or pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    hf = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")},
    )
    hf.add_tokens(list(add))
    return hf


@pytest.mark.without_backend
def test_other_descriptions_of_a_normaliser_are_read_by_what_they_do():
    from tokenizers import normalizers

    bert = normalizers.BertNormalizer
    for steps, *expected in (
        ([bert()], True, True, True, True),
        ([bert(lowercase=False)], False, False, True, True),
        ([bert(lowercase=False, strip_accents=False), normalizers.Lowercase()], True, False, True, True),
        ([normalizers.NFC(), bert(lowercase=False, strip_accents=True)], False, True, True, True),
        ([bert(clean_text=False)], True, True, False, True),
        ([bert(handle_chinese_chars=False)], True, True, True, False),
        ([], False, False, False, False),
    ):
        found = our_tokenizer(hugging_face_tokenizer(normalizers.Sequence(steps))).normalizer
        assert list(found.config().values()) == [*expected[:2], "checkpoint", *expected[2:]]


@pytest.mark.without_backend
def test_a_tokenizer_that_pads_and_cuts_by_itself_is_read():
    from tokenizers import normalizers

    padding = hugging_face_tokenizer(normalizers.BertNormalizer())
    padding.backend_tokenizer.enable_padding(length=16)
    padding.backend_tokenizer.enable_truncation(16)
    assert our_tokenizer(padding).normalizer == Normalizer(kind="checkpoint")


@pytest.mark.without_backend
def test_a_tokenizer_that_differs_on_rare_characters_alone_is_taken_and_told():
    from tokenizers import models, normalizers

    nearly = normalizers.Sequence([normalizers.NFKC(), normalizers.BertNormalizer()])
    longer = models.WordPiece(
        {entry: i for i, entry in enumerate(VOCABULARY)}, unk_token="[UNK]", max_input_chars_per_word=200
    )
    for changes in ({"normalizer": nearly}, {"model": longer}):
        with pytest.warns(UserWarning, match=r"words of .00 characters.* their ids differ"):
            assert our_tokenizer(hugging_face_tokenizer(**changes)).normalizer.kind == "bert"


@pytest.mark.without_backend
def test_what_a_tokenizer_of_ours_cannot_do_is_told():
    from tokenizers import Regex, models, normalizers, pre_tokenizers

    bert, with_a_gap = normalizers.BertNormalizer(), {entry: i + (i > 50) for i, entry in enumerate(VOCABULARY)}
    digits = normalizers.Sequence([bert, normalizers.Replace(Regex("[0-9]"), "0")])
    for changes, told in (
        ({"normalizer": digits}, r"a way of its own \(BertNormalizer, Replace\)"),
        ({"pre_tokenizer": pre_tokenizers.WhitespaceSplit()}, "a way of its own"),
        ({"model": models.BPE()}, r"\(BPE\) is not BERT's WordPiece"),
        ({"model": models.WordPiece(with_a_gap, unk_token="[UNK]")}, "have gaps"),
        ({"template": "[CLS] $A $B [SEP]"}, "does not write"),
        ({"add": ["[entity]"]}, r"added tokens \(\[entity\]\)"),
    ):
        with pytest.raises(ValueError, match=told):
            our_tokenizer(hugging_face_tokenizer(**changes))


@pytest.mark.without_backend
def test_code_in_a_folder_of_ours_is_not_run_and_learned_positions_stay(tmp_path):
    model = masked("tiny_crammed")
    path = export(model, tmp_path / "folder")
    hf_model = transformers.AutoModelForMaskedLM.from_pretrained(path, trust_remote_code=True)
    with torch.no_grad():
        hf_model.budgetbert.positions.weight[3] += 0.5
    hf_model.save_pretrained(path)
    (tmp_path / "folder" / "modeling_budgetbert.py").write_text("raise SystemExit('this file was run')")
    back = load_transformers(path)
    assert back.backbone.position == "learned"
    inputs = {"input_ids": torch.tensor([[2, 40, 41, 42, 3]]), "attention_mask": torch.ones(1, 5)}
    with torch.no_grad():
        logits = hf_model.eval()(**inputs).logits.numpy()
    np.testing.assert_allclose(our_logits(back, {k: v.numpy() for k, v in inputs.items()}), logits, atol=1e-4)


@pytest.mark.without_backend
def test_a_head_that_is_not_there_is_told_and_so_are_weights_of_the_encoder(tmp_path):
    from safetensors.numpy import load_file, save_file

    path = export(masked("tiny_bert"), tmp_path / "folder")
    file = tmp_path / "folder" / "model.safetensors"
    weights = load_file(file)
    save_file({k: v for k, v in weights.items() if not k.startswith("cls.")}, file, {"format": "pt"})
    with pytest.warns(UserWarning, match=r"has no weights for cls\..*: they start at random"):
        load_transformers(path)
    save_file({k: v for k, v in weights.items() if "layer.0.output" not in k}, file, {"format": "pt"})
    with pytest.raises(ValueError, match="lacks 4 of the encoder's weights, as bert"):
        load_transformers(path)


@pytest.mark.without_backend
def test_files_are_for_everybody_and_for_transformers_4(tmp_path):
    export(masked("tiny_crammed"), tmp_path / "folder")
    files = [path for path in (tmp_path / "folder").iterdir() if path.is_file()]
    assert len({path.stat().st_mode for path in files}) == 1
    config = json.loads((tmp_path / "folder" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize(("lowercase", "strip_accents"), [(True, True), (True, False), (False, False)])
@pytest.mark.without_backend
def test_berts_own_class_keeps_case_and_accents(lowercase, strip_accents, tmp_path):
    reader = tokenizer(lowercase=lowercase, strip_accents=strip_accents)
    path = export(masked("tiny_bert", preprocessor=BertBudgetMaskedLMPreprocessor(reader)), tmp_path / "folder")
    transformers.BertTokenizer.from_pretrained(path).save_pretrained(path)
    found = load_transformers(path).preprocessor.tokenizer.normalizer
    assert (found.kind, found.lowercase, found.strip_accents) == ("checkpoint", lowercase, strip_accents)


@pytest.mark.without_backend
def test_several_labels_at_once_keep_their_meaning(tmp_path):
    model = classifier("tiny_bert", num_classes=3, label_names=["a", "b", "c"])
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    path = export(model, tmp_path / "folder")
    config = transformers.AutoConfig.from_pretrained(path)
    assert config.problem_type == "multi_label_classification"
    back = load_transformers(path)
    assert isinstance(back.loss, keras.losses.BinaryCrossentropy)


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
    of_checkpoint = transformers.BertTokenizer(
        {entry: index for index, entry in enumerate(entries)}, do_lower_case=lowercase, strip_accents=strip_accents
    )
    config = transformers.BertConfig(
        vocab_size=len(entries), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    peer = transformers.BertForMaskedLM(config).eval()
    for part in (of_checkpoint, peer):
        part.save_pretrained(tmp_path)
    model = load_transformers(str(tmp_path), dropout=0.0)
    normalizer = model.preprocessor.tokenizer.normalizer
    expected = {"lowercase": lowercase, "strip_accents": lowercase and strip_accents is None, "kind": "checkpoint"}
    assert normalizer == Normalizer(**expected)
    texts = ["the cat sat", "a [MASK]", "ß ½ so\u00adft x\x0by", "a" * 101]
    logits, inputs, _ = hf_answers("AutoModelForMaskedLM", str(tmp_path), [texts])
    ids = [[3, *map(int, tokens), 4] for tokens in model.preprocessor.tokenizer(texts)]
    assert [row[row != 0].tolist() for row in inputs["input_ids"]] == ids
    assert_equal_logits(our_logits(model, inputs), logits, inputs)
    # What it exports is the checkpoint's own tokenizer again.
    again = transformers.AutoTokenizer.from_pretrained(export(model, tmp_path / "again"))
    assert again(texts)["input_ids"] == of_checkpoint(texts)["input_ids"]
    assert type(again) is type(of_checkpoint)
    described = [json.loads(some.backend_tokenizer.to_str()) for some in (again, of_checkpoint)]
    assert described[0]["normalizer"] == described[1]["normalizer"] | {"strip_accents": expected["strip_accents"]}
    assert described[0]["pre_tokenizer"] == described[1]["pre_tokenizer"]
    assert described[0]["model"] == described[1]["model"]


@pytest.mark.without_backend
def test_half_precision_is_half_as_large(tmp_path):
    model = masked()
    sizes = {}
    for weights in ("float32", "float16"):
        (tmp_path / weights).mkdir()
        transformers_folder.write_transformers(model, tmp_path / weights, weights)
        sizes[weights] = (tmp_path / weights / "model.safetensors").stat().st_size
    assert sizes["float16"] < 0.6 * sizes["float32"]


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.parametrize("real", [False, True], ids=["hard text", "ten thousand real lines"])
def test_the_served_graph_keras_hub_and_hugging_face_make_the_same_tokens(real):
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.export import signatures
    from budgetbert.models import BertBudgetTokenizer
    from budgetbert.tokenization.encoder import PieceCounter
    from budgetbert.tokenization.vocabulary import train_vocabulary

    texts = [line[:500] for line in real_lines(1000)] if real else [*HARD, *LANGUAGES, "a [MASK] [mask] [SEP]x[CLS]"]
    assert not real or len(texts) == 10_000
    reader = BertBudgetTokenizer(train_vocabulary(PieceCounter(BertBudgetTokenizer().normalizer)(texts * 2), 4096))
    model = masked(preprocessor=BertBudgetMaskedLMPreprocessor(reader), vocabulary_size=4096)
    length = model.backbone.max_sequence_length
    graph = tf.function(lambda x: signatures.pack(reader, [x], length), autograph=False)
    hf = transformers_folder.hf_tokenizer(model)
    expected = [[*row[: length - 1], 3] if len(row) > length else row for row in hf(texts)["input_ids"]]
    served, keras_hub = [], []
    for start in range(0, len(texts), 500):
        batch = texts[start : start + 500]
        row = graph(tf.constant(batch))
        mask = row["padding_mask"].numpy().sum(axis=1)
        served += [ids[:n].tolist() for ids, n in zip(row["token_ids"].numpy(), mask, strict=True)]
        keras_hub += [[2, *map(int, ids[: length - 2]), 3] for ids in reader(batch)]
    assert served == expected
    assert keras_hub == expected


@pytest.mark.without_backend
def test_one_logit_keeps_its_label(tmp_path):
    model = classifier("tiny_bert", num_classes=1, activation="sigmoid")
    model.label_names = ["positive"]
    back = load_transformers(export(model, tmp_path / "folder"))
    assert (back.label_names, back.num_classes) == (["positive"], 1)
    assert isinstance(back.loss, keras.losses.BinaryCrossentropy)
    assert load_transformers(export(classifier("tiny_bert", num_classes=1), tmp_path / "score")).label_names is None


def test_a_new_classifier_on_an_exported_encoder_has_the_pooler_of_its_architecture():
    widths = {family: to_torch(masked(family)).config.pooler_size for family in OURS}
    assert widths == {"tiny_crammed": 1024, "tiny_frontier": 128}
