"""How large the batch is, how many steps the budget then buys, and when they are too few to learn anything."""

import math

import numpy as np

from budgetbert.errors import InputError
from budgetbert.schedules import batch_ramp as batch_ramp_of

_SMALLEST_BATCH = 32
_ENOUGH_STEPS = 1000
_TOO_FEW_STEPS = 100
_BUSY = 2.0  # A machine may have been so many times slower than it is while its matrix products were measured.
TRAINING_SHARE = 0.95  # Of a budget in time; the rest is for validation and saving.
_VALIDATION_SHARE = 0.005  # Of a budget in time, at most, for each of the eleven validations.
_VALIDATION_ROWS = 1024
_POINTS = 1000  # Of the budget, at which its schedules are looked at.


def check_batch_sizes(batch_size, micro_batch_size):
    """Raises an `InputError` where a batch (int or `None`) is no multiple of the micro-batch (int or `None`)."""
    if batch_size and micro_batch_size and batch_size % micro_batch_size:
        raise InputError(
            f"--batch_size {batch_size} is not a multiple of --micro_batch_size {micro_batch_size}: change one of them."
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
        sequence_length: int, or float where rows differ in the length at which they are computed.
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


def refuse_hopeless(budget, preset, corpus, flops_per_token, sequence_length, matmul_rate, batch_ramp=0.0):
    """Raises an `InputError` where a plan cannot but be `hopeless`, before time is spent to make one.

    Held against 100 steps is what twice the rate of the matrix products would buy in batches of 32 rows: a machine that
    is busy for a moment measures a rate that is too low, and what a plan would accept must not be refused here.

    Args:
        budget: `Budget`.
        preset: str.
        corpus: str. As given at `--corpus`.
        flops_per_token: float. The lowest of the run.
        sequence_length: int.
        matmul_rate: float. FLOP/s, as measured.
        batch_ramp: float. The share of the budget over which the batch grows. Defaults to 0.
    """
    rate = _BUSY * matmul_rate / flops_per_token
    steps, _, _ = buys(
        budget,
        lambda x: batch_ramp_of(x, _SMALLEST_BATCH, 1, batch_ramp),
        sequence_length,
        lambda x: flops_per_token,
        lambda rows: rows * sequence_length / rate,
    )
    if steps < _TOO_FEW_STEPS:
        raise InputError(f"{_hopeless(budget, preset, corpus, steps, f'at most {rate:,.0f} tokens/s')}.")


def hopeless(plan, budget, preset, corpus):
    """Returns why a run of a plan would learn nothing, as a sentence without its full stop; `None` where it may.

    It has under 100 steps although its batch is the smallest, 32 rows. `--plan_only` prints the sentence, a run ends
    with it, and both look at the same `steps`.

    Args:
        plan: `RunPlan`.
        budget: `Budget`.
        preset: str.
        corpus: str. As given at `--corpus`.
    """
    if plan.phases[0].batch_size > _SMALLEST_BATCH or plan.steps >= _TOO_FEW_STEPS:
        return None
    return _hopeless(budget, preset, corpus, plan.steps, f"{plan.tokens_per_second:,.0f} tokens/s")


def _hopeless(budget, preset, corpus, steps, speed):
    return (
        f"a budget of {budget} buys {preset} only {int(steps)} steps of {_SMALLEST_BATCH} rows on this machine "
        f"({speed}), and under {_TOO_FEW_STEPS} it learns nothing: raise --budget, try --preset mini --corpus "
        f"{corpus}, or see --demo"
    )


def validation_rows(available, budget, speed):
    """How many rows each validation reads: at most 1,024, and in a budget of time at most 0.5 % of it."""
    rows = min(available, _VALIDATION_ROWS)
    if budget.unit == "seconds":
        affordable = _VALIDATION_SHARE * budget.amount / speed.validation_seconds * speed.micro_batch_size
        rows = max(min(rows, 64), min(rows, int(affordable)))
    return rows
