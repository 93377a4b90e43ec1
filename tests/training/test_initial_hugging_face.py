"""A BERT of transformers is continued: its losses are transformers' own, and it goes back as it came."""

import dataclasses
import json

import numpy as np
import pytest
from keras import ops

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from budgetbert.batches import ALL_MASKED, Masking  # noqa: E402
from budgetbert.corpus.prepare import prepare_corpus  # noqa: E402
from budgetbert.corpus.store import open_corpus  # noqa: E402
from budgetbert.errors import InputError  # noqa: E402
from budgetbert.export.export import export_model  # noqa: E402
from budgetbert.trained_model import TrainedModel  # noqa: E402
from budgetbert.training.run.directory import Run  # noqa: E402
from tests.training.runs import RECIPE, train  # noqa: E402

SIZES = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
# Its rows are as long as the checkpoint has positions.
SHORT = dataclasses.replace(RECIPE, phases=(dataclasses.replace(RECIPE.phases[0], sequence_length=32),))
LINES = ["The cat sees a dog in the garden.", "Straße, ½ café — DON'T!", "our teacher [MASK] the old king"]


@pytest.fixture(scope="module")
def checkpoint(small_corpus, tmp_path_factory):
    """The folder of a BERT of transformers with the words of `small_corpus` and random weights."""
    folder = tmp_path_factory.mktemp("hugging_face") / "bert"
    folder.mkdir()
    entries = small_corpus.vocabulary[:-1]  # The number is no multiple of 64, as bert-base-uncased's is none.
    (folder / "vocab.txt").write_text("".join(f"{entry}\n" for entry in entries))
    transformers.BertTokenizerFast.from_pretrained(folder, do_lower_case=True).save_pretrained(folder)
    torch.manual_seed(0)
    # It has no more rows than entries, and a bias that is not trivial: each further row would change the loss.
    config = transformers.BertConfig(vocab_size=len(entries), max_position_embeddings=40, **SIZES)
    model = transformers.BertForMaskedLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def corpus(checkpoint, small_text, tmp_path_factory):
    """`small_text` as the checkpoint's tokenizer reads it, in rows of 32 tokens."""
    directory = tmp_path_factory.mktemp("hugging_face") / "corpus"
    options = {"vocabulary": str(checkpoint / "vocab.txt"), "normalizer": "checkpoint", "sequence_length": 32}
    return prepare_corpus(str(small_text), directory, workers=1, **options)


@pytest.fixture(scope="module")
def continued(checkpoint, corpus, tmp_path_factory):
    """The directory of a run of four steps from the checkpoint, and its model."""
    directory = tmp_path_factory.mktemp("hugging_face") / "run"
    return directory, train(corpus.directory, directory, initial_model=str(checkpoint), budget="4steps")


def lines(directory, key):
    return [line for line in Run(str(directory)).lines() if key in line]


def loss_of_transformers(folder, corpus, rows):
    """What transformers' own model loses on held-out rows whose chosen tokens are all behind [MASK]."""
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    masking = Masking(0.15, corpus.vocabulary, corpus.special_ids, 0, shares=ALL_MASKED)
    batch = masking(corpus.rows("validation")[np.arange(rows)], 0)
    labels = np.full(batch["token_ids"].shape, -100)
    for row, (positions, ids, used) in enumerate(
        zip(batch["mask_positions"], batch["labels"], batch["weights"] > 0, strict=True)
    ):
        labels[row, positions[used]] = ids[used]
    with torch.no_grad():
        return model(input_ids=torch.tensor(batch["token_ids"]).long(), labels=torch.tensor(labels)).loss.item()


def test_the_first_loss_is_that_of_transformers_on_the_same_masks(checkpoint, corpus, continued):
    first = lines(continued[0], "validation_loss")[0]["validation_loss"]
    rows = Run(str(continued[0])).read_json("plan.json")["validation_rows"]
    assert first == pytest.approx(loss_of_transformers(checkpoint, corpus, rows), abs=1e-4)
    assert lines(continued[0], "final")[0]["validation_loss"] < first


def test_exported_back_transformers_gives_the_same_logits_and_ids(checkpoint, continued, tmp_path):
    directory, model = continued
    export_model(str(directory / "model.keras"), "transformers", str(tmp_path / "back"), "float32")
    back = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "back").eval()
    ids = np.random.default_rng(0).integers(5, model.backbone.vocabulary_size, (2, 20)).astype("int32")
    positions = np.tile(np.arange(20, dtype="int32"), (2, 1))
    inputs = {"token_ids": ids, "padding_mask": None, "segment_ids": None, "mask_positions": positions}
    ours = ops.convert_to_numpy(model(inputs, training=False))
    with torch.no_grad():
        theirs = back(input_ids=torch.tensor(ids).long()).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    before, after = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (checkpoint, tmp_path / "back"))
    for line in LINES:
        ids = before(line)["input_ids"]
        assert after(line)["input_ids"] == ids
        assert [int(token) for token in model.preprocessor.tokenizer(line)] == ids[1:-1]


@pytest.mark.slow
@pytest.mark.any_backend
def test_raw_text_is_prepared_with_the_tokens_of_the_model(checkpoint, small_text, tmp_path, small_corpus):
    train(small_text, tmp_path / "run", initial_model=str(checkpoint), plan_only=True, recipe=SHORT)
    prepared = open_corpus(tmp_path / "run" / "corpus")
    assert prepared.vocabulary == small_corpus.vocabulary[:-1]
    assert prepared.normalizer == TrainedModel.read(str(checkpoint)).tokens.normalizer
    assert prepared.normalizer.kind == "checkpoint"


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_head_that_the_checkpoint_lacks_is_told(checkpoint, corpus, tmp_path, capsys):
    folder = tmp_path / "headless"
    transformers.BertModel.from_pretrained(checkpoint).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
    model = train(corpus.directory, tmp_path / "run", initial_model=str(folder), budget="1step", learning_rate=1e-9)
    told = " ".join(capsys.readouterr().out.split())
    assert "has no weights for cls.predictions" in told
    assert "they start at random" in told
    expected = transformers.BertModel.from_pretrained(checkpoint).embeddings.word_embeddings.weight.detach().numpy()
    found = ops.convert_to_numpy(model.backbone.token_embedding.embeddings)
    np.testing.assert_allclose(found, expected, atol=1e-6)


class TestBadInput:
    def test_a_corpus_with_another_normaliser(self, checkpoint, small_corpus, tmp_path):
        with pytest.raises(InputError, match=r"another normaliser .*kind 'bert', not 'checkpoint'.*--vocabulary_from"):
            train(small_corpus.directory, tmp_path, initial_model=str(checkpoint))

    def test_a_corpus_with_another_vocabulary(self, checkpoint, small_text, tmp_path):
        options = {"vocabulary_size": 256, "normalizer": "checkpoint", "lowercase": False, "sequence_length": 32}
        other = prepare_corpus(str(small_text), tmp_path / "other", workers=1, **options)
        with pytest.raises(InputError, match=r"another vocabulary \([\d,]+ entries, sha256 .*--vocabulary_from"):
            train(other.directory, tmp_path / "run", initial_model=str(checkpoint))

    def test_rows_longer_than_its_positions(self, checkpoint, small_text, tmp_path):
        options = {"vocabulary": str(checkpoint / "vocab.txt"), "normalizer": "checkpoint", "sequence_length": 48}
        long = prepare_corpus(str(small_text), tmp_path / "long", workers=1, **options)
        with pytest.raises(InputError, match=r"rows of 48 tokens, bert \(1 x 64\) has 40 positions"):
            train(long.directory, tmp_path / "run", initial_model=str(checkpoint))

    def test_a_decoder(self, checkpoint, corpus, tmp_path):
        folder = tmp_path / "decoder"
        transformers.BertForMaskedLM.from_pretrained(checkpoint).save_pretrained(folder)
        transformers.AutoTokenizer.from_pretrained(checkpoint).save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "is_decoder": True}))
        with pytest.raises(InputError, match=r"--initial_model .*decoder"):
            train(corpus.directory, tmp_path / "run", initial_model=str(folder))
