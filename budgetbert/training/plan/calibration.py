"""Calibration: the largest micro-batch that fits this device and is worth it, and how fast the device then is."""

import dataclasses
import math
import statistics
import time

import keras

from budgetbert.batches import stack
from budgetbert.budget import describe
from budgetbert.errors import InputError, is_out_of_memory
from budgetbert.training.plan import device as devices
from budgetbert.training.plan.memory import DoesNotFit, available

CALL_CAPACITY = 8  # micro-batches that one call of `accumulate` can take; a fixed shape, so it is compiled once
CALL_SECONDS = 1.0  # between calls the host looks at clock and signals
_CPU_ROWS = 64  # larger micro-batches gain nothing on a CPU
# Of an accelerator's first trial: below these the matrix products do not fill it, nor one with so much memory.
_FIRST_TOKENS, _FIRST_TOKENS_OF_LARGE, _LARGE = 8192, 32768, 40e9
# Fewer tokens than these at once cost an accelerator more time than to compute every block again (a rule of ours).
_LEAST_TOKENS = 1024
_WORTHWHILE = 0.97  # of the seconds per row: a larger micro-batch that saves less than 3 % only takes memory
_SEARCH_SECONDS = 45.0  # no larger micro-batch is tried after these, compilation not counted
_SHARE_OF_LIMIT = 0.95  # of an accelerator's memory that the compiler's account may come to; the rest fragments


@dataclasses.dataclass(frozen=True)
class Speed:
    """What calibration measured on this device.

    Args:
        micro_batch_size: int. Rows.
        micro_batch_seconds: float. Forward and backward of one micro-batch.
        apply_seconds: float. The optimizer's step.
        validation_seconds: float. Validation of one micro-batch.
        compile_seconds: float. First calls beyond the ones after; charged to a budget in time.
        seconds: float. All of calibration, compilation included.
        trials: tuple of `Trial`. The micro-batches that were tried. Defaults to none.
        remat: str. Why blocks were computed again in the backward pass; empty (default) where they were not.
    """

    micro_batch_size: int
    micro_batch_seconds: float
    apply_seconds: float
    validation_seconds: float
    compile_seconds: float
    seconds: float
    trials: tuple = ()
    remat: str = ""

    def step_seconds(self, batch_size):
        """Seconds of one optimizer step of `batch_size` rows."""
        return batch_size / self.micro_batch_size * self.micro_batch_seconds + self.apply_seconds

    @classmethod
    def from_json(cls, values):
        """Returns the `Speed` whose fields JSON held."""
        return cls(**{**values, "trials": tuple(Trial(**trial) for trial in values["trials"])})

    @property
    def memory(self):
        """Tuple of the bytes held at the peak and where that is from, as in the `Trial` of this micro-batch."""
        trial = next((trial for trial in self.trials if trial.rows == self.micro_batch_size), None)
        return (trial.memory, trial.memory_source) if trial else (None, None)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One micro-batch size that was tried.

    Args:
        rows: int.
        seconds: float. Forward and backward; `None` where it did not fit.
        first_seconds: float. The first call, with compilation.
        memory: int or `None`. Bytes held at the peak, where known.
        memory_source: str or `None`. `"measured"` or `"by the compiler's account"`.
    """

    rows: int
    seconds: float | None
    first_seconds: float = 0.0
    memory: int | None = None
    memory_source: str | None = None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Which micro-batches to try.

    Args:
        first: int. Rows of the first trial.
        largest: int. Rows up to which to double.
        batch_size: int or `None`. Rows that the micro-batch has to divide. Defaults to `None`.
        asked_for: bool. Whether `--micro_batch_size` says so: then nothing else is tried. Defaults to `False`.
        step: int. Devices that share the rows evenly. Defaults to 1.
        least: int. Rows below which it is not worth computing: to keep every activation, or at all. Defaults to 1.
    """

    first: int
    largest: int
    batch_size: int | None = None
    asked_for: bool = False
    step: int = 1
    least: int = 1

    def times(self, count):
        """Returns the sizes of so many devices together."""
        scaled = {name: count * getattr(self, name) for name in ("first", "largest", "least")}
        return dataclasses.replace(self, step=count, batch_size=self.batch_size and count * self.batch_size, **scaled)

    def below(self, rows, error):
        """Returns the sizes to try after `rows` did not fit; at most half as many rows.

        Raises:
            Exception: `error`, if it does not say that memory ran out.
            DoesNotFit: if there are no smaller ones, or only such that are not worth it, or the size was asked for.
        """
        if not is_out_of_memory(error):
            raise error
        smaller = next((size for size in range(rows // 2, 0, -1) if self._divides(size)), 0)
        if self.asked_for and smaller:
            raise DoesNotFit(
                f"--micro_batch_size {rows} does not fit into the memory of {devices.device_name()}: take {smaller}, "
                "or leave it out."
            ) from error
        if smaller < self.least:
            few = "one row at a time fits" if self.least == 1 else f"{self.least:,} rows at a time fit"
            raise DoesNotFit(
                f"not even {few} into the memory of {devices.device_name()}: take a smaller --preset, a corpus with "
                "shorter rows, or a larger device."
            ) from error
        return dataclasses.replace(self, first=smaller, largest=smaller)

    def above(self, rows):
        """Returns twice as many rows as `rows`, or `None` where that is too many."""
        return 2 * rows if 2 * rows <= self.largest and self._divides(2 * rows) else None

    def _divides(self, rows):
        return rows % self.step == 0 and (not self.batch_size or self.batch_size % rows == 0)


def choose_sizes(flops_per_row, matmul_rate, limit, sequence_length, batch_size=None):
    """Returns the `Sizes` to try: powers of two that take at most about a second at the full rate.

    A second is how long a signal may have to wait. On a CPU one size is tried, of at most 64 rows; an accelerator
    starts with 8,192 tokens, or with 32,768 where it has more than 40 GB, and doubles them.

    Args:
        flops_per_row: float. FLOPs of training on one row.
        matmul_rate: float. FLOP/s.
        limit: int. Rows of the batch, if known, else of the largest, or what memory allows.
        sequence_length: int. Tokens per row.
        batch_size: int or `None`. Rows that the micro-batch has to divide.
    """
    in_a_second = max(1.0, CALL_SECONDS * matmul_rate / flops_per_row)
    largest = _power_of_two(min(in_a_second, limit))
    least = max(1, _LEAST_TOKENS // sequence_length) if devices.is_accelerated() else 1
    first = _power_of_two(max(1, _first_tokens() / sequence_length)) if devices.is_accelerated() else _CPU_ROWS
    first = min(first, largest)
    while batch_size and batch_size % first:
        first -= 1
    largest = largest if devices.is_accelerated() else first
    return Sizes(first, largest, batch_size, least=min(least, first))


def _first_tokens():
    return _FIRST_TOKENS_OF_LARGE if (available() or 0) > _LARGE else _FIRST_TOKENS


def _power_of_two(number):
    return 2 ** math.floor(math.log2(number))


def search(attempt, sizes, seconds=_SEARCH_SECONDS, now=time.monotonic):
    """Finds the micro-batch that is fastest per row, within 3 %: of equals the smallest.

    A size that does not fit is followed by half of it, one that does by its double, as long as that pays.

    Args:
        attempt: function of rows that returns a `Trial`, or raises what the backend raises when memory runs out.
        sizes: `Sizes`.
        seconds: float. After these no larger size is tried. Compilation does not count, which on a GPU takes longer
            than all measurements. Defaults to 45.
        now: function without arguments that returns seconds. Defaults to `time.monotonic`.

    Returns:
        Tuple of the best `Trial` and a list of all.

    Raises:
        InputError: if nothing fits.
    """
    trials, best, rows, measured = [], None, sizes.first, 0.0
    while rows:
        began = now()
        try:
            trial = attempt(rows)
        except Exception as error:
            measured += now() - began
            sizes = sizes.below(rows, error)
            trials.append(Trial(rows, None))
            rows = None if best else sizes.first
            continue
        trials.append(trial)
        last = now() - began - max(0.0, trial.first_seconds - trial.seconds)
        measured += last
        if best and trial.seconds / trial.rows > _WORTHWHILE * best.seconds / best.rows:
            break
        best = trial
        # the next one will take about as long as this one did
        rows = sizes.above(rows) if measured + last < seconds else None
    return best, trials


def calibrate(step, loader, held_out, sizes, least_seconds=2.0, broadcast=lambda value: value):
    """Measures the speed of the compiled functions; weights and optimizer are afterwards as before.

    Args:
        step: `Step` whose model and optimizer are fresh.
        loader: `Loader` of the training rows.
        held_out: `Loader` of the validation rows, which have slots of their own.
        sizes: `Sizes`.
        least_seconds: float. How long to repeat a micro-batch, at least 3 times. Defaults to 2.
        broadcast: function that returns what the first of several processes gave it, see `Processes`. Accumulating
            needs no other process, so that each may find what suits it; the rest is in step.

    Returns:
        `Speed`.

    Raises:
        DoesNotFit: if nothing, or nothing that is worth it, fits into the device's memory.
    """
    start, tried = time.monotonic(), []

    def attempt(rows):
        return _recovering(step, lambda: _try_micro_batch(step, loader, rows, least_seconds))

    while True:
        best, trials, refused = None, [], None
        try:
            best, trials = search(attempt, sizes)
        except DoesNotFit as error:
            refused = error
        best = broadcast(best and dataclasses.asdict(best))
        if best is None:  # All processes end here with the first one.
            raise refused or DoesNotFit("nothing fits into the memory of process 0's device: take a smaller --preset.")
        if refused:
            raise InputError(str(refused)) from refused
        best = Trial(**best)
        tried += trials if best in trials else [*trials, best]
        try:
            apply, validation = _recovering(step, lambda rows=best.rows: _time_rest(step, loader, held_out, rows))
            break
        except Exception as error:
            sizes = sizes.below(best.rows, error)
            tried[tried.index(best)] = Trial(best.rows, None)
    step.reset_optimizer()
    if best.memory_source == "measured":  # the optimizer's step included
        tried[tried.index(best)] = dataclasses.replace(best, memory=devices.peak_memory())
    first = (best.first_seconds, apply[0], validation[0])
    compile_seconds = max(0.0, sum(first) - best.seconds - apply[1] - validation[1])
    seconds = time.monotonic() - start
    return Speed(best.rows, best.seconds, apply[1], validation[1], compile_seconds, seconds, tuple(tried))


def _recovering(step, function):
    """Calls a function; where memory ran out the step is made fit for use again."""
    try:
        return function()
    except Exception as error:
        if is_out_of_memory(error):
            error.__traceback__ = None  # its frames hold what did not fit
            if keras.backend.backend() == "torch":
                import torch

                torch.cuda.empty_cache()
            step.reload()
        raise


def _seconds(function):
    began = time.monotonic()
    float(function())
    return time.monotonic() - began


def _try_micro_batch(step, loader, rows, least_seconds):
    began = time.monotonic()
    stacked = stack([loader.micro_batch(0, rows)], CALL_CAPACITY)
    devices.reset_peak_memory()
    memory, source = step.compiled_memory(stacked), "by the compiler's account"
    if memory and (limit := available()) and memory > _SHARE_OF_LIMIT * limit:
        raise MemoryError(f"{describe(memory)} bytes by the compiler's account, the device has {describe(limit)}")

    def once():
        return _seconds(lambda: step.accumulate(stacked, 1, 0))

    once()
    first, repeats = time.monotonic() - began, [once()]
    while len(repeats) < 3 or (sum(repeats) < least_seconds and len(repeats) < 20):
        repeats.append(once())
    if memory is None and devices.is_accelerated():
        memory, source = devices.peak_memory(), "measured"
    return Trial(rows, statistics.median(repeats), first, memory, source if memory else None)


def _time_rest(step, loader, held_out, rows):
    """Returns the first and the later seconds of the optimizer's step and of a validation."""
    devices.reset_peak_memory()
    stacked = stack([loader.micro_batch(0, rows)], CALL_CAPACITY)
    batch = held_out.micro_batch(0, rows)

    def apply():  # at rate 0 the weights stay; the optimizer's moments are set back afterwards
        float(step.accumulate(stacked, 1, 0))
        return _seconds(lambda: step.apply(0.0)["gradient_norm"])

    def validate():
        return _seconds(lambda: step.evaluate(batch)["loss"])

    return [apply(), apply()], [validate(), validate()]
