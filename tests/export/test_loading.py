"""Model files that cannot be exported: one sentence each, and nothing of the file is run."""

import json
import os
import zipfile

import keras
import pytest

from budgetbert.command_line import InputError
from budgetbert.export.loading import load_trained

from .models import masked

pytestmark = pytest.mark.without_backend


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    masked().save(path)
    return path


def rewritten(trained, path, **changes):
    """A copy of a `.keras` file with other parts: bytes, or a function of the part's JSON; `None` leaves it out."""
    with zipfile.ZipFile(trained) as before, zipfile.ZipFile(path, "w") as after:
        for name in before.namelist():
            content, change = before.read(name), changes.get(name.split(".")[0], b"")
            if callable(change):
                config = json.loads(content)
                change(config)
                content = json.dumps(config).encode()
            elif change != b"":
                content = change
            if content is not None:
                after.writestr(name, content)
    return path


def refusal(path):
    with pytest.raises(InputError) as refused:
        load_trained(str(path))
    told = str(refused.value)
    assert "\n" not in told
    assert str(path) in told
    return told


def test_a_model_loads_with_its_tokenizer(trained):
    assert load_trained(str(trained)).preprocessor.tokenizer.vocabulary_size() > 60


def test_what_is_not_there_or_no_keras_file(trained, tmp_path):
    assert "cannot be read: No such file" in refusal(tmp_path / "none.keras")
    assert "cannot be read: Is a directory" in refusal(tmp_path)
    (tmp_path / "text.keras").write_text("no zip")
    assert "is truncated, or no .keras file" in refusal(tmp_path / "text.keras")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme", "a zip of something else")
    assert "is no .keras file" in refusal(tmp_path / "other.keras")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.999])
def test_a_truncated_file(share, trained, tmp_path):
    content = trained.read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: int(share * len(content))])
    assert "is truncated" in refusal(tmp_path / "cut.keras")


def test_a_flipped_byte(trained, tmp_path):
    content = bytearray(trained.read_bytes())
    content[len(content) // 2] ^= 255  # in the weights, by far the largest part
    (tmp_path / "flipped.keras").write_bytes(content)
    assert "the checksum of model.weights.h5 in it does not match" in refusal(tmp_path / "flipped.keras")


def test_code_in_the_file_is_not_run(trained, tmp_path):
    proof = tmp_path / "proof"
    attack = keras.Sequential([keras.layers.Lambda(lambda x, path=str(proof): os.mkdir(path) or x)])
    attack.build((None, 1))
    proof.rmdir()  # which saving it needed; loading must not make it again
    attack.save(tmp_path / "attack.keras")
    assert "holds a Sequential" in refusal(tmp_path / "attack.keras")
    function = json.loads(zipfile.ZipFile(tmp_path / "attack.keras").read("config.json"))["config"]["layers"][-1]

    def smuggle(config):
        config["config"]["backbone"] = function

    told = refusal(rewritten(trained, tmp_path / "smuggled.keras", config=smuggle))
    assert "does not load in safe mode" in told
    assert not proof.exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"config": b"{"}, "its config cannot be read"),
        ({"config": b"[]"}, "its config cannot be read"),
        ({"config": lambda config: config["config"].update(backbone=1)}, "does not load in safe mode"),
        ({"config": lambda config: config["config"]["backbone"]["config"].update(num_layers=7)}, "does not load"),
        ({"model": b"no weights"}, "does not load in safe mode"),
        ({"metadata": None}, "is no .keras file"),
        ({"config": lambda config: config.update(registered_name="keras>Other")}, "holds a Other: only a BertBudget"),
        ({"config": lambda config: config["config"].update(preprocessor=None)}, "has no vocabulary"),
    ],
)
def test_a_file_that_was_tampered_with(changes, told, trained, tmp_path):
    assert told in refusal(rewritten(trained, tmp_path / "changed.keras", **changes))


def test_an_encoder_alone_has_no_head_to_export(tmp_path):
    masked().backbone.save(tmp_path / "encoder.keras")
    assert "holds a BertBudget: only a BertBudgetMaskedLM" in refusal(tmp_path / "encoder.keras")
