"""Model files that cannot be exported: one sentence each, and nothing of the file is run."""

import io
import json
import os
import shutil
import zipfile

import keras
import pytest

from budgetbert.errors import InputError
from budgetbert.models.loading import load_any, load_trained

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


def refusal(path, load=load_trained):
    with pytest.raises(InputError) as refused:
        load(str(path))
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


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from budgetbert.export.transformers_folder import write_transformers

    folder = tmp_path_factory.mktemp("hugging_face")
    write_transformers(masked("tiny_bert"), str(folder))
    return folder


def damaged(hf_folder, path, **changes):
    """A copy of a folder with other files by the first part of their names: bytes, or `None` for none."""
    shutil.copytree(hf_folder, path)
    for name, content in changes.items():
        (file,) = (file for file in path.iterdir() if file.name.split(".")[0] == name)
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"model": b"no weights"},
        {"model": None},
        {"tokenizer": b"{}"},
        {"tokenizer": b'{"version": "1.0", "model": {"type": "WordPiece", "vocab": {"a": -1}}}'},
        {"tokenizer": None, "vocab": None},
        {"tokenizer_config": b"[]"},
        {"config": b"[]"},
        {"config": b"7"},
        {"config": b"[" * 100_000},
        {"config": b'{"model_type": null}'},
        {"config": b'{"model_type": "bert", "architectures": 3}'},
        {"config": b'{"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": "x"}'},
        {"config": b'{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}'},
        {"config": b'{"registered_name": 3}'},
    ],
    ids=str,
)
def test_a_folder_that_cannot_be_read_is_one_sentence(changes, hf_folder, tmp_path):
    assert len(refusal(damaged(hf_folder, tmp_path / "damaged", **changes), load_any)) < 700


def test_a_pickle_in_a_folder_is_not_run(hf_folder, tmp_path):
    import torch

    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "proof"),)

    folder = damaged(hf_folder, tmp_path / "damaged", model=None)
    torch.save({"bert.weight": Attack()}, folder / "pytorch_model.bin")
    assert "cannot be taken over" in refusal(folder, load_any)
    assert not (tmp_path / "proof").exists()


@pytest.mark.parametrize("model_type", ["somebody", "bert"])
def test_code_of_a_folder_is_neither_run_nor_asked_for(model_type, hf_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    folder = damaged(hf_folder, tmp_path / "damaged")
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "code.Config", "AutoModelForMaskedLM": "code.Model"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": model_type, "auto_map": names}))
    (folder / "code.py").write_text(f"import os; os.mkdir({str(tmp_path / 'proof')!r})")
    if model_type == "bert":  # Which transformers knows, so that the folder's code is not needed.
        assert load_any(str(folder)).backbone.num_layers == 1
    else:
        assert "'somebody', which needs code of its own that is not run" in refusal(folder, load_any)
    assert not (tmp_path / "proof").exists()
