import hashlib
import json
import random

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.errors import InputError
from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
from budgetbert.training.loop.guards import LossGuard
from budgetbert.training.loop.state import check_state
from budgetbert.training.run.checkpoint_directory import read_state
from budgetbert.training.run.checkpoints import Checkpoints
from budgetbert.training.run.float32_copy import Float32Copy


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


STATE = {
    "progress": {"step": 2, "rows": 16, "tokens": 512, "flops": 1.5e9, "seconds": 3.25, "phase_rows": [16]},
    "micro_batches": 4,
    "seconds": {"compile": 0.5, "step": 1.25},
    "durations": {"validation": 0.125},
    "guard": {"skipped": 0, "in_a_row": 0, "rollbacks": 0, "losses": [5.5625, 5.4375]},
    "phase": 0,
    "validations": [{"step": 2, "phase": 1, "validation_loss": 5.5}],
    "passed": 1,
    "verdict": None,
    "step": {"seeds": [[0, 7]], "loss_scale": None},
}


def two_checkpoints(corpus, directory):
    """Saves the steps 1 and 2 with whole states; returns `Checkpoints` and the directory of step 2."""
    checkpoints = Checkpoints(directory, *make(corpus))
    for step in (1, 2):
        checkpoints.save(step, {**STATE, "progress": {**STATE["progress"], "step": step}}, wait=True)
    return checkpoints, directory / "step-00000002"


def write_sums(path):
    """Makes a state say that all files beside it are as they were written, and itself."""
    state = json.loads((path / "state.json").read_text())
    sums = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("model.keras", "optimizer.npz")}
    state["sha256"] = dict(sums)
    sums["state.json"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (path / "state.json").write_text(json.dumps({**state, "sha256": sums}))


@pytest.mark.without_backend
def test_no_state_with_a_flipped_bit_is_taken_for_sound(small_corpus, tmp_path):
    _, path = two_checkpoints(small_corpus, tmp_path)
    file, generator = path / "state.json", random.Random(0)
    written, sound, refused = file.read_bytes(), read_state(path), 0
    damaged = [written[:length] for length in range(0, len(written), 40)]
    for _ in range(400):
        flipped = bytearray(written)
        flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
        damaged.append(bytes(flipped))
    for content in damaged:
        file.write_bytes(content)
        try:
            assert read_state(path) == sound, content
        except AssertionError:
            raise
        except Exception:
            refused += 1
    assert refused > 0.98 * len(damaged)  # 1e9 and 1E9 are one number


@pytest.mark.without_backend
@pytest.mark.parametrize("content", ["null", "[]", "5", "{}", '{"sha256": {}}', '{"sha256": []}', "[" * 100_000])
def test_a_state_of_another_kind_falls_back(small_corpus, tmp_path, content):
    checkpoints, path = two_checkpoints(small_corpus, tmp_path)
    (path / "state.json").write_text(content)
    with pytest.warns(UserWarning, match="step-00000002 is corrupt"):
        assert checkpoints.restore(check=check_state)["progress"]["step"] == 1


@pytest.mark.without_backend
def test_a_state_from_before_there_were_checksums_of_it_opens_and_a_damaged_one_falls_back(small_corpus, tmp_path):
    checkpoints, path = two_checkpoints(small_corpus, tmp_path)
    state = json.loads((path / "state.json").read_text())
    del state["sha256"]["state.json"]
    (path / "state.json").write_text(json.dumps(state))
    assert checkpoints.restore(check=check_state)["progress"]["step"] == 2
    for damage in (
        {"guard": {}},
        {"passed": "1"},
        {"phase": 1},
        {"micro_batches": None},
        {"verdict": 5},
        {"marked": -0.5},
        {"step": []},
        {"step": {**STATE["step"], "loss_divisor": 0}},
        {"step": {**STATE["step"], "loss_divisor": "8"}},
        {"validations": [{"step": 2}]},
        {"seconds": {"step": "x"}},
        {"progress": {**STATE["progress"], "tokens": -1}},
        {"progress": {**STATE["progress"], "rows": 1.5}},
        {"progress": {**STATE["progress"], "step": 3}},
        {"progress": {"step": 2}, "x": 1},
    ):
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            check_state(2, {**state, **damage})
    (path / "state.json").write_text(json.dumps({**state, "passed": None}))
    with pytest.warns(UserWarning, match="step-00000002 is corrupt"):
        assert checkpoints.restore(check=check_state)["progress"]["step"] == 1


@pytest.mark.without_backend
def test_checkpoints_of_an_earlier_version_are_refused_and_stay_as_they_are(small_corpus, tmp_path):
    checkpoints, _ = two_checkpoints(small_corpus, tmp_path)
    for step in (1, 2):
        state = {name: value for name, value in STATE.items() if name not in ("validations", "step")}
        checkpoints.save(step, {**state, "update": STATE["step"]}, wait=True)
    with pytest.raises(InputError, match=r"of an earlier version.*finish the run with that version"):
        checkpoints.restore(check=check_state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000001", "step-00000002"]


@pytest.mark.parametrize("damaged", ["model.keras", "optimizer.npz", "fewer variables"])
def test_files_that_cannot_be_loaded_although_their_sums_match_fall_back(small_corpus, tmp_path, damaged):
    checkpoints, path = two_checkpoints(small_corpus, tmp_path)
    if damaged == "fewer variables":
        np.savez(path / "optimizer.npz", np.zeros(3))
    else:
        (path / damaged).write_bytes(b"PK nothing of the kind")
    write_sums(path)
    with pytest.warns(UserWarning, match="step-00000002 is corrupt"):
        assert checkpoints.restore(check=check_state)["progress"]["step"] == 1


@pytest.mark.without_backend
def test_a_checkpoint_under_the_name_of_another_step_falls_back(small_corpus, tmp_path):
    checkpoints, path = two_checkpoints(small_corpus, tmp_path)
    path.rename(tmp_path / "step-00000055")
    with pytest.warns(UserWarning, match="step-00000055 is corrupt .*another step"):
        assert checkpoints.restore(check=check_state)["progress"]["step"] == 1


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
    regular = {"regular": lambda step: step % 10 == 0, "first_wrong": LossGuard.first_wrong}
    checkpoints = Checkpoints(tmp_path, model, optimizer, keep=2, **regular)
    for step in (0, 10, 20, 27, 30, 40, 43):  # 27 and 43 of interruptions
        checkpoints.save(step, {"step": step}, wait=True)
    steps = sorted(int(path.name[5:]) for path in tmp_path.iterdir())
    assert steps == [20, 27, 30, 40, 43]
    assert checkpoints.restore(before=29)["step"] == 20
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000020"]
