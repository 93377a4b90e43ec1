import json
import os
import shutil
import signal
import threading
import zipfile

import keras
import numpy as np
import pytest

from budgetbert.batches import Masking
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.store import open_corpus
from budgetbert.errors import InputError
from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
from budgetbert.training.plan import device as devices
from budgetbert.training.plan.plan import read_plan
from budgetbert.training.run import report
from budgetbert.training.run.directory import Run
from budgetbert.training.run.record import read_record
from tests.training.runs import train

LOG_KEYS = {
    *("step", "tokens", "flops", "elapsed_seconds", "budget_spent", "loss", "learning_rate", "batch_size"),
    *("mask_rate", "gradient_norm", "tokens_per_second", "mfu", "data_wait", "seconds", "device"),
}


@pytest.fixture(scope="module")
def undisturbed(small_corpus, tmp_path_factory):
    """The directory of a run of 12 steps, and its model."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    return directory, train(small_corpus.directory, directory, report=True)


def log(directory):
    return Run(str(directory)).lines()


def test_a_run_leaves_all_that_is_needed_to_believe_it(undisturbed):
    directory, _ = undisturbed
    files = ("recipe.json", "plan.json", "log.jsonl", "checkpoints", "model.keras", "vocabulary.txt", "loss.png")
    assert {*files, "report.html"} <= set(os.listdir(directory))
    lines = log(directory)
    training = [line for line in lines if "learning_rate" in line]
    validations = [line for line in lines if "validation_loss" in line]
    assert training
    assert all(set(line) >= LOG_KEYS for line in training)
    assert validations[0]["step"] == 0
    assert lines.index(validations[0]) < lines.index(training[0])
    final = lines[-1]
    assert final["final"]
    assert final["step"] == 12
    assert final["tokens"] == 12 * 8 * 32
    assert final["validation_loss"] < validations[0]["validation_loss"]
    assert set(final["seconds"]) == {"compile", "step", "data_wait", "validation", "checkpoint"}


def test_the_first_loss_is_that_of_a_uniform_guess(undisturbed, small_corpus):
    first = next(line for line in log(undisturbed[0]) if "validation_loss" in line)
    assert first["validation_loss"] == pytest.approx(np.log(len(small_corpus.vocabulary)), abs=0.3)


def test_validation_shows_none_of_the_tokens_that_it_asks_for(undisturbed, small_corpus):
    """The loss of the saved model, by hand, where every chosen token of the held-out rows is [MASK]."""
    directory, model = undisturbed
    final = log(directory)[-1]
    assert final["validation_masks"] == "[MASK] alone"
    rows = Run(str(directory)).read_json("plan.json")["validation_rows"]
    masking = Masking(0.15, small_corpus.vocabulary, small_corpus.special_ids, 0)
    original = small_corpus.rows("validation")[np.arange(rows)]
    batch = masking(original, 0)
    tokens = batch["token_ids"].copy()
    used = batch["weights"] > 0
    for row, (positions, counts) in enumerate(zip(batch["mask_positions"], used, strict=True)):
        tokens[row, positions[counts]] = small_corpus.special_ids["[MASK]"]
    inputs = {"token_ids": tokens, "padding_mask": (original != 0).astype("int32"), "segment_ids": None}
    logits = keras.ops.convert_to_numpy(model({**inputs, "mask_positions": batch["mask_positions"]})).astype("float64")
    logits -= logits.max(axis=-1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    loss = -np.take_along_axis(logs, batch["labels"][:, :, None], axis=-1)[:, :, 0][used].mean()
    assert final["validation_loss"] == pytest.approx(loss, abs=1e-4)


@pytest.mark.without_backend
def test_a_run_of_before_says_that_its_losses_are_of_another_kind(undisturbed, small_corpus, tmp_path, capsys):
    """Finished, it shows its result without a verdict; unfinished, it is not mixed with losses of today's kind."""
    finished, stopped = tmp_path / "finished", tmp_path / "stopped"
    shutil.copytree(undisturbed[0], finished)
    train(small_corpus.directory, stopped, stop_at=0.5)
    for directory in (finished, stopped):
        written = json.loads((directory / "recipe.json").read_text())
        for key in ("validation_masks", "mask_shares"):
            del written["recipe"][key]
        del written["sha256"]  # Earlier versions wrote none.
        (directory / "recipe.json").write_text(json.dumps(written))
    lines = log(finished)
    del lines[-1]["validation_masks"]
    (finished / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    capsys.readouterr()
    train(small_corpus.directory, finished)
    assert "not to be compared" in " ".join(capsys.readouterr().out.split())
    assert "unigram entropy <b>" not in report.render(read_record(str(finished)))
    assert "unigram entropy <b>" in report.render(read_record(str(undisturbed[0])))
    with pytest.raises(InputError, match="an earlier version"):
        train(small_corpus.directory, stopped)


@pytest.mark.slow
def test_a_run_with_another_optimizer_resumes_to_the_bit(small_corpus, tmp_path):
    whole = train(small_corpus.directory, tmp_path / "whole", optimizer="muon")
    train(small_corpus.directory, tmp_path / "parts", optimizer="muon", stop_at=0.5)
    parts = train(small_corpus.directory, tmp_path / "parts", optimizer="muon")
    for one, two in zip(whole.get_weights(), parts.get_weights(), strict=True):
        assert (one == two).all()
    with pytest.raises(InputError, match="holds another run: its optimizer"):
        train(small_corpus.directory, tmp_path / "parts", optimizer="lamb")


def test_the_learning_rate_follows_the_spent_budget(undisturbed):
    # the last of 12 steps starts at x = 11 / 12
    last = [line for line in log(undisturbed[0]) if "learning_rate" in line][-1]
    assert last["learning_rate"] == pytest.approx(1e-3 * (1 / 12) / 0.94)


def test_a_finished_run_gives_its_result_again_and_trains_no_more(undisturbed, small_corpus, capsys):
    directory, model = undisturbed
    before = (directory / "log.jsonl").read_bytes()
    again = train(small_corpus.directory, directory)
    assert (directory / "log.jsonl").read_bytes() == before
    assert "finished" in capsys.readouterr().out
    for one, two in zip(model.get_weights(), again.get_weights(), strict=True):
        assert (one == two).all()


@pytest.mark.parametrize("precision", ["float32", pytest.param("mixed_bfloat16", marks=pytest.mark.slow)])
def test_a_crashed_run_goes_on_to_the_same_bits(undisturbed, small_corpus, tmp_path, precision):
    directory, model = undisturbed
    if precision != "float32":  # its checkpoints are float32 all the same
        directory = tmp_path / "other"
        model = train(small_corpus.directory, directory, precision=precision)

    def crash(line, spent):  # at 60 %, between the checkpoints of steps 6 and 9
        if line["step"] == 8:
            for thread in threading.enumerate():  # on a busy machine step 6 may still be being written
                if thread.name == "checkpoint":
                    thread.join()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(small_corpus.directory, tmp_path / "crashed", precision=precision, watchers=[crash])
    resumed = train(small_corpus.directory, tmp_path / "crashed", precision=precision)
    for one, two in zip(model.get_weights(), resumed.get_weights(), strict=True):
        assert (one == two).all()
    lines = log(tmp_path / "crashed")
    assert {"resumed_from_step": 6} in lines
    after = lines[lines.index({"resumed_from_step": 6}) + 1 :]
    assert min(line["step"] for line in after) > 6
    assert lines[-1]["validation_loss"] == log(directory)[-1]["validation_loss"]


@pytest.mark.without_backend
def test_a_signal_stops_the_run_with_everything_saved(small_corpus, tmp_path, capsys):
    def preempt(line, spent):
        if line["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    assert train(small_corpus.directory, tmp_path / "run", checkpoint_every="1h", watchers=[preempt]) is None
    assert "stopped by SIGTERM after step 4" in capsys.readouterr().out.replace("\n", " ")
    with open(tmp_path / "run" / "checkpoints" / "step-00000004" / "state.json") as file:
        assert json.load(file)["progress"]["step"] == 4
    train(small_corpus.directory, tmp_path / "run", checkpoint_every="1h")
    assert log(tmp_path / "run")[-1]["step"] == 12


@pytest.mark.without_backend
def test_a_budget_in_tokens_ends_with_the_step_that_spends_it(small_corpus, tmp_path):
    train(small_corpus.directory, tmp_path / "run", budget="1000tokens")  # of 256 tokens a step
    assert log(tmp_path / "run")[-1]["step"] == 4


@pytest.mark.without_backend
def test_a_budget_in_time_is_spent_to_its_end(small_corpus, tmp_path):
    train(small_corpus.directory, tmp_path / "run", budget="8s")
    lines = log(tmp_path / "run")
    assert lines[-1]["final"]
    assert lines[-1]["budget_spent"] == 1.0


@pytest.mark.without_backend
def test_plan_only_plans_and_does_not_train(small_corpus, tmp_path, capsys):
    assert train(small_corpus.directory, tmp_path / "run", plan_only=True, budget="1h", batch_size=None) is None
    plan = Run(str(tmp_path / "run")).read_json("plan.json")
    assert plan["batch_size"] in [2**power for power in range(5, 13)]
    assert "The plan: tiny_24h for 1 h 0 min" in capsys.readouterr().out
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
@pytest.mark.without_backend
@pytest.mark.parametrize(("tokens", "ramp", "accepted"), [(80 * 32 * 32, 0.0, False), (80 * 32 * 32, 0.6, True)])
def test_plan_and_run_agree_on_what_is_too_short(small_corpus, tmp_path, capsys, tokens, ramp, accepted):
    flags = {"budget": f"{tokens}tokens", "batch_size": None, "batch_ramp": ramp}
    train(small_corpus.directory, tmp_path / "run", plan_only=True, **flags)
    steps = Run(str(tmp_path / "run")).read_json("plan.json")["steps"]
    assert (steps >= 100) == accepted  # the ramp's steps are counted
    said = " ".join(capsys.readouterr().out.split())
    assert ("A run of this plan would be refused: a budget of 81.9k tokens buys" in said) != accepted
    for directory in ("run", "without a plan"):
        if accepted:
            assert train(small_corpus.directory, tmp_path / directory, stop_at=1e-9, **flags) is None
            assert "stopped by --stop_at after step 1" in " ".join(capsys.readouterr().out.split())
            continue
        with pytest.raises(InputError, match=rf"only {steps} steps of 32 rows.*under 100 it learns nothing") as refused:
            train(small_corpus.directory, tmp_path / directory, **flags)
        assert ("give --recalibrate" in str(refused.value)) == (directory == "run")


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_plan_of_a_busy_machine_is_made_anew(small_corpus, tmp_path, capsys):
    train(small_corpus.directory, tmp_path, plan_only=True, budget="1h", batch_size=None)
    run = Run(str(tmp_path))
    plan = run.read_json("plan.json")
    phase = {**plan["phases"][0], "steps": 1, "batch_size": 32}
    run.write_json("plan.json", {**plan, "phases": [phase]})
    train(small_corpus.directory, tmp_path, plan_only=True, budget="1h", batch_size=None)
    assert run.read_json("plan.json")["steps"] == 1
    capsys.readouterr()
    train(small_corpus.directory, tmp_path, plan_only=True, budget="1h", batch_size=None, recalibrate=True)
    again = run.read_json("plan.json")
    assert again["steps"] > 1000
    assert "plan.json is there and measured again, all of it is planned anew" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_run_that_is_calibrated_again_goes_on_to_the_same_bits(undisturbed, small_corpus, tmp_path, capsys):
    assert train(small_corpus.directory, tmp_path, stop_at=0.5) is None
    before = Run(str(tmp_path)).read_json("plan.json")
    model = train(small_corpus.directory, tmp_path, recalibrate=True)
    assert "measured again, batch, micro-batch and precision stay" in " ".join(capsys.readouterr().out.split())
    after = Run(str(tmp_path)).read_json("plan.json")
    assert after["calibration_seconds"] != before["calibration_seconds"]
    assert {"resumed_from_step": 6} in log(tmp_path)
    for one, two in zip(model.get_weights(), undisturbed[1].get_weights(), strict=True):
        assert (one == two).all()


@pytest.fixture
def unmeasured():
    """The rate of matrix products is not known from an earlier run of the process, and forgotten afterwards."""
    devices.matmul_rate.cache_clear()
    yield
    devices.matmul_rate.cache_clear()


@pytest.mark.without_backend
def test_the_rate_of_matrix_products_is_measured_once_in_a_process(small_corpus, tmp_path, unmeasured, monkeypatch):
    measured = []
    monkeypatch.setattr(devices, "measure_matmul_rate", lambda dtype: measured.append(dtype) or 1e15)
    for name in ("one", "two"):
        train(small_corpus.directory, tmp_path / name, plan_only=True)
    assert measured == ["float32"]


@pytest.mark.without_backend
def test_no_mfu_above_1_is_given(small_corpus, tmp_path, unmeasured, monkeypatch, capsys):
    rates = []
    monkeypatch.setattr(devices, "measure_matmul_rate", lambda _: rates.append(1.0) or 1.0)  # FLOP/s
    train(small_corpus.directory, tmp_path, report=True)
    assert len(rates) == 2  # measured again before it is given up
    said = " ".join(capsys.readouterr().out.split())
    assert "no share of its 0 GFLOP/s of matrix products" in said
    lines = log(tmp_path)
    assert {line["mfu"] for line in lines if "learning_rate" in line} == {None}
    assert [line["incident"] for line in lines if "incident" in line] == ["matmul_rate"]
    page = (tmp_path / "report.html").read_text()
    assert "matrix products were measured on a busy machine" in page
    assert "model FLOPs of the device" not in page  # no curve, no share
    assert read_record(tmp_path).training_mfu is None


@pytest.mark.without_backend
def test_matrix_products_of_a_busy_moment_are_measured_again(small_corpus, tmp_path, unmeasured, monkeypatch):
    rates = [1e15, 1.0]
    monkeypatch.setattr(devices, "measure_matmul_rate", lambda _: rates.pop())
    train(small_corpus.directory, tmp_path, plan_only=True)
    assert Run(str(tmp_path)).read_json("plan.json")["matmul_rate"] == 1e15


def test_the_vocabulary_of_the_model_is_the_corpus_s(undisturbed, small_corpus):
    loaded = keras.models.load_model(undisturbed[0] / "model.keras")
    assert loaded.preprocessor.tokenizer.get_vocabulary() == small_corpus.vocabulary
    assert loaded.backbone.vocabulary_size % 64 == 0
    assert (undisturbed[0] / "vocabulary.txt").read_text(encoding="utf-8").split() == small_corpus.vocabulary


@pytest.mark.without_backend
def test_raw_text_is_prepared_first(small_text, tmp_path):
    train(small_text, tmp_path / "run", budget="1step")
    assert open_corpus(tmp_path / "run" / "corpus").manifest["sources"]
    assert (tmp_path / "run" / "model.keras").exists()


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_signal_before_the_first_step_is_as_good_as_any(small_corpus, tmp_path):
    def preempt(line, spent):
        os.kill(os.getpid(), signal.SIGTERM)

    assert train(small_corpus.directory, tmp_path / "run", watchers=[preempt]) is None  # step 0 was saved already
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-00000000"]
    train(small_corpus.directory, tmp_path / "run")
    assert [line["step"] for line in log(tmp_path / "run") if "validation_loss" in line].count(0) == 1


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_plan_gives_way_to_that_of_another_corpus(small_corpus, small_text, tmp_path):
    train(small_corpus.directory, tmp_path / "run", plan_only=True)
    corpus = prepare_corpus(str(small_text), tmp_path / "c", lowercase=False, sequence_length=32, workers=1)
    train(corpus.directory, tmp_path / "run", plan_only=True)
    assert Run(str(tmp_path / "run")).read_json("recipe.json")["recipe"]["corpus"] == corpus.fingerprint


@pytest.mark.without_backend
def test_a_micro_batch_that_does_not_divide_the_chosen_batch_is_refused(small_corpus, tmp_path):
    with pytest.raises(InputError, match="--batch_size 32 is not a multiple of --micro_batch_size 5"):
        train(small_corpus.directory, tmp_path / "run", budget="1Mtokens", batch_size=None, micro_batch_size=5)


@pytest.mark.without_backend
def test_a_micro_batch_that_takes_more_memory_than_there_is_is_refused(small_corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("budgetbert.training.plan.memory.available", lambda: 1e9)
    with pytest.raises(InputError, match=r"--micro_batch_size of 1,048,576 rows .* does not fit into the 1.0 GB"):
        train(small_corpus.directory, tmp_path, batch_size=2**20, micro_batch_size=2**20)


@pytest.mark.without_backend
def test_a_corpus_that_is_deleted_during_the_run_is_not_needed_at_its_end(small_corpus, tmp_path):
    shutil.copytree(small_corpus.directory, tmp_path / "corpus")

    def delete(line, spent):
        if line["step"] == 6:
            shutil.rmtree(tmp_path / "corpus", ignore_errors=True)

    assert train(tmp_path / "corpus", tmp_path / "run", watchers=[delete])
    vocabulary = (tmp_path / "run" / "vocabulary.txt").read_bytes()
    assert vocabulary == (small_corpus.directory / "vocabulary.txt").read_bytes()
    assert log(tmp_path / "run")[-1]["final"]


@pytest.mark.without_backend
@pytest.mark.parametrize("damage", ["zeros", "nothing", "a zip of something else", "another model", "a folder"])
def test_a_damaged_model_of_a_finished_run_is_told_in_one_sentence(small_corpus, finished_run, tmp_path, damage):
    shutil.copytree(finished_run, tmp_path / "run")
    path = tmp_path / "run" / "model.keras"
    if damage == "another model":
        keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)]).save(path)
    elif damage == "a zip of something else":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("config.json", "{}")
    elif damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(bytes(10_000 if damage == "zeros" else 0))
    with pytest.raises(InputError, match=r"model\.keras of a finished run .*: put the model\.keras") as refused:
        train(small_corpus.directory, tmp_path / "run")
    assert "\n" not in str(refused.value)


@pytest.mark.without_backend
class TestBadInput:
    """Each is one sentence, before anything is built."""

    @pytest.fixture(autouse=True)
    def nothing_is_built(self, monkeypatch, request):
        def build(*_, **__):
            raise AssertionError("a model was built")

        monkeypatch.setattr(BertBudgetMaskedLM, "from_preset", build)
        if "teaches_nothing" not in request.node.name:  # that one has to be measured
            monkeypatch.setattr(devices.Device, "measure", build)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"budget": "soon"}, "--budget 'soon' cannot be read"),
            ({"preset": "huge"}, "--preset huge is unknown"),
            ({"checkpoint_every": "5tokens"}, "--checkpoint_every '5tokens' cannot be read"),
            ({"early_stop": "3h:nan"}, "--early_stop '3h:nan' cannot be read"),
            ({"early_stop": "1steps:inf"}, "--early_stop '1steps:inf' cannot be read"),
            ({"early_stop": "1steps:-1"}, "--early_stop '1steps:-1' cannot be read"),
            ({"batch_size": 10, "micro_batch_size": 4}, "--batch_size 10 is not a multiple of --micro_batch_size 4"),
        ],
    )
    def test_flags_that_cannot_be_read(self, small_corpus, tmp_path, flags, message):
        with pytest.raises(InputError, match=message):
            train(small_corpus.directory, tmp_path / "run", **flags)

    def test_a_budget_that_teaches_nothing(self, small_corpus, tmp_path):
        with pytest.raises(InputError, match=r"under 100 it learns nothing.*--demo"):
            train(small_corpus.directory, tmp_path / "run", preset="bert_large", budget="1s", batch_size=None)

    def test_a_missing_or_empty_corpus(self, tmp_path):
        with pytest.raises(InputError, match="nowhere"):
            train(tmp_path / "nowhere", tmp_path / "run")
        with pytest.raises(InputError, match=r"x\.\.\. \(5,000 characters\) cannot be read: File name too long"):
            train("x" * 5000, tmp_path / "run")
        (tmp_path / "empty.txt").touch()
        with pytest.raises(InputError, match=r"empty\.txt"):
            train(tmp_path / "empty.txt", tmp_path / "run")

    def test_a_directory_that_cannot_be_made(self, small_corpus, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"file/run cannot be made"):
            train(small_corpus.directory, tmp_path / "file" / "run")

    def test_a_directory_with_another_process_at_work(self, small_corpus, tmp_path):
        other = Run(str(tmp_path / "run"))
        other.start({}, {})
        with pytest.raises(InputError, match="another process is at work"):
            train(small_corpus.directory, tmp_path / "run")

    @pytest.mark.parametrize("phases", [{}, {"phases": []}])  # The second is that of before the phases had plans.
    def test_a_plan_of_another_version(self, small_corpus, tmp_path, phases):
        run = Run(str(tmp_path))
        run.start({"seed": 1}, {})
        run.write_json("plan.json", {"steps": 1, **phases})
        assert read_plan(run) is None  # It is made anew where no step was made by it.
        run.log({"step": 1})
        with pytest.raises(InputError, match=r"plan\.json is no plan of this version: finish the run with the version"):
            read_plan(Run(str(tmp_path)))

    def test_a_truncated_shard(self, small_text, tmp_path):
        corpus = prepare_corpus(str(small_text), tmp_path / "c", vocabulary_size=256, sequence_length=32, workers=1)
        shard = next(corpus.directory.glob("train-*.npy"))
        os.truncate(shard, shard.stat().st_size - 1)
        with pytest.raises(InputError, match=shard.name):
            train(corpus.directory, tmp_path / "run")

    def test_rows_longer_than_the_model_s_positions(self, small_text, tmp_path):
        corpus = prepare_corpus(str(small_text), tmp_path / "c", vocabulary_size=256, sequence_length=520, workers=1)
        with pytest.raises(InputError, match="rows of 520 tokens, tiny_24h has 512 positions"):
            train(corpus.directory, tmp_path / "run")

    def test_a_directory_of_another_run(self, undisturbed, small_corpus):
        with pytest.raises(InputError, match=r"holds another run: its learning_rate is 0.001, asked for was 0.002"):
            train(small_corpus.directory, undisturbed[0], learning_rate=2e-3)

    def test_a_run_goes_on_with_its_own_corpus_only(self, undisturbed, small_text, tmp_path):
        corpus = prepare_corpus(str(small_text), tmp_path / "c", vocabulary_size=320, sequence_length=32, workers=1)
        with pytest.raises(InputError, match="holds another run: its vocabulary"):
            train(corpus.directory, undisturbed[0])

    def test_a_model_with_another_vocabulary_than_its_own(self, undisturbed, tmp_path):
        model = keras.models.load_model(undisturbed[0] / "model.keras")
        other = BertBudgetTokenizer([*model.preprocessor.tokenizer.get_vocabulary(), *map(str, range(1000, 1400))])
        with pytest.raises(ValueError, match=r"256 token embeddings, the preprocessor's vocabulary 656 entries"):
            BertBudgetMaskedLM(model.backbone, BertBudgetMaskedLMPreprocessor(other))
