"""How much memory training takes, and how much there is."""

import dataclasses

import keras
import numpy as np

from budgetbert.errors import InputError
from budgetbert.training.plan import device as devices

# Values held per token, layer and unit of width, and per pair of positions and head, between forward and backward.
# Korthikanti et al. 2022, section 4.1, count 17 and 2.5 (34 and 5 bytes in 16 bits); JAX's compiler on a CPU, which
# keeps more, comes to twice that (docs/LOG.md, 2026-11-24).
_VALUES_PER_WIDTH = 34
_VALUES_PER_PAIR = 5
_LOGITS = 3  # with an output bias: the logits in float32, with it added, their softmax; without one half of it or less
# The estimate was up to 1.35 times off the compiler's account (docs/LOG.md, 2026-11-24); others use the machine too.
_SHARE_OF_AVAILABLE = 0.5


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that training holds at its peak.

    Args:
        parameters: int. Of the weights.
        slots: int. Of the optimizer's state.
        sums: int. Of the summed gradients.
        working: int. Of the gradients and activations of one micro-batch, or what the optimizer's step holds besides.
        source: str. `"estimated"`, `"by the compiler's account"` or `"measured"`.
    """

    parameters: int
    slots: int
    sums: int
    working: int
    source: str

    @property
    def total(self):
        return self.parameters + self.slots + self.sums + self.working

    def with_total(self, total, source):
        """Returns this with the part that is not known from shapes such that it comes to `total` bytes."""
        known = self.parameters + self.slots + self.sums
        return dataclasses.replace(self, working=max(0, int(total) - known), source=source)


class DoesNotFit(InputError):
    """Micro-batches that are worth computing do not fit into the memory."""


def activation_bytes(config, rows, sequence_length, predictions_per_row, bytes_per_value=4, remat=False):
    """Estimates the bytes that a micro-batch holds between its forward and backward pass.

    Args:
        config: dict, the configuration of a `BertBudgetMaskedLM` preset.
        rows: int. Of the micro-batch.
        sequence_length: int. Tokens per row.
        predictions_per_row: int. Positions per row that pass the masked-LM head.
        bytes_per_value: int. Of the compute dtype. Defaults to 4.
        remat: bool. Whether blocks are computed again in the backward pass: then the input of each is held, and one
            block in full. Defaults to `False`.

    Source: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4.1.
    """
    per_layer = _VALUES_PER_WIDTH * sequence_length * config["hidden_dim"]
    per_layer += _VALUES_PER_PAIR * config["num_heads"] * sequence_length**2
    layers = config["num_layers"] * per_layer
    if remat:
        layers = config["num_layers"] * sequence_length * config["hidden_dim"] + per_layer
    logits = _LOGITS * 4 * predictions_per_row * config["vocabulary_size"]
    return rows * (layers * bytes_per_value + logits)


def estimate(step, config, rows, sequence_length, predictions_per_row):
    """Returns the `Memory` of a micro-batch size: exact for what stands in variables, estimated for activations.

    Args:
        step: `Step`.
        config, rows, sequence_length, predictions_per_row: as for `activation_bytes`.
    """
    weights = _bytes(step.variables)
    bytes_per_value = 2 if keras.dtype_policies.get(step.model.dtype_policy).compute_dtype.endswith("16") else 4
    activations = activation_bytes(config, rows, sequence_length, predictions_per_row, bytes_per_value, step.remat)
    # the optimizer's step holds the scaled gradients and an intermediate result of their size
    working = weights + max(activations, weights)
    parameters, slots = _bytes(step.model.variables), _bytes(step.optimizer.variables)
    return Memory(parameters, slots, weights, working, "estimated")


def most_rows(step, config, sequence_length, predictions_per_row, available):
    """Returns the rows of a micro-batch whose activations take half of the memory that is left, at least 1.

    For devices on which running out of memory kills the process: a CPU.

    Args:
        step: `Step`, which holds weights, slots and sums already.
        config, sequence_length, predictions_per_row: as for `activation_bytes`.
        available: int. Bytes.

    Raises:
        InputError: if there is no room for the optimizer's step, which holds twice the weights besides.
    """
    fitting = _rows_that_fit(step, config, sequence_length, predictions_per_row, available)
    return max(1, int(_SHARE_OF_AVAILABLE * fitting))


def _rows_that_fit(step, config, sequence_length, predictions_per_row, available):
    """Returns the rows whose activations take all of the memory that is left, a float; raises as `most_rows`."""
    needed = 2 * _bytes(step.variables)
    if needed >= available:
        raise InputError(
            f"training holds {needed / 1e9:.1f} GB beside the model that is built, and {available / 1e9:.1f} GB are "
            "available: take a smaller --preset, or end other programs."
        )
    one = activation_bytes(config, 1, sequence_length, predictions_per_row, remat=step.remat)
    return (available - needed) / one


def check_rows(rows, step, config, sequence_length, predictions_per_row, available):
    """Raises `DoesNotFit` where a micro-batch is estimated to take more memory than is left.

    Args:
        rows: int. Of one device, as asked for.
        step, config, sequence_length, predictions_per_row, available: as for `most_rows`.
    """
    most = int(_rows_that_fit(step, config, sequence_length, predictions_per_row, available))
    if rows > most:
        mend = f"take {most:,} or less, or leave it out" if most else "take a smaller --preset, or end other programs"
        raise DoesNotFit(
            f"--micro_batch_size of {rows:,} rows on a device does not fit into the {available / 1e9:.1f} GB that are "
            f"available: {mend}."
        )


def available():
    """Returns the bytes that this device can still give to training, or `None` where nothing says so.

    On an accelerator its limit on JAX and its free memory on torch; TensorFlow tells neither. On a CPU what the kernel
    calls available, or what the container may still take if that is less.
    """
    if devices.is_accelerated():
        return _accelerator_bytes()
    limits = [_kernel_bytes(), _container_bytes()]
    return min((limit for limit in limits if limit is not None), default=None)


def _bytes(variables):
    return sum(int(np.prod(variable.shape)) * np.dtype(variable.dtype).itemsize for variable in variables)


def _accelerator_bytes():
    if keras.backend.backend() == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    if keras.backend.backend() == "torch":
        import torch

        return torch.cuda.mem_get_info()[0]
    return None


def _kernel_bytes():
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            kilobytes = next(line.split()[1] for line in file if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return None
    return 1024 * int(kilobytes)


def _container_bytes(directory="/sys/fs/cgroup"):
    """What a container (cgroup version 2) may take beyond what it holds; what it holds of files can be given up."""
    try:
        limit, held = (_read(f"{directory}/memory.{name}").strip() for name in ("max", "current"))
        files = dict(line.split() for line in _read(f"{directory}/memory.stat").splitlines())["inactive_file"]
    except (OSError, KeyError):
        return None
    return None if limit == "max" else int(limit) - int(held) + int(files)


def _read(path):
    with open(path, encoding="ascii") as file:
        return file.read()
