"""The plan, shown before a run: on the terminal, and as a picture of its curves. Imports no Keras."""

import bisect
import datetime

from budgetbert import files
from budgetbert.reporting import numbers
from budgetbert.reporting.charts import draw_curves
from budgetbert.reporting.page import phrases
from budgetbert.training.run.display import print_phrases

# Places of the budget at which the curves are drawn.
_DRAWN = 400
# The curves: key, title, and how the axis is written.
_CURVES = (
    ("learning_rate", "Learning rate", {"format_y": "{:g}".format}),
    ("batch_size", "Batch, rows per step", {"format_y": numbers.number, "steps": True}),
    ("mask_rate", "Mask rate", {"percent": True, "steps": True}),
)


def print_plan(plan, title, validate_at, picture, published_tokens, warnings, console):
    """Prints a plan on a `rich.console.Console`.

    Args:
        plan: `RunPlan`.
        title: str.
        validate_at: tuple of float, as in `Recipe`.
        picture: str. The path of its curves, as from `draw_plan`.
        published_tokens: float or `None`. What the published run read.
        warnings: list of str. Sentences that speak against it.
        console: `rich.console.Console`.
    """
    print_phrases(plan_rows(plan, validate_at, picture, published_tokens), title, console)
    for sentence in warnings:
        console.print(f"[yellow]{sentence}")


def plan_rows(plan, validate_at, picture=None, published_tokens=None):
    """Returns what `print_plan` shows, as a list of tuples of a name and a phrase."""
    finish = plan.finish and datetime.datetime.fromisoformat(plan.finish)
    values = {"finish": finish, "validations": len(validate_at) + 2, "published_tokens": published_tokens}
    return phrases("training/run/plan.txt", plan=plan, picture=picture, **values)


def draw_plan(schedules, ends, path):
    """Writes the curves of learning rate, batch and mask rate over the budget as a PNG file, whole or not at all.

    Args:
        schedules: list of the `Schedules` of each phase, over its own x.
        ends: list of float. The spent fractions at which the phases end, 1 the last.
        path: str.
    """
    x = [i / _DRAWN for i in range(_DRAWN + 1)]
    starts = [0.0, *ends]
    phase_at = [min(bisect.bisect_right(ends, point), len(ends) - 1) for point in x]
    own = [
        (schedules[phase], (point - starts[phase]) / (ends[phase] - starts[phase]))
        for phase, point in zip(phase_at, x, strict=True)
    ]
    curves = [
        (title, x, [getattr(settings, key)(point) for settings, point in own], style) for key, title, style in _CURVES
    ]
    with files.replacing(path) as temporary:
        draw_curves(curves, temporary)
