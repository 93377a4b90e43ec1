"""What the training loop is told of a run: its phases, and what ends it."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Schedules:
    """Functions of the spent fraction x of the budget.

    Args:
        learning_rate: returns the learning rate.
        batch_size: returns the rows of an optimizer step, a multiple of the micro-batch.
        mask_rate: returns the share of the tokens to predict, `None` in finetuning.
        predictions: returns the predictions of a full row.
        flops_per_token: function of the predictions of a full row.
    """

    learning_rate: Callable
    batch_size: Callable
    mask_rate: Callable
    predictions: Callable
    flops_per_token: Callable


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a phase of the run trains on, and how.

    Args:
        start: float. The spent fraction of the budget at which it begins, 0 for the first.
        plan: `Plan` of the phase.
        schedules: `Schedules`.
        rows: function of the first row use of the phase and the predictions of a full row that returns an iterator of
            micro-batches.
        validate: `Validation`.
        samples: function without arguments that returns what the model makes of some masked words, for the log; `None`
            for none.
        resets_step: bool. See `Phase`.
    """

    start: float
    plan: object
    schedules: Schedules
    rows: Callable
    validate: Callable
    samples: Callable
    resets_step: bool


@dataclasses.dataclass(frozen=True)
class Stops:
    """What ends a run before its budget is spent, or leaves a model by the way.

    Args:
        at: float. The spent fraction to stop at, with everything saved. Defaults to 1: at the end.
        early: `EarlyStop` or `None`.
        marks: tuple of float. Spent fractions at which the model is kept for good.
    """

    at: float = 1.0
    early: object = None
    marks: tuple = ()
