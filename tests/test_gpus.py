import os

import pytest

from budgetbert import gpus
from budgetbert.gpus import Card

pytestmark = pytest.mark.without_backend


@pytest.fixture
def machine(tmp_path):
    """A function that makes a machine with a driver which says `told`; it returns its environment and its devices."""

    def make(told, code=0):
        (tmp_path / "nvidia0").touch()
        driver = tmp_path / "nvidia-smi"
        driver.write_text(f"#!/bin/sh\nprintf '%s' '{told}'\nexit {code}\n")
        driver.chmod(0o755)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}, (str(tmp_path / "nvidia[0-9]*"),)

    return make


def test_cards_are_those_that_the_driver_names(machine, monkeypatch):
    environment, devices = machine("NVIDIA RTX A6000, 8.6\nNVIDIA H200, 9.0\n")
    monkeypatch.setenv("PATH", environment["PATH"])
    assert gpus.found(environment, devices) == [Card("NVIDIA RTX A6000", 8.6), Card("NVIDIA H200", 9.0)]
    for hidden in ({"CUDA_VISIBLE_DEVICES": ""}, {"CUDA_VISIBLE_DEVICES": "-1"}, {"JAX_PLATFORMS": "cpu"}):
        assert gpus.found(environment | hidden, devices) == []
    assert gpus.found(environment, ("/nowhere/nvidia*",)) == []


@pytest.mark.parametrize(("told", "code"), [("", 9), ("NVIDIA GeForce GTX 680, [N/A]", 0)])
def test_a_card_that_the_driver_does_not_describe_is_a_card(machine, monkeypatch, told, code):
    environment, devices = machine(told, code)
    monkeypatch.setenv("PATH", environment["PATH"])
    assert gpus.found(environment, devices) == [Card("a GPU of NVIDIA's")]


def test_jax_may_take_nearly_all_memory_and_adds_by_the_card_s_own_instruction(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"jax": "0.10.2"}.get)
    old, new = Card("NVIDIA RTX A6000", 8.6), Card("NVIDIA H200", 9.0)
    for cards, flags in (([old, new], "--xla_gpu_ftz=true"), ([new], None), ([Card("unknown")], None)):
        environment = {}
        gpus.prepare_jax(cards, environment)
        assert environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] == ".92"
        assert environment.get("XLA_FLAGS") == flags
    asked_for = {"XLA_PYTHON_CLIENT_MEM_FRACTION": ".5", "XLA_FLAGS": "--xla_gpu_ftz=false"}
    environment = dict(asked_for)
    gpus.prepare_jax([old], environment)
    assert environment == asked_for
    nothing = {}
    gpus.prepare_jax([], nothing)
    assert nothing == {}
    monkeypatch.setattr("importlib.metadata.version", {"jax": "0.10.1"}.get)
    gpus.prepare_jax([old], nothing)
    assert "XLA_FLAGS" not in nothing


def test_a_card_that_the_backend_does_not_see_is_told_with_the_mend():
    sentence = gpus.unused([Card("NVIDIA H200", 9.0)], "jax")
    assert "has NVIDIA H200, which jax does not see" in sentence
    assert 'pip install "jax[cuda13]"' in sentence
