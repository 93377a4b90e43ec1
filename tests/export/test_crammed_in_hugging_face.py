"""What users of `transformers` ask of a model, of the loader that crammed-BERT's folder brings."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
from torch.nn import functional  # noqa: E402

from budgetbert.export import folder, transformers_folder  # noqa: E402

from .models import classifier, masked  # noqa: E402

pytestmark = pytest.mark.without_backend
TRUST = {"trust_remote_code": True}
NEW_HEAD = {**TRUST, "num_labels": 3, "ignore_mismatched_sizes": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Paths (str) of an exported masked-LM and of an exported classifier, with dropout in their configs."""
    paths = {}
    for name, model in (("masked_lm", masked("tiny_crammed")), ("classifier", classifier("tiny_crammed"))):
        paths[name] = str(tmp_path_factory.mktemp("crammed") / name)
        with folder.replacing(paths[name], "transformers") as written:
            folder.write_record(written, "transformers", **transformers_folder.write_transformers(model, written))
    return paths


@pytest.fixture(scope="module")
def batch(folders):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["masked_lm"])
    return tokenizer(["the [MASK] sat on the mat.", "a dog"], padding=True, return_tensors="pt")


@pytest.fixture(scope="module")
def model(folders):
    return load("AutoModelForMaskedLM", folders["masked_lm"], **TRUST)


def load(auto_class, path, **kwargs):
    return getattr(transformers, auto_class).from_pretrained(path, **kwargs).eval()


@pytest.mark.parametrize("source", ["masked_lm", "classifier"])
@pytest.mark.parametrize(
    ("auto_class", "fresh"),
    [
        ("AutoModel", set()),
        ("AutoModelForMaskedLM", set()),
        (
            "AutoModelForSequenceClassification",
            {"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"},
        ),
        ("AutoModelForTokenClassification", {"token_classifier.weight", "token_classifier.bias"}),
        ("AutoModelForQuestionAnswering", {"qa_outputs.weight", "qa_outputs.bias"}),
    ],
)
def test_each_task_loads_with_the_trained_encoder(source, auto_class, fresh, folders, batch):
    options = NEW_HEAD if "Classification" in auto_class else TRUST
    loaded, found = getattr(transformers, auto_class).from_pretrained(
        folders[source], output_loading_info=True, **options
    )
    trained_head = {"pooler.weight", "pooler.bias", "classifier.weight", "classifier.bias"}
    assert set(found["missing_keys"]) <= fresh
    assert fresh - set(found["missing_keys"]) <= (trained_head if source == "classifier" else set())
    outputs = loaded.eval()(**batch)
    encoder = load("AutoModel", folders[source], **TRUST)(**batch).last_hidden_state
    torch.testing.assert_close(loaded.base_model(**batch).last_hidden_state, encoder)
    length = batch["input_ids"].shape[1]
    shape = {
        "AutoModel": (2, length, 128),
        "AutoModelForMaskedLM": (2, length, 128),
        "AutoModelForTokenClassification": (2, length, 3),
        "AutoModelForQuestionAnswering": (2, length),
        "AutoModelForSequenceClassification": (2, 3),
    }[auto_class]
    assert outputs[0].shape == shape


def test_labels_give_the_loss_of_a_masked_lm(model, batch):
    labels = torch.where(batch["input_ids"] == 4, torch.tensor(40), torch.tensor(-100))
    outputs = model(**batch, labels=labels)
    expected = -functional.log_softmax(outputs.logits, dim=-1)[batch["input_ids"] == 4][:, 40].mean()
    torch.testing.assert_close(outputs.loss, expected)
    assert model(**batch).loss is None


@pytest.mark.parametrize(
    ("num_labels", "labels", "kind"),
    [
        (3, torch.tensor([0, 2]), "single_label_classification"),
        (3, torch.tensor([[0.0, 1, 1], [1, 0, 0]]), "multi_label_classification"),
        (1, torch.tensor([0.5, -2.0]), "regression"),
    ],
)
def test_labels_give_the_loss_of_a_classifier_as_in_transformers(num_labels, labels, kind, folders, batch):
    from transformers.loss.loss_utils import ForSequenceClassificationLoss

    ours = load("AutoModelForSequenceClassification", folders["masked_lm"], **{**NEW_HEAD, "num_labels": num_labels})
    config = transformers.BertConfig(num_labels=num_labels)
    expected = ForSequenceClassificationLoss(labels, ours(**batch).logits, config)
    torch.testing.assert_close(ours(**batch, labels=labels).loss, expected)
    assert ours.config.problem_type == config.problem_type == kind


def test_labels_give_the_loss_of_a_tagger(folders, batch):
    tagger = load("AutoModelForTokenClassification", folders["classifier"], **NEW_HEAD)
    labels = torch.where(batch["attention_mask"] == 1, torch.tensor(2), torch.tensor(-100))
    outputs = tagger(**batch, labels=labels)
    expected = -functional.log_softmax(outputs.logits, dim=-1)[batch["attention_mask"] == 1][:, 2].mean()
    torch.testing.assert_close(outputs.loss, expected)


def test_outputs_that_are_asked_for_come(model, batch):
    outputs = model(**batch, output_hidden_states=True, output_attentions=True)
    length = batch["input_ids"].shape[1]
    assert [state.shape for state in outputs.hidden_states] == [(2, length, 128)] * 2
    torch.testing.assert_close(model.decoder(outputs.hidden_states[-1]), outputs.logits)
    (attention,) = outputs.attentions
    assert attention.shape == (2, 2, length, length)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 2, length))
    assert not attention[1, :, :, batch["attention_mask"][1] == 0].any()
    as_tuple = model(**batch, return_dict=False)
    assert isinstance(as_tuple, tuple)
    torch.testing.assert_close(as_tuple[0], outputs.logits)


def test_embeddings_positions_and_masks_that_are_given_are_used(model, batch):
    logits, mask = model(**batch).logits, batch["attention_mask"]
    embedded = model.get_input_embeddings()(batch["input_ids"])
    torch.testing.assert_close(model(inputs_embeds=embedded, attention_mask=mask).logits, logits)
    positions = torch.arange(logits.shape[1])[None]
    torch.testing.assert_close(model(**batch, position_ids=positions).logits, logits)
    assert not torch.allclose(model(**batch, position_ids=positions + 1).logits, logits)
    square = mask[:, None, :].expand(-1, mask.shape[1], -1)
    torch.testing.assert_close(model(batch["input_ids"], attention_mask=square).logits, logits)


def test_what_cannot_be_done_is_refused(model, batch, folders):
    ids = batch["input_ids"]
    for arguments, told in (
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": ids, "inputs_embeds": torch.zeros(2, 3, 128)}, "either input_ids or inputs_embeds"),
        ({"input_ids": torch.ones(1, 513, dtype=torch.long)}, "513 tokens are longer than the model's 512 positions"),
        ({"input_ids": ids, "attention_mask": torch.ones(2, 1, 1, ids.shape[1])}, "attention_mask has 4 axes"),
    ):
        with pytest.raises(ValueError, match=told):
            model(**arguments)
    with pytest.raises(TypeError, match="foo"):
        model(**batch, foo=1)
    with pytest.raises(ValueError, match="Flash"):
        load("AutoModel", folders["masked_lm"], attn_implementation="flash_attention_2", **TRUST)


def test_attention_implementations_agree(folders, batch, model):
    eager = load("AutoModelForMaskedLM", folders["masked_lm"], attn_implementation="eager", **TRUST)
    assert (eager.config._attn_implementation, model.config._attn_implementation) == ("eager", "sdpa")
    torch.testing.assert_close(eager(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("option", ["hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"])
def test_training_has_dropout(option, folders, batch):
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0, option: 0.5}
    loaded = load("AutoModelForSequenceClassification", folders["classifier"], **TRUST, **rates)
    torch.testing.assert_close(loaded(**batch).logits, loaded(**batch).logits)
    loaded.train()
    assert not torch.allclose(loaded(**batch).logits, loaded(**batch).logits)


def test_the_table_of_tokens_can_grow(folders, batch, model):
    grown = load("AutoModelForMaskedLM", folders["masked_lm"], **TRUST)
    grown.resize_token_embeddings(140)
    logits = grown(**batch).logits
    assert (logits.shape[-1], grown.config.vocab_size) == (140, 140)
    assert grown.get_output_embeddings().weight is grown.get_input_embeddings().weight
    torch.testing.assert_close(logits[..., :128], model(**batch).logits)


def test_gradient_checkpointing_gives_the_same_gradients(folders, batch):
    gradients = []
    for checkpointing in (False, True):
        loaded = load("AutoModelForMaskedLM", folders["masked_lm"], **TRUST, hidden_dropout_prob=0.1).train()
        if checkpointing:
            loaded.gradient_checkpointing_enable()
        torch.manual_seed(0)
        loaded(**batch, labels=batch["input_ids"]).loss.backward()
        gradients.append(loaded.budgetbert.blocks[0].qkv.weight.grad)
    torch.testing.assert_close(*gradients)


@pytest.mark.slow
def test_trainer_runs(folders, tmp_path):
    pytest.importorskip("accelerate")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["masked_lm"])
    trainer = transformers.Trainer(
        model=load("AutoModelForMaskedLM", folders["masked_lm"], **TRUST),
        args=transformers.TrainingArguments(str(tmp_path), max_steps=10, report_to=[], use_cpu=True, disable_tqdm=True),
        train_dataset=[dict(tokenizer(text)) for text in ["the cat sat", "a dog"] * 8],
        data_collator=transformers.DataCollatorForLanguageModeling(tokenizer),
    )
    assert trainer.train().global_step == 10
    trainer.save_model(str(tmp_path / "saved"))
    assert load("AutoModelForMaskedLM", str(tmp_path / "saved"), **TRUST)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["masked_lm", "classifier"])
def test_sentence_transformers_embeds(source, folders):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    embedder = sentence_transformers.SentenceTransformer(folders[source], trust_remote_code=True, device="cpu")
    texts = ["the cat sat on the mat.", "a dog"]
    batch = transformers.AutoTokenizer.from_pretrained(folders[source])(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = load("AutoModel", folders[source], **TRUST)(**batch).last_hidden_state
    mask = batch["attention_mask"][:, :, None]
    expected = (hidden * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(torch.tensor(embedder.encode(texts)), expected, atol=1e-5, rtol=1e-4)
