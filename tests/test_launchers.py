"""Which process of how many this one is, by the variables of each launcher."""

import json

import pytest

from budgetbert.errors import InputError
from budgetbert.launchers import Place, announced_backend, find_place

pytestmark = pytest.mark.without_backend

SLURM = {
    "SLURM_JOB_ID": "8123",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEP_NODELIST": "gpu[017-018]",
}
JAX = {"JAX_COORDINATOR_ADDRESS": "one:1234", "JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "2"}
TORCH = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "one", "MASTER_PORT": "29500"}


def tensorflow(index, *workers, **others):
    config = {"cluster": {"worker": workers, **others}, "task": {"type": "worker", "index": index}}
    return {"TF_CONFIG": json.dumps(config)}


def test_nobody_says_anything():
    assert [find_place(backend, {}) for backend in ("tensorflow", "jax", "torch")] == [None] * 3
    assert announced_backend({}) is None


def test_the_backends_own_variables():
    assert find_place("tensorflow", tensorflow(1, "one:1234", "two:1234")) == Place(1, 2, "one", 1234)
    assert find_place("jax", JAX) == Place(2, 3, "one", 1234)
    assert find_place("torch", TORCH) == Place(0, 2, "one", 29500)
    assert [announced_backend(given) for given in (tensorflow(0, "a:1", "b:1"), JAX, TORCH)] == [
        *("tensorflow", "jax", "torch")
    ]


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_those_of_slurm(backend):
    assert find_place(backend, SLURM) == Place(1, 2, "gpu017", 61440 + 123)


@pytest.mark.parametrize(
    ("nodes", "first"), [("a1,b2", "a1"), ("a[1,7-9],b", "a1"), ("node", "node"), ("a[03]", "a03")]
)
def test_the_first_machine_of_slurm_s_lists(nodes, first):
    assert find_place("jax", {**SLURM, "SLURM_STEP_NODELIST": nodes}).host == first


def test_one_process_is_alone_whoever_started_it():
    assert find_place("tensorflow", tensorflow(0, "one:1234")) is None
    assert find_place("jax", {**SLURM, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}) is None
    assert find_place("torch", {**TORCH, "WORLD_SIZE": "1"}) is None


def test_the_own_variables_come_before_slurm_s():
    assert find_place("jax", {**SLURM, **JAX}).count == 3


@pytest.mark.parametrize(
    ("backend", "given", "message"),
    [
        ("jax", {"JAX_COORDINATOR_ADDRESS": "one:1"}, "is set without JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        ("jax", {**JAX, "JAX_PROCESS_ID": "3"}, "say process 3 of 3: number them from 0"),
        ("jax", {**JAX, "JAX_COORDINATOR_ADDRESS": "one"}, "JAX_COORDINATOR_ADDRESS='one'.* cannot be read"),
        ("tensorflow", {"TF_CONFIG": "{"}, "TF_CONFIG='{' cannot be read"),
        ("tensorflow", tensorflow(0, "a:1", "b:1", ps=["c:1"]), "cannot be read"),
    ],
)
def test_what_makes_no_sense(backend, given, message):
    with pytest.raises(InputError, match=message):
        find_place(backend, given)


def test_slurm_alone_does_not_say_which_backend():
    with pytest.raises(InputError, match="several processes need KERAS_BACKEND"):
        announced_backend(SLURM)
