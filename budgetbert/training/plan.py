"""The plan: what the budget buys on this device, measured and printed before the first step."""

import dataclasses
import math
import statistics
import time

import numpy as np
from rich.table import Table

from budgetbert.batches import stack
from budgetbert.budget import describe, describe_seconds
from budgetbert.command_line import InputError

CALL_CAPACITY = 8  # micro-batches that one call of `accumulate` can take; a fixed shape, so it is compiled once
CALL_SECONDS = 1.0  # between calls the host looks at clock and signals
_SMALLEST_BATCH = 32
_ENOUGH_STEPS = 1000
_TOO_FEW_STEPS = 100
TRAINING_SHARE = 0.95  # of a budget in time; the rest is for validation and saving
_VALIDATION_SHARE = 0.005  # of a budget in time, at most, for each of the eleven
_VALIDATION_ROWS = 1024
_POINTS = 1000  # of the budget, at which its schedules are looked at


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
    """

    micro_batch_size: int
    micro_batch_seconds: float
    apply_seconds: float
    validation_seconds: float
    compile_seconds: float
    seconds: float

    def step_seconds(self, batch_size):
        """Seconds of one optimizer step of `batch_size` rows."""
        return batch_size / self.micro_batch_size * self.micro_batch_seconds + self.apply_seconds


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run will do and what it promises. `steps`, `tokens`, `flops` and `seconds` are expectations, exact where
    the budget is in that unit; `batch_size` is that after the ramp, `predictions_per_row` the most there are."""

    batch_size: int
    batch_ramp: float
    batch_reason: str
    micro_batch_size: int
    micro_batches_per_call: int
    validation_rows: int
    validation_unigram_entropy: float
    sequence_length: int
    predictions_per_row: int
    mask_rate: str
    flops_per_token: float
    precision: str
    precision_reason: str
    device: str
    backend: str
    matmul_rate: float
    tokens_per_second: float
    steps: int
    tokens: float
    flops: float
    seconds: float
    epochs: float
    calibration_seconds: float
    compile_seconds: float
    devices: int = 1  # as in plans from before there could be several; `device` names them all

    @property
    def mfu(self):
        """Model FLOPs per second over the measured rate of matrix products, of all devices."""
        return self.tokens_per_second * self.flops_per_token / self.matmul_rate


def read_plan(run):
    """Reads the `Plan` in a run's directory; `None` if there is none.

    Raises:
        InputError: if it is not a plan of this version.
    """
    values = run.read_json("plan.json")
    try:
        return Plan(**values) if values is not None else None
    except TypeError as error:
        raise InputError(f"{run.path('plan.json')} is no plan of this version: give another --output_dir.") from error


def micro_batch_rows(flops_per_row, matmul_rate, limit):
    """The rows of a micro-batch: a power of two that takes about a second at the full rate, from 1 to 64 and `limit`.

    Larger ones gain nothing on a CPU; a second is how long a signal may have to wait.

    Args:
        flops_per_row: float. FLOPs of training on one row.
        matmul_rate: float. FLOP/s.
        limit: int. Rows of the batch, if known, else of the largest.
    """
    rows = 2 ** max(0, math.floor(math.log2(max(1.0, CALL_SECONDS * matmul_rate / flops_per_row))))
    return min(rows, 64, 2 ** int(math.log2(limit)))


def choose_batch_size(budget, published, steps_at):
    """The batch follows from the plan.

    A budget in steps takes the published batch. Any other takes it if it then has at least 1,000 steps, otherwise the
    largest power of two from 32 up that has, or 32 if none has.

    Args:
        budget: `Budget`.
        published: int. Rows per batch in the paper.
        steps_at: function of a batch size that returns the steps which the budget buys at it.

    Returns:
        Tuple of the batch size and a phrase that says why.
    """
    if budget.unit == "steps":
        return published, "as published"
    if steps_at(published) >= _ENOUGH_STEPS:
        return published, f"as published: {int(steps_at(published)):,} steps"
    smaller = [2**power for power in range(5, published.bit_length()) if 2**power < published]
    for size in reversed(smaller):
        if steps_at(size) >= _ENOUGH_STEPS:
            return size, f"the largest power of two that leaves {_ENOUGH_STEPS:,} steps; published is {published:,}"
    return _SMALLEST_BATCH, f"the smallest, as even of it the budget buys under {_ENOUGH_STEPS:,} steps"


def buys(budget, batch_at, sequence_length, flops_at, step_seconds):
    """What a budget buys: steps, tokens and FLOPs, as expectations.

    Of a budget in time 5 % are taken off for validation and saving.

    Args:
        budget: `Budget`.
        batch_at: function of the spent fraction x that returns the rows of a step.
        sequence_length: int.
        flops_at: function of x that returns the FLOPs per token.
        step_seconds: function of the rows of a step that returns its seconds.

    Returns:
        Tuple of three floats.
    """
    points = [(i + 0.5) / _POINTS for i in range(_POINTS)]
    rows = np.array([batch_at(x) for x in points], float)
    tokens = rows * sequence_length
    flops = tokens * [flops_at(x) for x in points]
    available = {
        "steps": lambda: np.full(_POINTS, budget.amount),
        "tokens": lambda: budget.amount / tokens,
        "flops": lambda: budget.amount / flops,
        "seconds": lambda: TRAINING_SHARE * budget.amount / np.array([step_seconds(count) for count in rows]),
    }
    steps = available[budget.unit]()  # that it would buy if all were as at this point
    return tuple(math.fsum(value) / _POINTS for value in (steps, steps * tokens, steps * flops))


def refuse_hopeless(budget, preset, corpus, flops_per_token, sequence_length, tokens_per_second):
    """Raises an `InputError` where even the smallest batch, of 32 rows, has under 100 steps.

    Args:
        budget: `Budget`.
        preset: str.
        corpus: str. As given at `--corpus`.
        flops_per_token: float.
        sequence_length: int.
        tokens_per_second: float. Measured, or an upper bound.
    """
    steps, _, _ = buys(
        budget,
        lambda x: _SMALLEST_BATCH,
        sequence_length,
        lambda x: flops_per_token,
        lambda rows: rows * sequence_length / tokens_per_second,
    )
    if steps < _TOO_FEW_STEPS:
        raise InputError(
            f"a budget of {budget} buys {preset} only {int(steps)} steps of {_SMALLEST_BATCH} rows on this machine "
            f"(at most {tokens_per_second:,.0f} tokens/s), and under {_TOO_FEW_STEPS} it learns nothing: raise "
            f"--budget, try --preset mini --corpus {corpus}, or see --demo."
        )


def calibrate(update, loader, held_out, micro_batch_size, least_seconds=2.0):
    """Measures the speed of the compiled functions; weights and optimizer are afterwards as before.

    Args:
        update: `Update` whose model and optimizer are fresh.
        loader: `Loader` of the training rows.
        held_out: `Loader` of the validation rows, which have slots of their own.
        micro_batch_size: int. Rows.
        least_seconds: float. How long to repeat the micro-batch, at least 3 times. Defaults to 2.
    """
    start = time.monotonic()
    batch = loader.micro_batch(0, micro_batch_size)
    stacked, validation_batch = stack([batch], CALL_CAPACITY), held_out.micro_batch(0, micro_batch_size)

    def seconds(function):
        began = time.monotonic()
        float(function())
        return time.monotonic() - began

    def once():
        return seconds(lambda: update.accumulate(stacked, 1, 0))

    first = [once()]
    repeats = [once()]
    while len(repeats) < 3 or (sum(repeats) < least_seconds and len(repeats) < 20):
        repeats.append(once())
    micro = statistics.median(repeats)
    # at rate 0 the weights stay; the optimizer's moments are set back below
    first.append(seconds(lambda: update.apply(0.0)["gradient_norm"]))
    once()
    apply = seconds(lambda: update.apply(0.0)["gradient_norm"])
    first.append(seconds(lambda: update.evaluate(validation_batch)["loss"]))
    validation = seconds(lambda: update.evaluate(validation_batch)["loss"])
    update.reset_optimizer()
    compile_seconds = max(0.0, sum(first) - micro - apply - validation)
    return Speed(micro_batch_size, micro, apply, validation, compile_seconds, time.monotonic() - start)


def validation_rows(available, budget, speed):
    """How many rows each validation reads: at most 1,024, and in a budget of time at most 0.5 % of it."""
    rows = min(available, _VALIDATION_ROWS)
    if budget.unit == "seconds":
        affordable = _VALIDATION_SHARE * budget.amount / speed.validation_seconds * speed.micro_batch_size
        rows = max(min(rows, 64), min(rows, int(affordable)))
    return rows


def print_plan(plan, title, console):
    """Prints a plan for people on a `rich.console.Console`."""
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(style="cyan")
    table.add_column(overflow="fold")
    ramp = f", reached after {plan.batch_ramp:.0%} of the budget" if plan.batch_ramp else ""
    constant = plan.mask_rate.replace(".", "").isdecimal()
    predictions = plan.predictions_per_row if constant else f"at most {plan.predictions_per_row} ({plan.mask_rate})"
    whose = "their" if plan.devices > 1 else "its"
    share = f"{plan.mfu:.0%} of {whose} {plan.matmul_rate / 1e9:,.0f} GFLOP/s of matrix products"
    for row in (
        ("device", f"{plan.device}, {plan.backend}"),
        ("precision", f"{plan.precision} ({plan.precision_reason})"),
        ("speed", f"{plan.tokens_per_second:,.0f} tokens/s, {share}"),
        ("batch", f"{plan.batch_size:,} rows of {plan.sequence_length} ({plan.batch_reason}){ramp}"),
        ("micro-batch", f"{plan.micro_batch_size} rows, {predictions} predictions each"),
        ("steps", f"about {plan.steps:,}"),
        ("tokens", f"{describe(plan.tokens)} ({plan.epochs:.2f} times the corpus), {describe(plan.flops)} FLOPs"),
        ("validation", f"{plan.validation_rows:,} held-out rows, at the start and at every tenth of the budget"),
        ("time", f"about {describe_seconds(plan.seconds)}, after {plan.calibration_seconds:.0f} s of calibration"),
    ):
        table.add_row(*row)
    console.print(table)
    if plan.epochs > 4:
        console.print(f"[yellow]The plan reads the corpus {plan.epochs:.0f} times: more text would serve it better.")
