import keras
import pytest

from budgetbert import gpus, hardware
from budgetbert.training.plan import device


def test_the_matmul_rate_is_that_of_a_computer_and_is_measured_at_each_call():
    rates = [hardware.measure_matmul_rate("float32") for _ in range(3)]
    assert all(1e8 < rate < 1e16 for rate in rates)
    assert len(set(rates)) > 1  # A clock of nanoseconds does not say the same three times.


def test_a_plan_measures_the_matmul_rate_once_in_a_process():
    assert device.matmul_rate("float32") == device.matmul_rate("float32")


@pytest.mark.parametrize("card", [False, True])
def test_tensorflow_leaves_the_gpu_to_another_backend(card, monkeypatch):
    tensorflow, hidden = pytest.importorskip("tensorflow"), []
    # Nothing can be seen of it where there is no GPU, so that the call itself is watched.
    monkeypatch.setattr(tensorflow.config, "set_visible_devices", lambda *arguments: hidden.append(arguments))
    monkeypatch.setattr(gpus, "are_there", lambda: card)
    hardware.hide_gpus_from_tensorflow()
    assert hidden == ([([], "GPU")] if card and keras.backend.backend() != "tensorflow" else [])
