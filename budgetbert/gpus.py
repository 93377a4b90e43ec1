"""NVIDIA's cards in this machine, and what JAX has to be told of them before it starts. Imports no backend."""

import dataclasses
import glob
import importlib.metadata
import os
import subprocess

# JAX's own default leaves a quarter of the memory idle.
_MEMORY_FRACTION = ".92"
# They add float32 numbers to memory by comparing and swapping on cards before Hopper, which takes up to 2,000 times as
# long where many add to one place, as the gradient of an embedding does (openxla/xla issue 46225).
_SLOW_SCATTERS = ("0.10.2", "0.11.0")
_HOPPER = 9.0
# The second is that of Windows' subsystem for Linux.
_DEVICES = ("/dev/nvidia[0-9]*", "/dev/dxg")
_INSTALL = {
    "tensorflow": 'pip install "tensorflow[and-cuda]"',
    "jax": 'pip install "jax[cuda13]"',
    "torch": "pip install torch from https://pytorch.org/get-started/locally",
}


@dataclasses.dataclass(frozen=True)
class Card:
    """One GPU.

    Args:
        name: str.
        capability: float or `None`. Its compute capability, where the driver says it.
    """

    name: str
    capability: float | None = None


def are_there(environment=os.environ, devices=_DEVICES):
    """Returns whether this machine has a card that is not hidden from this process on purpose.

    Args:
        environment: dict. Defaults to that of the process.
        devices: tuple of str. Patterns of the files that the driver makes.
    """
    hidden = environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or environment.get("JAX_PLATFORMS") == "cpu"
    return not hidden and any(map(glob.glob, devices))


def found(environment=os.environ, devices=_DEVICES):
    """Returns the `Card`s of this machine, by `nvidia-smi`; arguments as for `are_there`."""
    if not are_there(environment, devices):
        return []
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True, env=environment).stdout
        lines = [line.rpartition(",") for line in told.splitlines() if "," in line]
        return [Card(name.strip(), float(capability)) for name, _, capability in lines]
    except (OSError, subprocess.SubprocessError, ValueError):
        return [Card("a GPU of NVIDIA's")]


def prepare_jax(cards, environment=os.environ):
    """Sets what JAX reads from the environment when it starts, unless the user has set it.

    Args:
        cards: list of `Card`.
        environment: dict that is changed. Defaults to that of the process.
    """
    if not cards:
        return
    environment.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", _MEMORY_FRACTION)
    flags, slow = environment.get("XLA_FLAGS", ""), importlib.metadata.version("jax") in _SLOW_SCATTERS
    if slow and "xla_gpu_ftz" not in flags and any((card.capability or _HOPPER) < _HOPPER for card in cards):
        # With denormal numbers taken for 0, the card's own addition is exact enough for the compiler.
        environment["XLA_FLAGS"] = f"{flags} --xla_gpu_ftz=true".strip()


def unused(cards, backend):
    """Returns the sentence that says that a backend (str) sees none of the cards (list of `Card`), and the mend."""
    return (
        f"This machine has {cards[0].name}, which {backend} does not see, so a CPU does the work: "
        f'{_INSTALL[backend]}, or choose another KERAS_BACKEND (docs/RECIPES.md, "Installing").'
    )
