"""What the benchmarks share: flags, what a preset is trained with, our step, timing in turn, and the memory held."""

import contextlib
import ctypes
import dataclasses
import gc
import json
import math
import os
import pathlib
import sys
import time

from absl import flags

FIRST_ID, LEARNING_RATE = 5, 1e-3
# Calls of a turn are fetched together, so that the fetch of a short one does not count.
_TURN_SECONDS = 0.25
_PROCESS = pathlib.Path("/proc/self")


def define_flags(*, preset, seconds=None, rows=None, backends=("tensorflow", "jax", "torch")):
    """Defines the flags that several benchmarks have: --preset, --backend, --precision, --json, --seconds and --rows.

    Args:
        preset: str. Default of --preset.
        seconds: float. Default of --seconds; there is no such flag without it.
        rows: int. Default of --rows; there is no such flag without it.
        backends: tuple of str. What --backend can be, the default first.
    """
    flags.DEFINE_string("preset", preset, "Architecture.")
    flags.DEFINE_enum("backend", backends[0], backends, "Keras backend.")
    flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16"], "Dtype policy of ours.")
    flags.DEFINE_string("json", None, "File for the figures.")
    if seconds:
        flags.DEFINE_float("seconds", seconds, "How long to measure, for all together.", 0.1)
    if rows:
        flags.DEFINE_integer("rows", rows, "Rows in a batch, which is one micro-batch.", 1)


@dataclasses.dataclass(frozen=True)
class Setup:
    """Settings of a recipe that cost time.

    Args:
        mask_rate: float.
        dropout: bool. Whether the preset's dropout is active.
        clip_norm: float or `None`. Of the gradient's global norm.
        beta_2, epsilon: float. AdamW's, beside beta_1 0.9 and weight decay 0.01.
        sequence_length: int. Tokens per row. Defaults to 128.
    """

    mask_rate: float
    dropout: bool
    clip_norm: float | None
    beta_2: float
    epsilon: float
    sequence_length: int = 128


# A test compares the first two with recipes/academic_24h.py and recipes/cramming_24h.py. LAMB's recipe has an optimizer
# that PyTorch lacks, so BERT has that of its paper (Devlin et al. 2018, appendix A.2, and its code).
SETUPS = {
    "24h": Setup(mask_rate=0.15, dropout=True, clip_norm=None, beta_2=0.98, epsilon=1e-6),
    "crammed": Setup(mask_rate=0.25, dropout=False, clip_norm=0.5, beta_2=0.98, epsilon=1e-12),
    "bert": Setup(mask_rate=0.15, dropout=True, clip_norm=1.0, beta_2=0.999, epsilon=1e-6),
}


def setup_of(preset):
    """Returns the `Setup` of a preset's family."""
    return SETUPS[next((family for family in ("24h", "crammed") if family in preset), "bert")]


def start(backend, preset):
    """Chooses the Keras backend, before Keras is imported, and returns a preset's configuration.

    Ends the program if there is no such preset.
    """
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # JAX leaves PyTorch its half of a GPU.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".45")
    from budgetbert.presets import PRESETS

    if preset not in PRESETS:
        sys.exit(f"--preset {preset} is unknown: take one of {', '.join(PRESETS)}.")
    return {**PRESETS[preset]["backbone"], **PRESETS[preset]["masked_lm"]}


def make_rows(rows, vocabulary_size, setup):
    """Returns rows of words with natural (Zipf) frequencies, an int array."""
    import numpy as np

    shape = (rows, setup.sequence_length)
    return np.random.default_rng(0).zipf(1.3, shape) % (vocabulary_size - FIRST_ID) + FIRST_ID


def make_masking(vocabulary_size, setup):
    """Returns the `Masking` of such rows."""
    from budgetbert.batches import Masking

    special = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    vocabulary = [*special, *map(str, range(vocabulary_size - FIRST_ID))]
    return Masking(setup.mask_rate, vocabulary, special, seed=0)


def masked_rows(rows, vocabulary_size, setup):
    """Returns a batch of such rows, masked."""
    return make_masking(vocabulary_size, setup)(make_rows(rows, vocabulary_size, setup), 0)


def make_step(preset, precision, setup, devices=None, **sizes):
    """Returns the `Step` of a fresh model.

    Args:
        preset: str.
        precision: str. A dtype policy.
        setup: `Setup`.
        devices: `Devices` of `budgetbert.training.step`. Defaults to one device.
        **sizes: of the encoder, in place of the preset's.
    """
    import keras

    from budgetbert import BertBudgetMaskedLM
    from budgetbert.optimizers import exclude_from_weight_decay
    from budgetbert.training.step import base
    from budgetbert.training.step.objectives import MaskedLanguageModeling

    keras.utils.set_random_seed(0)
    with devices.scope() if devices else contextlib.nullcontext():
        model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dtype=precision, **sizes)
        optimizer = keras.optimizers.AdamW(
            LEARNING_RATE, beta_1=0.9, beta_2=setup.beta_2, epsilon=setup.epsilon, weight_decay=0.01
        )
        exclude_from_weight_decay(optimizer, model.trainable_variables)
        return base.make_step(model, optimizer, MaskedLanguageModeling(setup.dropout), setup.clip_norm, devices)


def make_runner(step, batch):
    """Returns a function that runs one optimizer step of a `Step` on `batch`, as one micro-batch."""
    batches = {name: array[None] for name, array in batch.items()}

    def run():
        step.accumulate(batches, 1, 0)
        return step.apply(LEARNING_RATE)["gradient_norm"]

    return run


def take_turns(functions, seconds, least, fetch=float, warm=0):
    """Times functions in turn, A B A B ..., so that whatever else the machine does meets all of them alike.

    Each is called twice before: the first call compiles, the second says how many of them make a turn.

    Args:
        functions: dict of functions without arguments.
        seconds: float. How long to measure, for all together.
        least: int. Turns of each at least.
        fetch: function of a result that waits for it. Defaults to `float`, of a scalar that is still on the device.
        warm: int. Calls at the begin of a turn that do not count. Defaults to none.

    Returns:
        Dict of lists: the seconds of a call, turn by turn.
    """

    def seconds_of(function, calls):
        began = time.perf_counter()
        for _ in range(calls):
            result = function()
        fetch(result)
        return (time.perf_counter() - began) / calls

    calls = {}
    for name, function in functions.items():
        fetch(function())
        calls[name] = max(1, math.ceil(_TURN_SECONDS / seconds_of(function, 1)))
    taken = {name: [] for name in functions}
    start, turns = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or turns < least:
        for name, function in functions.items():
            for _ in range(warm):
                fetch(function())
            taken[name].append(seconds_of(function, calls[name]))
        turns += 1
    return taken


def write_json(result, path):
    """Writes the figures, if there is a `path` for them."""
    if path:
        pathlib.Path(path).write_text(json.dumps(result, indent=1), encoding="utf-8")


def measure_memory(make, framework):
    """Makes a step and runs it twice; the second run, when nothing is compiled any more, is the one that counts.

    Args:
        make: function without arguments that returns a step, a function that returns a scalar.
        framework: `"tensorflow"`, `"jax"` or `"torch"`, which computes it.

    Returns:
        Tuple of the step and the bytes that it holds at its peak beside what the process held before: on a GPU those
        that the framework's allocator says, on a CPU (Linux) the growth of the resident memory, the compiler's own
        leftovers included.
    """
    # Freed memory goes back to the system, so that the step cannot live in pages that were counted before it.
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # malloc_trim is glibc's.
        ctypes.CDLL(None).malloc_trim(0)
    before = _resident("VmRSS")
    step = make()
    float(step())
    (_PROCESS / "clear_refs").write_text("5")  # proc(5): VmHWM starts again from what is resident now.
    if framework == "torch" and (torch := _torch_on_gpu()):
        torch.cuda.reset_peak_memory_stats()
    float(step())
    peak = _allocated(framework)
    return step, max(0, _resident("VmHWM") - before) if peak is None else peak


def _resident(kind):
    line = next(line for line in (_PROCESS / "status").read_text().splitlines() if line.startswith(kind))
    return 1024 * int(line.split()[1])


def _torch_on_gpu():
    import torch

    return torch if torch.cuda.is_available() else None


def _allocated(framework):
    """The peak by the allocator of the framework's GPU, `None` without one."""
    if framework == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if framework == "torch":
        torch = _torch_on_gpu()
        return torch and torch.cuda.max_memory_allocated()
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return None
