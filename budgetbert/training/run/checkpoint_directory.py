"""What the directory of a run's checkpoints says, read without Keras: which there are, and the state in each."""

import hashlib
import json
import os
import re

from budgetbert.files import sha256

ARRAYS, STATE = ("model.keras", "optimizer.npz"), "state.json"


def path_of(directory, step):
    """Returns the path (str) of the checkpoint of a step in a directory of checkpoints."""
    return os.path.join(directory, f"step-{step:08d}")


def steps_in(directory):
    """Returns the steps of the checkpoints in a directory, a rising list of int; empty where there is no directory."""
    return sorted(int(match[1]) for match in map(re.compile(r"step-(\d{8,})").fullmatch, _names_in(directory)) if match)


def has_checkpoint(directory):
    """Returns whether a directory holds a checkpoint that was whole once, be it sound or not."""
    return any(re.fullmatch(r"(corrupt-)?step-\d{8,}(\.old)?", name) for name in _names_in(directory))


def seconds_spent(directory):
    """Returns the seconds that the newest checkpoint in a directory says were spent, 0 where there is none to read."""
    try:
        with open(os.path.join(path_of(directory, steps_in(directory)[-1]), STATE), encoding="utf-8") as file:
            return float(json.load(file)["progress"]["seconds"])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return 0.0


def read_state(path):
    """Reads the `state.json` in the directory of a checkpoint.

    Raises:
        OSError, ValueError, KeyError, TypeError, AttributeError or RecursionError: if it is not what was written, or a
            file beside it is not.
    """
    with open(os.path.join(path, STATE), encoding="utf-8") as file:
        state = json.load(file)
    sums = dict(state["sha256"])
    if STATE in sums and sums.pop(STATE) != sha256_of_state({**state, "sha256": sums}):  # older ones have none
        raise ValueError(f"{STATE} is not what was written")
    if set(sums) != set(ARRAYS):
        raise ValueError(f"{STATE} has checksums of {', '.join(sorted(sums)) or 'no file'}")
    for file, digest in sums.items():
        if sha256(os.path.join(path, file)) != digest:
            raise ValueError(f"{file} is not what was written")
    return state


def sha256_of_state(state):
    """Returns the checksum (str) of a state, a dict that JSON can hold."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _names_in(directory):
    return os.listdir(directory) if os.path.isdir(directory) else ()
