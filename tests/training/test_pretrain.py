import json
import os
import signal
import threading
import types

import keras
import numpy as np
import pytest

from budgetbert.command_line import InputError
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.store import open_corpus
from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer
from budgetbert.training import job
from budgetbert.training import plan as planning
from budgetbert.training import pretrain as pretraining
from budgetbert.training.run import Run
from tests.training.runs import train

LOG_KEYS = {
    *("step", "tokens", "flops", "elapsed_seconds", "budget_spent", "loss", "learning_rate", "batch_size"),
    *("mask_rate", "gradient_norm", "tokens_per_second", "mfu", "data_wait", "seconds", "device"),
}


@pytest.fixture(scope="module")
def undisturbed(small_corpus, tmp_path_factory):
    """The directory of a run of 12 steps, and its model."""
    directory = tmp_path_factory.mktemp("runs") / "undisturbed"
    return directory, train(small_corpus.directory, directory)


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


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_crashed_run_goes_on_to_the_same_bits(undisturbed, small_corpus, tmp_path, monkeypatch, precision):
    directory, model = undisturbed
    if precision != "float32":  # its checkpoints are float32 all the same
        directory = tmp_path / "other"
        model = train(small_corpus.directory, directory, precision=precision)
    display = job.Display.__call__

    def crash(self, line, fraction):  # at 60 %, between the checkpoints of steps 6 and 9
        if line["step"] == 8:
            for thread in threading.enumerate():  # on a busy machine step 6 may still be being written
                if thread.name == "checkpoint":
                    thread.join()
            raise KeyboardInterrupt
        display(self, line, fraction)

    monkeypatch.setattr(job.Display, "__call__", crash)
    with pytest.raises(KeyboardInterrupt):
        train(small_corpus.directory, tmp_path / "crashed", precision=precision)
    monkeypatch.undo()
    resumed = train(small_corpus.directory, tmp_path / "crashed", precision=precision)
    for one, two in zip(model.get_weights(), resumed.get_weights(), strict=True):
        assert (one == two).all()
    lines = log(tmp_path / "crashed")
    assert {"resumed_from_step": 6} in lines
    after = lines[lines.index({"resumed_from_step": 6}) + 1 :]
    assert min(line["step"] for line in after) > 6
    assert lines[-1]["validation_loss"] == log(directory)[-1]["validation_loss"]


@pytest.mark.without_backend
def test_a_signal_stops_the_run_with_everything_saved(small_corpus, tmp_path, monkeypatch, capsys):
    display = job.Display.__call__

    def preempt(self, line, fraction):
        display(self, line, fraction)
        if line["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job.Display, "__call__", preempt)
    assert train(small_corpus.directory, tmp_path / "run", checkpoint_every="1h") is None
    assert "stopped by SIGTERM after step 4" in capsys.readouterr().out.replace("\n", " ")
    with open(tmp_path / "run" / "checkpoints" / "step-00000004" / "state.json") as file:
        assert json.load(file)["progress"]["step"] == 4
    monkeypatch.undo()
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


@pytest.mark.without_backend
def test_a_signal_before_the_first_step_is_as_good_as_any(small_corpus, tmp_path, monkeypatch):
    display = job.Display.__call__

    def preempt(self, line, fraction):
        display(self, line, fraction)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(job.Display, "__call__", preempt)
    assert train(small_corpus.directory, tmp_path / "run") is None  # step 0 was saved already
    assert os.listdir(tmp_path / "run" / "checkpoints") == ["step-00000000"]
    monkeypatch.undo()
    train(small_corpus.directory, tmp_path / "run")
    assert [line["step"] for line in log(tmp_path / "run") if "validation_loss" in line].count(0) == 1


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
class TestBadInput:
    """Each is one sentence, before anything is built."""

    @pytest.fixture(autouse=True)
    def nothing_is_built(self, monkeypatch, request):
        def build(*_):
            raise AssertionError("a model was built")

        monkeypatch.setattr(pretraining.Job, "build", build)
        if "teaches_nothing" not in request.node.name:  # that one has to be measured
            monkeypatch.setattr(pretraining.devices.Device, "measure", build)

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ({"budget": "soon"}, "--budget 'soon' cannot be read"),
            ({"preset": "huge"}, "--preset huge is unknown"),
            ({"checkpoint_every": "5tokens"}, "--checkpoint_every '5tokens' cannot be read"),
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

    def test_a_plan_of_another_version(self, small_corpus, tmp_path):
        (tmp_path / "plan.json").write_text('{"steps": 1}')
        with pytest.raises(InputError, match=r"plan\.json is no plan of this version"):
            planning.read_plan(types.SimpleNamespace(read_json=lambda _: {"steps": 1}, path=tmp_path.joinpath))

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
