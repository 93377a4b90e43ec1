"""Which process of how many this one is, as its launcher says in environment variables. Imports no Keras."""

import dataclasses
import json
import os
import re

from budgetbert.command_line import InputError


@dataclasses.dataclass(frozen=True)
class Place:
    """This process among those of a run.

    Args:
        rank: int. From 0; process 0 decides and writes.
        count: int. Processes, at least 2.
        host: str. Where process 0 runs.
        port: int. Where its backend listens for the others.
    """

    rank: int
    count: int
    host: str
    port: int


def find_place(backend, environment=os.environ):
    """Returns the `Place` of this process, `None` where it is alone.

    Looked at are the variables of the backend first (`TF_CONFIG` on TensorFlow; `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` on JAX; torchrun's `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` on
    torch), then those that Slurm's `srun` sets.

    Args:
        backend: str. `"tensorflow"`, `"jax"` or `"torch"`.
        environment: dict. Defaults to that of the process.

    Raises:
        InputError: if the variables are incomplete or contradict each other.
    """
    names, read = {"tensorflow": (_TENSORFLOW, _tensorflow), "jax": (_JAX, _jax), "torch": (_TORCH, _torch)}[backend]
    if names[0] not in environment:
        names, read = _SLURM, _slurm
    if names[0] not in environment:
        return None
    missing = [name for name in names if name not in environment]
    if missing:
        raise InputError(f"{names[0]} is set without {', '.join(missing)}: set all of {', '.join(names)}, or none.")
    try:
        place = read(environment)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        values = ", ".join(f"{name}={environment[name]!r}" for name in names)
        raise InputError(
            f"{values} cannot be read: see docs/TRAINING.md, Several devices, several machines."
        ) from error
    if not 0 <= place.rank < place.count:
        raise InputError(f"{names[0]} and the like say process {place.rank} of {place.count}: number them from 0.")
    return place if place.count > 1 else None


def announced_backend(environment=os.environ):
    """Returns the backend whose own variables are set, `None` where this process is alone.

    Raises:
        InputError: if only Slurm says that there are several processes, so that all of them have to be told the same.
    """
    for backend, names in (("tensorflow", _TENSORFLOW), ("jax", _JAX), ("torch", _TORCH)):
        if names[0] in environment and find_place(backend, environment):
            return backend
    if find_place("jax", environment):
        raise InputError("several processes need KERAS_BACKEND: set it to tensorflow, jax or torch for all of them.")
    return None


_TENSORFLOW = ("TF_CONFIG",)
_JAX = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
_TORCH = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID")


def _tensorflow(environment):
    config = json.loads(environment["TF_CONFIG"])
    task, workers = config["task"], config["cluster"]["worker"]
    if set(config["cluster"]) != {"worker"} or task["type"] != "worker":
        raise ValueError("only workers can train")
    host, port = workers[0].rsplit(":", 1)
    return Place(int(task["index"]), len(workers), host, int(port))


def _jax(environment):
    host, port = environment["JAX_COORDINATOR_ADDRESS"].rsplit(":", 1)
    return Place(int(environment["JAX_PROCESS_ID"]), int(environment["JAX_NUM_PROCESSES"]), host, int(port))


def _torch(environment):
    host, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    return Place(int(environment["RANK"]), int(environment["WORLD_SIZE"]), host, port)


def _slurm(environment):
    prefix, first = re.match(r"([^,\[]+)(?:\[(\w+))?", environment["SLURM_STEP_NODELIST"]).groups()
    # the ports that JAX itself takes for a job: so that two jobs on a machine rarely meet
    port = 61440 + int(environment["SLURM_JOB_ID"]) % 4000
    rank, count = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
    return Place(rank, count, prefix + (first or ""), port)
