"""Runs that start from a model that exists: what they take over, what they tell, and what they refuse."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.models import BertBudgetTextClassifier, BertBudgetTextClassifierPreprocessor
from budgetbert.training.pretrain import Phase
from budgetbert.training.run.directory import Run
from tests.training.runs import EVERY_STEP, RECIPE, train

CRAMMED = dataclasses.replace(RECIPE, preset="crammed_base", family="crammed")


def lines(directory, key):
    return [line for line in Run(str(directory)).lines() if key in line]


@pytest.fixture(scope="module")
def trained(small_corpus, tmp_path_factory):
    """The directory of a run of 12 steps of a crammed-BERT, which is continued by recipes of another preset."""
    directory = tmp_path_factory.mktemp("initial") / "first"
    train(small_corpus.directory, directory, recipe=CRAMMED, marks="0.5")
    return directory


@pytest.fixture(scope="module")
def continued(trained, small_corpus, tmp_path_factory):
    """The directory of a run of 12 further steps, of the academic recipe, and its model."""
    directory = tmp_path_factory.mktemp("initial") / "second"
    flags = {"initial_model": str(trained), "budget": "12steps"}
    return directory, train(small_corpus.directory, directory, log_every=EVERY_STEP, report=True, **flags)


def test_the_first_loss_is_the_last_of_the_run_before(trained, continued):
    before, after = lines(trained, "final")[0], lines(continued[0], "validation_loss")[0]
    assert after["step"] == 0
    assert after["validation_loss"] == pytest.approx(before["validation_loss"], abs=1e-5)
    assert lines(continued[0], "final")[0]["validation_loss"] < before["validation_loss"]


def test_the_architecture_is_that_of_the_model_and_the_optimizer_starts_anew(trained, continued):
    directory, model = continued
    first = keras.models.load_model(trained / "model.keras")
    theirs = first.backbone.get_config()
    assert {**model.backbone.get_config(), "name": None, "dtype": None} == {**theirs, "name": None, "dtype": None}
    assert (model.head_transform, model.output_bias) == (first.head_transform, first.output_bias)
    assert lines(directory, "learning_rate")[0]["learning_rate"] == 0  # the warm-up of a run of its own
    recipe = Run(str(directory)).read_json("recipe.json")["recipe"]
    assert (recipe["preset"], len(recipe["initial_model"])) == ("2 x 128", 64)
    assert recipe["architecture"]["gated"] is True


@pytest.mark.slow
@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["marks/0.5.keras", "checkpoints/step-00000006"])
def test_a_mark_and_a_checkpoint_are_models_too(trained, small_corpus, tmp_path, name):
    train(small_corpus.directory, tmp_path / "run", initial_model=str(trained / name), budget="1step")
    (expected,) = [line["validation_loss"] for line in lines(trained, "validation_loss") if line["step"] == 6]
    found = lines(tmp_path / "run", "validation_loss")[0]["validation_loss"]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits_and_does_not_load_the_model_again(
    trained, continued, small_corpus, tmp_path, monkeypatch
):
    copy = tmp_path / "first"
    shutil.copytree(trained, copy)
    flags = {"initial_model": str(copy), "log_every": EVERY_STEP}
    assert train(small_corpus.directory, tmp_path / "run", stop_at=0.5, **flags) is None
    loaded = []
    monkeypatch.setattr("budgetbert.training.pretrain.take_over", lambda *_: loaded.append(1) or [])
    model = train(small_corpus.directory, tmp_path / "run", **flags)
    assert not loaded
    for one, two in zip(model.get_weights(), continued[1].get_weights(), strict=True):
        assert (one == two).all()


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_run_goes_on_with_its_own_initial_model_only(trained, small_corpus, tmp_path):
    flags = {"initial_model": str(trained / "marks" / "0.5.keras"), "budget": "4steps"}
    train(small_corpus.directory, tmp_path / "run", stop_at=0.5, **flags)
    with pytest.raises(InputError, match="holds another run: its initial_model is"):
        train(small_corpus.directory, tmp_path / "run", **{**flags, "initial_model": str(trained / "model.keras")})
    with pytest.raises(InputError, match="holds another run: its preset is '2 x 128'"):
        train(small_corpus.directory, tmp_path / "run", **{**flags, "initial_model": None})


@pytest.mark.slow
@pytest.mark.any_backend
def test_what_is_new_and_what_is_left_behind_is_told(trained, small_corpus, tmp_path, capsys):
    pretrained = keras.models.load_model(trained / "model.keras")
    tokenizer = pretrained.preprocessor.tokenizer
    classifier = BertBudgetTextClassifier(
        pretrained.backbone, 2, preprocessor=BertBudgetTextClassifierPreprocessor(tokenizer, 32)
    )
    classifier.save(tmp_path / "classifier.keras")
    train(small_corpus.directory, tmp_path / "run", initial_model=str(tmp_path / "classifier.keras"), budget="1step")
    told = " ".join(capsys.readouterr().out.split())
    assert "left behind of" in told
    assert "pooler/kernel" in told and "logits/kernel" in told
    # crammed-BERT's masked-LM has no weights beside the table.
    assert "new in this run" not in told
    assert lines(tmp_path / "run", "validation_loss")[0]["validation_loss"] == pytest.approx(
        lines(trained, "final")[0]["validation_loss"], abs=1e-5
    )


@pytest.mark.slow
@pytest.mark.any_backend
def test_phases_that_share_a_corpus_read_it_in_two_orders_and_may_leave_the_blocks_as_they_are(
    trained, small_corpus, tmp_path
):
    second = Phase(batch_size=8, schedule=RECIPE.phases[0].schedule, steps=4)
    first = dataclasses.replace(second, embeddings_only=True)
    recipe = dataclasses.replace(RECIPE, phases=(first, second))
    flags = {"initial_model": str(trained), "budget": "8steps", "marks": "0.5", "checkpoint_every": "1steps"}
    model = train(small_corpus.directory, tmp_path / "run", recipe=recipe, **flags)
    paths = trained / "model.keras", tmp_path / "run" / "marks" / "0.5.keras"
    before, between = (keras.models.load_model(path) for path in paths)

    def moved(one, two):
        pairs = zip(one.backbone.weights, two.backbone.weights, strict=True)
        return {a.path for a, b in pairs if not np.array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))}

    assert moved(before, between) == {v.path for v in before.backbone.trainable_variables if "embeddings" in v.path}
    assert any(path.startswith("block_0") for path in moved(between, model))


@pytest.mark.slow
@pytest.mark.any_backend
def test_another_language_keeps_the_blocks_and_the_tokens_that_both_have(trained, small_text, tmp_path, capsys):
    options = {"vocabulary_size": 256, "lowercase": False, "validation_fraction": 0.03, "sequence_length": 32}
    other = prepare_corpus(str(small_text), tmp_path / "other", workers=1, **options)
    flags = {"initial_model": str(trained), "budget": "2steps"}
    with pytest.raises(InputError, match="was prepared with another vocabulary"):
        train(other.directory, tmp_path / "run", **flags)
    recipe = dataclasses.replace(RECIPE, new_vocabulary=True)
    model = train(other.directory, tmp_path / "run", recipe=recipe, **flags)
    assert model.preprocessor.tokenizer.get_vocabulary() == other.vocabulary
    before, after = (
        keras.models.load_model(path)
        for path in (trained / "model.keras", tmp_path / "run" / "checkpoints" / "step-00000000" / "model.keras")
    )
    kernels = [
        ops.convert_to_numpy(some.backbone.transformer_layers[0].attention.qkv.kernel) for some in (before, after)
    ]
    assert np.array_equal(*kernels)
    rows = [
        ops.convert_to_numpy(some.backbone.token_embedding.embeddings)[
            some.preprocessor.tokenizer.token_to_id("[MASK]")
        ]
        for some in (before, after)
    ]
    assert np.array_equal(*rows)
    assert "tokens are new to it" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_new_entries_behind_the_old_ones_leave_what_the_model_makes_of_old_text(
    trained, small_corpus, small_text, tmp_path
):
    (tmp_path / "text.txt").write_text(
        small_text.read_text().replace("teacher", "submarine").replace("king", "admiral")
    )
    options = {"vocabulary_from": str(trained / "model.keras"), "extend_vocabulary": 8, "sequence_length": 32}
    longer = prepare_corpus(str(tmp_path / "text.txt"), tmp_path / "longer", workers=1, **options)
    assert {"submarine", "admiral"} <= set(longer.vocabulary[len(small_corpus.vocabulary) :])
    assert longer.vocabulary[: len(small_corpus.vocabulary)] == small_corpus.vocabulary
    recipe = dataclasses.replace(RECIPE, keep_an_eye_on=str(small_corpus.directory))
    train(longer.directory, tmp_path / "run", recipe=recipe, initial_model=str(trained), budget="1step")
    old = lines(tmp_path / "run", "validation_loss")[0]["validation_old_loss"]
    # New entries take part in the softmax, so the loss of old text is a little higher.
    before = lines(trained, "final")[0]["validation_loss"]
    assert before < old < before + 0.5
