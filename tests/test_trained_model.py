"""What a trained model says of itself, read without Keras."""

import json
import shutil
import zipfile

import pytest

from budgetbert.errors import InputError
from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor, BertBudgetTokenizer
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.trained_model import TrainedModel
from tests.models.examples import VOCABULARY, masked_lm, tokenizer

pytestmark = pytest.mark.without_backend


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The path of a `.keras` file with a cased tokenizer."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    masked = masked_lm("tiny_bert")
    masked.preprocessor.tokenizer = tokenizer(lowercase=False, strip_accents=False)
    masked.save(path)
    return path


def test_a_file_tells_its_task_its_sizes_and_its_tokens(model):
    found = TrainedModel.read(str(model))
    assert (found.family, found.task) == ("keras", "masked-LM")
    assert (found.encoder_config["num_layers"], found.encoder_config["vocabulary_size"]) == (1, 128)
    assert found.tokens.vocabulary == VOCABULARY
    assert found.tokens.normalizer == Normalizer(lowercase=False, strip_accents=False)


def test_a_folder_of_save_to_preset_tells_the_same(tmp_path):
    classifier = BertBudgetTextClassifier(
        masked_lm("tiny_bert").backbone, 2, preprocessor=BertBudgetTextClassifierPreprocessor(tokenizer(), 16)
    )
    classifier.save_to_preset(tmp_path / "task")
    classifier.backbone.save_to_preset(tmp_path / "encoder")
    classifier.preprocessor.tokenizer.save_to_preset(tmp_path / "encoder")
    for name, task in (("task", "text classifier"), ("encoder", "encoder")):
        found = TrainedModel.read(str(tmp_path / name))
        assert (found.family, found.task) == ("preset", task)
        assert found.tokens.vocabulary == VOCABULARY
        assert found.encoder_config["num_layers"] == 1


def test_padding_may_have_any_id(tmp_path):
    """As in a model of a corpus of token ids, which keeps the ids of its own tokenizer."""
    masked = masked_lm("tiny_bert")
    masked.preprocessor.tokenizer = BertBudgetTokenizer([*VOCABULARY[1:], VOCABULARY[0]])
    masked.save(tmp_path / "model.keras")
    assert TrainedModel.read(str(tmp_path)).tokens.vocabulary == [*VOCABULARY[1:], "[PAD]"]


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForMaskedLM", "masked-LM"),
        ("BertForSequenceClassification", "text classifier"),
        ("BertForTokenClassification", "token classifier"),
    ],
)
def test_a_folder_of_hugging_face_tells_its_task(tmp_path, architecture, task):
    transformers = pytest.importorskip("transformers")
    entries = {entry: index for index, entry in enumerate(VOCABULARY)}
    transformers.BertTokenizer(entries).save_pretrained(tmp_path)
    transformers.BertConfig(vocab_size=len(entries), architectures=[architecture]).save_pretrained(tmp_path)
    found = TrainedModel.read(str(tmp_path))
    assert (found.family, found.task) == ("bert", task)


def test_a_run_and_a_checkpoint_of_one_stand_for_the_model_in_them(model):
    assert TrainedModel.read(str(model.parent)).path == str(model)


def test_equal_models_have_one_hash_wherever_they_lie(model, tmp_path):
    shutil.copyfile(model, tmp_path / "other.keras")
    assert TrainedModel.read(str(model)).sha256 == TrainedModel.read(str(tmp_path / "other.keras")).sha256
    masked_lm("tiny_bert").save_to_preset(tmp_path / "preset")
    before = TrainedModel.read(str(tmp_path / "preset")).sha256
    (tmp_path / "preset" / "README.md").write_text("A card is no part of the model.")
    assert TrainedModel.read(str(tmp_path / "preset")).sha256 == before
    with open(tmp_path / "preset" / "config.json", "a") as file:
        file.write("\n")
    assert TrainedModel.read(str(tmp_path / "preset")).sha256 != before


def damaged(path, model, name, text):
    """A copy of a `.keras` file in which a part has another text, or is left out where that is `None`."""
    with zipfile.ZipFile(model) as archive, zipfile.ZipFile(path, "w") as copy:
        for part in archive.namelist():
            data = archive.read(part)
            if part.endswith(name):
                if text is None:
                    continue
                data = text(data) if callable(text) else text
            copy.writestr(part, data)
    return path


def without_sizes(data):
    config = json.loads(data)
    config["config"]["backbone"]["config"]["num_layers"] = "many"
    return json.dumps(config)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "[1]", "no object of JSON"),
        ("config.json", None, r"damaged, or no \.keras file"),
        ("config.json", "{}", "holds a None"),
        ("config.json", without_sizes, "its sizes are"),
        ("vocabulary.txt", None, r"damaged, or no \.keras file"),
    ],
)
def test_a_damaged_file_is_one_sentence(model, tmp_path, name, text, message):
    path = damaged(tmp_path / "damaged.keras", model, name, text)
    with pytest.raises(InputError, match=message) as refused:
        TrainedModel.read(str(path), "--vocabulary_from")
    assert str(refused.value).startswith(f"--vocabulary_from {path} ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "roberta"}', "is a model of type 'roberta': only BERT, Megatron-BERT and crammed-BERT"),
        ("{}", "is a model of type 'None'"),
        ("no JSON", "no object of JSON"),
        (None, r"has no config\.json"),
    ],
)
def test_a_folder_of_another_family_is_one_sentence(tmp_path, config, message):
    if config:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=message):
        TrainedModel.read(str(tmp_path))


@pytest.mark.parametrize("given", ["", "a/b/c", "no such file", "\0", "/dev/null", "x" * 5000])
def test_what_is_no_model_and_no_name_is_one_short_sentence(given):
    with pytest.raises(InputError) as refused:
        TrainedModel.read(given)
    assert str(refused.value).startswith("--initial_model ")
    assert len(str(refused.value)) < 500


def test_a_name_that_the_hub_does_not_give_is_one_sentence(monkeypatch):
    """Without a network, as here, and for a name that nobody has given."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="is no file or folder here, and was not found on the hub"):
        TrainedModel.read("budgetbert/no-such-model")
