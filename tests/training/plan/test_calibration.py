import functools
import json
import shutil

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.batches import Loader, Masking, stack
from budgetbert.errors import InputError, is_out_of_memory
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.training.plan import calibration
from budgetbert.training.plan import device as devices
from budgetbert.training.plan.calibration import Sizes, Trial, calibrate, choose_sizes, search
from budgetbert.training.plan.memory import DoesNotFit
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling
from tests.training.runs import train


@functools.cache
def what_memory_raises():
    """What the current backend raises where memory runs out, really: at 4 EiB, more than can be addressed."""
    try:
        ops.zeros((2**30, 2**30))
    except Exception as error:  # TensorFlow tries for ten seconds before it does.
        return error.with_traceback(None)
    raise AssertionError("4 EiB were found")


def out_of_memory():
    return what_memory_raises().with_traceback(None)


@pytest.fixture
def loader(small_corpus):
    masking = Masking(0.15, small_corpus.vocabulary, small_corpus.special_ids, seed=1)
    return Loader(small_corpus.rows("train"), masking, seed=1)


@pytest.fixture
def step():
    sizes = {"vocabulary_size": 256, "num_layers": 1, "dropout": 0.0}
    model = BertBudgetMaskedLM.from_preset("tiny_24h", load_weights=False, **sizes)
    return make_step(model, keras.optimizers.AdamW(), MaskedLanguageModeling())


def failing_above(step, monkeypatch, rows, error, name="accumulate"):
    """Makes a function of a step raise where the micro-batch has more rows; returns the sizes it was called with."""
    original, called, last = getattr(step, name), [], [0]
    accumulate = step.accumulate

    def remember(batches, *arguments):
        last[0] = batches["token_ids"].shape[1]
        return accumulate(batches, *arguments)

    def function(*arguments):
        size = arguments[0]["token_ids"].shape[1] if name == "accumulate" else last[0]
        called.append(size)
        if size > rows:
            raise error
        return original(*arguments)

    monkeypatch.setattr(step, "accumulate", remember)
    monkeypatch.setattr(step, name, function)
    return called


def test_each_backend_s_way_of_saying_that_memory_ran_out_is_understood():
    assert is_out_of_memory(out_of_memory())
    if keras.backend.backend() == "torch":  # on a GPU it has a class of its own
        import torch

        assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(ValueError("out of memory"))  # of other things than the device
    assert not is_out_of_memory(RuntimeError("INVALID_ARGUMENT: shapes differ"))


def test_a_micro_batch_that_does_not_fit_is_halved_until_it_does(step, loader, monkeypatch):
    before = [weight.copy() for weight in step.model.get_weights()]
    failing_above(step, monkeypatch, 4, out_of_memory())
    speed = calibrate(step, loader, loader, Sizes(16, 16), least_seconds=0.0)
    assert speed.micro_batch_size == 4
    assert [(trial.rows, trial.seconds is None) for trial in speed.trials] == [(16, True), (8, True), (4, False)]
    step.synchronize()
    for old, new in zip(before, step.model.get_weights(), strict=True):
        assert (old == new).all()
    step.accumulate(stack([loader.micro_batch(0, 4)], calibration.CALL_CAPACITY), 1, 0)
    assert np.isfinite(float(step.apply(1e-3)["gradient_norm"]))


def test_larger_micro_batches_are_tried_where_that_is_asked_for(step, loader):
    speed = calibrate(step, loader, loader, Sizes(2, 8, 8), least_seconds=0.0)
    tried = [trial.rows for trial in speed.trials]
    assert tried in ([2, 4], [2, 4, 8])
    assert speed.micro_batch_size in tried


def test_so_is_one_that_leaves_no_room_for_the_optimizer(step, loader, monkeypatch):
    failing_above(step, monkeypatch, 4, out_of_memory(), "apply")
    speed = calibrate(step, loader, loader, Sizes(8, 8), least_seconds=0.0)
    assert speed.micro_batch_size == 4
    assert [trial.rows for trial in speed.trials if trial.seconds is None] == [8]


def test_what_a_compiler_knows_not_to_fit_is_never_run(step, loader, monkeypatch):
    monkeypatch.setattr(step, "compiled_memory", lambda batches: batches["token_ids"].shape[1] * 10**9)
    monkeypatch.setattr(calibration, "available", lambda: 6 * 10**9)
    ran = failing_above(step, monkeypatch, 64, None)
    speed = calibrate(step, loader, loader, Sizes(16, 16), least_seconds=0.0)
    assert set(ran) == {4}
    assert speed.memory == (4 * 10**9, "by the compiler's account")


def test_a_micro_batch_that_was_asked_for_is_not_replaced(step, loader, monkeypatch):
    failing_above(step, monkeypatch, 4, out_of_memory())
    with pytest.raises(InputError, match=r"--micro_batch_size 8 does not fit .* take 4, or leave it out"):
        calibrate(step, loader, loader, Sizes(8, 8, asked_for=True), least_seconds=0.0)


def test_where_nothing_fits_the_mend_is_named(step, loader, monkeypatch):
    failing_above(step, monkeypatch, 0, out_of_memory())
    with pytest.raises(InputError, match=r"not even one row .* smaller --preset"):
        calibrate(step, loader, loader, Sizes(2, 2), least_seconds=0.0)


def test_any_other_error_is_nobody_s_to_hide(step, loader, monkeypatch):
    failing_above(step, monkeypatch, 4, RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        calibrate(step, loader, loader, Sizes(8, 8), least_seconds=0.0)


@pytest.mark.without_backend
class TestSearch:
    @staticmethod
    def attempt(seconds_per_row):
        """A trial with a time per row for each size; sizes without one do not fit."""

        def attempt(rows):
            if rows not in seconds_per_row:
                raise MemoryError
            return Trial(rows, rows * seconds_per_row[rows])

        return attempt

    def test_doubles_as_long_as_that_saves_3_percent_per_row(self):
        best, trials = search(self.attempt({64: 1.0, 128: 0.8, 256: 0.78, 512: 0.1}), Sizes(64, 1024))
        assert best.rows == 128
        assert [trial.rows for trial in trials] == [64, 128, 256]

    def test_ends_at_the_largest_or_where_memory_does(self):
        faster = {64: 1.0, 128: 0.8, 256: 0.6}
        assert search(self.attempt(faster), Sizes(64, 256))[0].rows == 256
        best, trials = search(self.attempt(faster), Sizes(64, 1024))
        assert best.rows == 256
        assert trials[-1] == Trial(512, None)

    def test_after_halving_it_does_not_double_again(self):
        best, trials = search(self.attempt({16: 1.0, 32: 0.5}), Sizes(64, 1024))
        assert best.rows == 32
        assert [trial.rows for trial in trials] == [64, 32]

    def test_halves_and_doubles_divide_the_batch(self):
        assert search(self.attempt({6: 1.0}), Sizes(12, 12, 24))[0].rows == 6
        assert search(self.attempt({3: 1.0, 4: 0.1}), Sizes(8, 8, 9))[0].rows == 3
        assert search(self.attempt({8: 1.0, 16: 0.1}), Sizes(8, 64, 24))[0].rows == 8

    def test_takes_no_more_time_than_it_was_given(self):
        clock = iter(range(0, 1000, 10))
        _, trials = search(
            self.attempt({2**power: 0.5**power for power in range(12)}), Sizes(1, 2048), 45, lambda: next(clock)
        )
        assert 2 <= len(trials) <= 4

    def test_compilation_takes_none_of_that_time(self):
        clock = [0.0]

        def attempt(rows):
            trial = Trial(rows, 5 / rows, first_seconds=100 + 5 / rows)
            clock[0] += trial.first_seconds + 3
            return trial

        _, trials = search(attempt, Sizes(1, 1024), 45, lambda: clock[0])
        assert len(trials) == 11


@pytest.mark.without_backend
class TestSizes:
    def test_a_cpu_s_micro_batch_takes_about_a_second_and_is_a_power_of_two_up_to_64(self):
        # 3.6 GFLOP per row of mini at 362 GFLOP/s: 100 rows a second
        assert choose_sizes(3.6e9, 362e9, 4096, 128) == Sizes(64, 64)
        assert choose_sizes(240e9, 362e9, 4096, 128) == Sizes(1, 1)
        assert choose_sizes(3.6e9, 36e9, 4096, 128) == Sizes(8, 8)
        assert choose_sizes(3.6e9, 362e9, 24, 128) == Sizes(16, 16)
        assert choose_sizes(3.6e9, 362e9, 24, 128, 24) == Sizes(12, 12, 24)

    def test_an_accelerator_starts_with_8192_tokens_and_goes_up_to_a_second(self, monkeypatch):
        monkeypatch.setattr(devices, "is_accelerated", lambda: True)
        assert choose_sizes(240e9, 400e12, 4096, 128) == Sizes(64, 1024, least=8)  # BERT-large: 1,667 rows a second
        assert choose_sizes(960e9, 400e12, 4096, 512) == Sizes(16, 256, least=2)
        assert choose_sizes(3.6e9, 400e12, 4096, 128) == Sizes(64, 4096, least=8)  # the published batch
        assert choose_sizes(240e9, 400e12, 32, 128, 32) == Sizes(32, 32, 32, least=8)
        assert choose_sizes(240e9, 400e12, 4, 128, 4) == Sizes(4, 4, 4, least=4)

    def test_one_with_much_memory_starts_with_32768(self, monkeypatch):
        monkeypatch.setattr(devices, "is_accelerated", lambda: True)
        monkeypatch.setattr(calibration, "available", lambda: 130e9)
        assert choose_sizes(240e9, 400e12, 4096, 128) == Sizes(256, 1024, least=8)
        monkeypatch.setattr(calibration, "available", lambda: 11e9)
        assert choose_sizes(240e9, 400e12, 4096, 128) == Sizes(64, 1024, least=8)

    def test_fewer_than_1024_tokens_are_not_worth_it_on_an_accelerator(self):
        sizes = Sizes(64, 64, least=8).times(2)
        assert sizes.below(32, MemoryError()).first == 16
        with pytest.raises(DoesNotFit, match="not even 16 rows at a time fit into the memory"):
            sizes.below(16, MemoryError())


@pytest.fixture(scope="module")
def planned(small_corpus, tmp_path_factory):
    """The directory of a run that was planned with `--plan_only`."""
    directory = tmp_path_factory.mktemp("plan") / "planned"
    flags = {"batch_ramp": 0.6, "mask_rate": "0.30:0.15", "price_per_hour": 2.0}
    train(small_corpus.directory, directory, plan_only=True, budget="2steps", **flags)
    return directory


@pytest.mark.without_backend
class TestARunAfterItsPlan:
    """A plan that fits device, backend and config stands for calibration."""

    @pytest.fixture
    def again(self, small_corpus, planned, tmp_path, monkeypatch):
        """Starts the planned run where nothing can be calibrated; flags may differ."""

        def measure(*_, **__):
            raise AssertionError("calibrated again")

        def start(**flags):
            shutil.copytree(planned, tmp_path / "run", dirs_exist_ok=True)
            monkeypatch.setattr(calibration, "calibrate", measure)
            monkeypatch.setattr(devices.Device, "measure", measure)
            flags = {"budget": "2steps", "batch_ramp": 0.6, "mask_rate": "0.30:0.15", **flags}
            return train(small_corpus.directory, tmp_path / "run", **flags)

        return start

    def test_is_not_calibrated_again(self, planned, again, tmp_path, capsys):
        assert again() is not None
        assert "calibrated before" in capsys.readouterr().out
        before, after = (
            {**json.loads((directory / "plan.json").read_text()), "finish": None, "cost": None, "sha256": None}
            for directory in (planned, tmp_path / "run")
        )
        assert before == after

    def test_is_calibrated_again_with_another_config_or_device(self, again, monkeypatch):
        with pytest.raises(AssertionError, match="calibrated again"):
            again(budget="3steps")
        monkeypatch.setattr(devices, "device_name", lambda: "another device")
        with pytest.raises(AssertionError, match="calibrated again"):
            again()

    def test_finds_its_curves_as_a_picture_its_end_and_its_cost(self, planned):
        assert (planned / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
        plan = json.loads((planned / "plan.json").read_text())
        assert plan["planned_at"] <= plan["finish"]
        assert plan["cost"] == pytest.approx(2.0 * plan["seconds"] / 3600)
