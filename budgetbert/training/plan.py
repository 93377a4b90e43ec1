"""The plan: what the budget buys on this device, measured and printed before the first step."""

import dataclasses
import math

import numpy as np

from budgetbert.command_line import InputError
from budgetbert.training.memory import Memory

_SMALLEST_BATCH = 32
_ENOUGH_STEPS = 1000
_TOO_FEW_STEPS = 100
TRAINING_SHARE = 0.95  # of a budget in time; the rest is for validation and saving
_VALIDATION_SHARE = 0.005  # of a budget in time, at most, for each of the eleven
_VALIDATION_ROWS = 1024
_POINTS = 1000  # of the budget, at which its schedules are looked at


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run will do and what it promises. `steps`, `tokens`, `flops` and `seconds` are expectations, exact where
    the budget is in that unit; `batch_size` is that after the ramp, `predictions_per_row` the most there are,
    `learning_rate` the peak and `schedule` its curve. `phases` holds the plan of each phase where there are several:
    then sums are over all, memory is that of the largest, and what cannot be summed is that of the first. What has a
    default changes nothing of the run (see `budgetbert.training.outlook`), the phases apart."""

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
    learning_rate: float
    schedule: str
    phases: tuple = ()
    devices: int = 1  # that share a micro-batch; `device` names them all
    trials: list | None = None  # of micro-batches: rows, seconds or null where it did not fit, memory
    memory: dict | None = None  # bytes at the peak, in parts, and where they are from
    corpus_kind: str | None = None  # what makes losses on it comparable
    tokens_per_weight: float | None = None
    fitting_preset: str | None = None
    published_tokens: float | None = None
    planned_at: str | None = None  # ISO 8601, local time
    finish: str | None = None  # the same, of a run that starts at once
    cost: float | None = None

    @property
    def parts(self):
        """tuple of the `Plan` of each phase: this one where there is one phase."""
        return self.phases or (self,)

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
        if values is None:
            return None
        return Plan(**{**values, "phases": tuple(Plan(**part) for part in values["phases"])})
    except (TypeError, KeyError) as error:
        raise InputError(f"{run.path('plan.json')} is no plan of this version: give another --output_dir.") from error


def join(plans):
    """Returns the `Plan` of a run from those (list) of its phases."""
    if len(plans) == 1:
        return plans[0]
    sums = ("steps", "tokens", "flops", "seconds", "epochs", "calibration_seconds", "compile_seconds")
    totals = {name: sum(getattr(plan, name) for plan in plans) for name in sums}
    return dataclasses.replace(
        plans[0],
        **totals,
        tokens_per_second=totals["tokens"] / sum(plan.tokens / plan.tokens_per_second for plan in plans),
        flops_per_token=totals["flops"] / totals["tokens"],
        memory=max((plan.memory for plan in plans), key=lambda memory: Memory(**memory).total),
        phases=tuple(plans),
    )


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


def validation_rows(available, budget, speed):
    """How many rows each validation reads: at most 1,024, and in a budget of time at most 0.5 % of it."""
    rows = min(available, _VALIDATION_ROWS)
    if budget.unit == "seconds":
        affordable = _VALIDATION_SHARE * budget.amount / speed.validation_seconds * speed.micro_batch_size
        rows = max(min(rows, 64), min(rows, int(affordable)))
    return rows
