import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.command_line import InputError
from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
from budgetbert.training.checkpoint import Checkpoints, Float32Copy


def make(corpus, dtype="float32"):
    preprocessor = BertBudgetMaskedLMPreprocessor(BertBudgetTokenizer(corpus.vocabulary))
    model = BertBudgetMaskedLM.from_preset(
        "tiny_24h", load_weights=False, vocabulary_size=256, preprocessor=preprocessor, dtype=dtype
    )
    optimizer = keras.optimizers.AdamW(1e-3)
    optimizer.build(model.trainable_variables)
    return model, optimizer


def values(*owners):
    return [ops.convert_to_numpy(variable) for owner in owners for variable in owner.variables]


def test_model_and_optimizer_come_back_to_the_bit(small_corpus, tmp_path):
    model, optimizer = make(small_corpus)
    optimizer.apply([ops.ones(v.shape) for v in model.trainable_variables], model.trainable_variables)
    Checkpoints(tmp_path, model, optimizer).save(7, {"progress": {"step": 7}}, wait=True)
    other, other_optimizer = make(small_corpus)
    state = Checkpoints(tmp_path, other, other_optimizer).restore()
    assert state["progress"] == {"step": 7}
    for one, two in zip(values(optimizer), values(other_optimizer), strict=True):
        assert (one == two).all()
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert (one == two).all()


def test_the_last_few_are_kept(small_corpus, tmp_path):
    model, optimizer = make(small_corpus)
    checkpoints = Checkpoints(tmp_path, model, optimizer, keep=2)
    for step in (1, 20, 60):
        checkpoints.save(step, {"step": step}, wait=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000060"]
    assert checkpoints.restore()["step"] == 60


@pytest.mark.parametrize("damaged", ["model.keras", "optimizer.npz", "state.json"])
def test_a_corrupt_newest_checkpoint_falls_back_with_a_warning(small_corpus, tmp_path, damaged):
    model, optimizer = make(small_corpus)
    checkpoints = Checkpoints(tmp_path, model, optimizer)
    for step in (1, 2):
        checkpoints.save(step, {"step": step}, wait=True)
    path = tmp_path / "step-00000002" / damaged
    for _ in range(2):  # the way on leads to the same step again
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.warns(UserWarning, match="step-00000002 is corrupt"):
            assert checkpoints.restore()["step"] == 1
        checkpoints.save(2, {"step": 2}, wait=True)
        assert checkpoints.restore()["step"] == 2


def test_a_run_whose_checkpoints_are_all_corrupt_does_not_start_anew(small_corpus, tmp_path):
    model, optimizer = make(small_corpus)
    Checkpoints(tmp_path, model, optimizer).save(1, {"step": 1}, wait=True)
    (tmp_path / "step-00000001" / "optimizer.npz").write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(InputError, match="are corrupt: start anew"):
        Checkpoints(tmp_path, model, optimizer).restore()


def test_without_checkpoints_there_is_nothing_to_restore(small_corpus, tmp_path):
    assert Checkpoints(tmp_path / "none", *make(small_corpus)).restore() is None


def test_a_model_that_computes_in_bfloat16_is_saved_in_float32(small_corpus, tmp_path):
    model, _ = make(small_corpus, dtype="mixed_bfloat16")
    copy = Float32Copy(model)
    copy.update()
    copy.save(str(tmp_path / "model.keras"))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    layers = [layer for layer in loaded._flatten_layers() if "preprocessor" not in layer.name]
    assert not [layer.name for layer in layers if layer.compute_dtype == "bfloat16"]
    assert model.backbone.compute_dtype == "bfloat16"  # the one in use stays as it is
    for one, two in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert loaded.preprocessor.tokenizer.get_vocabulary() == small_corpus.vocabulary


def test_a_kill_between_the_renames_of_a_replacement_loses_nothing(small_corpus, tmp_path):
    checkpoints = Checkpoints(tmp_path, *make(small_corpus))
    checkpoints.save(3, {"step": 3}, wait=True)
    (tmp_path / "step-00000003").rename(tmp_path / "step-00000003.old")
    (tmp_path / "step-00000003.tmp").mkdir()
    assert checkpoints.restore()["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]


def test_what_a_rollback_may_need_is_kept_and_an_interruption_does_not_change_it(small_corpus, tmp_path):
    model, optimizer = make(small_corpus)
    checkpoints = Checkpoints(tmp_path, model, optimizer, keep=2, regular=lambda step: step % 10 == 0)
    for step in (0, 10, 20, 27, 30, 40, 43):  # 27 and 43 of interruptions
        checkpoints.save(step, {"step": step}, wait=True)
    steps = sorted(int(path.name[5:]) for path in tmp_path.iterdir())
    assert steps == [20, 27, 30, 40, 43]
    assert checkpoints.restore(before=29)["step"] == 20
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000020"]
