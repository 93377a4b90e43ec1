"""Which process of how many this one is, as its launcher says in environment variables. Imports no Keras."""

import dataclasses
import json
import os
import re

from budgetbert.errors import InputError


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

    The backend's own variables are read first: `TF_CONFIG` on TensorFlow; `JAX_COORDINATOR_ADDRESS`,
    `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` on JAX; torchrun's `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` on
    torch. Where they are not set, those of Slurm's `srun` are read.

    Args:
        backend: str. `"tensorflow"`, `"jax"` or `"torch"`.
        environment: dict. Defaults to that of the process.

    Raises:
        InputError: if the variables are incomplete or contradict each other.
    """
    names, read = _LAUNCHERS[backend]
    if names[0] not in environment:
        names, read = _LAUNCHERS["slurm"]
    if names[0] not in environment:
        return None
    missing = [name for name in names if name not in environment]
    if missing:
        raise InputError(f"{names[0]} is set without {', '.join(missing)}: set all of {', '.join(names)}, or none.")
    try:
        place = Place(*read(*(environment[name] for name in names)))
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
    for backend in ("tensorflow", "jax", "torch"):
        if _LAUNCHERS[backend][0][0] in environment and find_place(backend, environment):
            return backend
    if find_place("jax", environment):
        raise InputError("several processes need KERAS_BACKEND: set it to tensorflow, jax or torch for all of them.")
    return None


def _tensorflow(config):
    config = json.loads(config)
    task, workers = config["task"], config["cluster"]["worker"]
    if set(config["cluster"]) != {"worker"} or task["type"] != "worker":
        raise ValueError("only workers can train")
    host, port = workers[0].rsplit(":", 1)
    return int(task["index"]), len(workers), host, int(port)


def _jax(address, count, rank):
    host, port = address.rsplit(":", 1)
    return int(rank), int(count), host, int(port)


def _torch(count, rank, host, port):
    return int(rank), int(count), host, int(port)


def _slurm(count, rank, nodes, job):
    prefix, first = re.match(r"([^,\[]+)(?:\[(\w+))?", nodes).groups()
    # JAX itself takes these ports for a job, so that two jobs on a machine rarely meet.
    return int(rank), int(count), prefix + (first or ""), 61440 + int(job) % 4000


# The variables of each launcher, the decisive one first, and the function that reads a place from their values.
_LAUNCHERS = {
    "tensorflow": (("TF_CONFIG",), _tensorflow),
    "jax": (("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"), _jax),
    "torch": (("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"), _torch),
    "slurm": (("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID"), _slurm),
}
