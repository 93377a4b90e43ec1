"""A corpus that is prepared for a model has its vocabulary and its normaliser."""

import json

import numpy as np
import pytest

from budgetbert.corpus.model_vocabulary import read_model_vocabulary
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.tokenization.normalizer import Normalizer
from tests.models.examples import VOCABULARY, masked_lm, tokenizer

pytestmark = pytest.mark.without_backend

NORMALIZER = Normalizer(True, False, "checkpoint", True, False)
SMALL = {"sequence_length": 16, "workers": 1}


@pytest.fixture
def model_file(tmp_path):
    from budgetbert.models import BertBudgetMaskedLMPreprocessor

    config = NORMALIZER.config()
    reader = tokenizer(normalizer=config.pop("kind"), **config)
    model = masked_lm(preprocessor=BertBudgetMaskedLMPreprocessor(reader))
    model.save(tmp_path / "model.keras")
    model.save_to_preset(str(tmp_path / "preset"))
    return tmp_path / "model.keras"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.jsonl"
    draw = np.random.default_rng(0)
    words = ["the", "catfish", "sat", "on", "islands", "cat", "dog"]
    lines = [json.dumps({"text": " ".join(draw.choice(words, 40))}) for _ in range(60)]
    path.write_text("\n".join(lines))
    return path


def test_files_and_folders_of_a_model_give_what_it_reads_with(model_file, text, tmp_path):
    for path in (model_file, tmp_path / "preset"):
        found = read_model_vocabulary(str(path))
        assert (found.vocabulary, found.normalizer) == (VOCABULARY, NORMALIZER)
    corpus = prepare_corpus(str(text), tmp_path / "corpus", vocabulary_from=str(model_file), **SMALL)
    assert (corpus.vocabulary, corpus.normalizer) == (VOCABULARY, NORMALIZER)
    assert corpus.manifest["vocabulary"]["from"] == str(model_file)
    assert corpus.manifest["vocabulary"]["added"] == []
    found = read_model_vocabulary(str(tmp_path / "corpus"))
    assert (found.vocabulary, found.normalizer) == (VOCABULARY, NORMALIZER)
    # The same vocabulary and normaliser by another path are the same corpus.
    again = prepare_corpus(str(text), tmp_path / "corpus", vocabulary_from=str(tmp_path / "preset"), **SMALL)
    assert again.fingerprint == corpus.fingerprint


def test_a_folder_of_hugging_face_gives_its_tokenizer(tmp_path):
    transformers = pytest.importorskip("transformers")
    entries = {entry: index for index, entry in enumerate(VOCABULARY)}
    transformers.BertTokenizer(entries, do_lower_case=False).save_pretrained(tmp_path)
    transformers.BertConfig(vocab_size=len(entries)).save_pretrained(tmp_path)
    found = read_model_vocabulary(str(tmp_path))
    assert (found.vocabulary, found.normalizer) == (VOCABULARY, Normalizer(False, False, "checkpoint"))


def test_an_extended_vocabulary_keeps_old_ids_and_tells_the_pieces_of_new_ones(model_file, text, tmp_path):
    options = {"vocabulary_from": str(model_file), **SMALL}
    plain = prepare_corpus(str(text), tmp_path / "plain", **options)
    corpus = prepare_corpus(str(text), tmp_path / "corpus", extend_vocabulary=2, **options)
    told = corpus.manifest["vocabulary"]
    assert corpus.vocabulary[: len(VOCABULARY)] == VOCABULARY
    assert told["old_entries"] == len(VOCABULARY)
    # "islands" had seven pieces, "catfish" five.
    assert told["added"] == [
        ["islands", ["i", "##s", "##l", "##a", "##n", "##d", "##s"]],
        ["catfish", ["cat", "##f", "##is", "##h"]],
    ]
    assert corpus.vocabulary[len(VOCABULARY) :] == ["islands", "catfish"]
    fewer = plain.manifest["counts"]["tokens"]["train"] - corpus.manifest["counts"]["tokens"]["train"]
    ids = corpus.rows("train")[:]
    islands, catfish = (np.count_nonzero(ids == len(VOCABULARY) + place) for place in range(2))
    assert abs(fewer - (6 * islands + 3 * catfish)) < 50  # the last row of each is not full
    assert plain.fingerprint != corpus.fingerprint


def test_more_entries_than_the_text_can_use_are_told(model_file, text, tmp_path):
    corpus = prepare_corpus(
        str(text), tmp_path / "corpus", vocabulary_from=str(model_file), extend_vocabulary=100, **SMALL
    )
    assert any("2 new entries are added, not 100" in note for note in corpus.manifest["notes"])


def test_what_does_not_go_together_is_refused_before_the_text_is_read(model_file, tmp_path):
    def refused(match, **options):
        with pytest.raises(InputError, match=match):
            prepare_corpus(str(tmp_path / "no text"), tmp_path / "corpus", **options)

    file = str(model_file)
    refused("give the model as --vocabulary_from", extend_vocabulary=5)
    refused("--vocabulary_from and --vocabulary_size exclude", vocabulary_from=file, vocabulary_size=512)
    refused("--vocabulary_from and --vocabulary exclude", vocabulary_from=file, vocabulary="vocabulary.txt")
    refused("--nolowercase is not what .*was trained with", vocabulary_from=file, lowercase=False)
    refused("--normalizer=cramming is not what", vocabulary_from=file, normalizer="cramming")
    refused("does not exist", vocabulary_from=str(tmp_path / "other.keras"))
    (tmp_path / "empty").mkdir()
    refused(r"has no config\.json", vocabulary_from=str(tmp_path / "empty"))
    (tmp_path / "text.keras").write_text("no model")
    refused(r"damaged, or no \.keras file", vocabulary_from=str(tmp_path / "text.keras"))


def test_a_checkpoint_of_another_family_and_a_name_that_the_hub_does_not_give_are_refused(tmp_path):
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models

    transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())).save_pretrained(tmp_path)
    transformers.RobertaConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="is a model of type 'roberta': only BERT"):
        read_model_vocabulary(str(tmp_path))
    with pytest.raises(InputError, match="is no file or folder here, and was not found on the hub"):
        read_model_vocabulary("nobody/no-such-bert")
