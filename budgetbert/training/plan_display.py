"""A plan, told to people: on the terminal, and as a picture of its curves. Imports no Keras."""

import bisect
import datetime
import os

from rich.table import Table

from budgetbert.budget import describe, describe_seconds
from budgetbert.reporting.charts import draw_curves

_DRAWN = 400  # points of a curve


def print_plan(plan, title, validate_at, picture, warnings, console):
    """Prints a plan on a `rich.console.Console`.

    Args:
        plan: `Plan`, as from `budgetbert.training.outlook`.
        title: str.
        validate_at: tuple of float, as in `Recipe`.
        picture: str. The path of its curves, as from `draw_plan`.
        warnings: list of str. Sentences that speak against it.
        console: `rich.console.Console`.
    """
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold", box=None, padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for row in (*plan_rows(plan, validate_at), ("curves", picture)):
        table.add_row(*row)
    console.print(table)
    for sentence in warnings:
        console.print(f"[yellow]{sentence}")


def plan_rows(plan, validate_at):
    """Returns what `print_plan` shows, as a list of tuples of a name and a phrase."""
    ramp = f", reached after {plan.batch_ramp:.0%} of the budget" if plan.batch_ramp else ""
    constant = plan.mask_rate.replace(".", "").isdecimal()
    predictions = plan.predictions_per_row if constant else f"at most {plan.predictions_per_row} ({plan.mask_rate})"
    unit, name = (1e12, "T") if plan.matmul_rate >= 1e13 else (1e9, "G")
    whose = "their" if plan.devices > 1 else "its"
    share = f"{plan.mfu:.0%} of {whose} {plan.matmul_rate / unit:,.0f} {name}FLOP/s of matrix products"
    rows = [
        ("device", f"{plan.device}, {plan.backend}"),
        ("precision", f"{plan.precision} ({plan.precision_reason})"),
        ("speed", f"{plan.tokens_per_second:,.0f} tokens/s, {share}"),
        ("batch", f"{plan.batch_size:,} rows of {plan.sequence_length} ({plan.batch_reason}){ramp}"),
        ("micro-batch", f"{plan.micro_batch_size:,} rows, {predictions} predictions each{_tried(plan)}"),
    ]
    if not plan.phases:
        rows.append(("learning rate", f"{plan.learning_rate:.4g} x {plan.schedule}"))
    rows += [(f"phase {number}", _describe_phase(part)) for number, part in enumerate(plan.phases, 1)]
    if plan.memory:
        rows.append(("memory", _memory(plan.memory)))
    rows += [
        ("steps", f"about {plan.steps:,}"),
        ("tokens", f"{describe(plan.tokens)}, {plan.epochs:.2f} times the corpus, {describe(plan.flops)} FLOPs"),
    ]
    if plan.published_tokens:
        percent = 100 * plan.tokens / plan.published_tokens
        rows.append(("published", f"{percent:.2g}% of the {describe(plan.published_tokens)} tokens of the paper's run"))
    rows += [
        ("validation", f"{plan.validation_rows:,} held-out rows, {len(validate_at) + 2} times over the budget"),
        ("time", f"about {describe_seconds(plan.seconds)}, after {plan.calibration_seconds:.0f} s of calibration"),
    ]
    if plan.finish:
        finish = datetime.datetime.fromisoformat(plan.finish)
        rows.append(("finish", f"{finish:%A, %-d %B %Y, %H:%M}, if it starts now"))
    if plan.cost is not None:
        rows.append(("cost", f"{plan.cost:,.2f}"))
    return rows


def _describe_phase(plan):
    rows = f"{plan.steps:,} steps of {plan.batch_size:,} rows of {plan.sequence_length}, {describe(plan.tokens)} tokens"
    return f"{rows}, learning rate {plan.learning_rate:.4g} x {plan.schedule}"


def _tried(plan):
    """The micro-batches that were tried, where there was more than one."""
    if len(plan.trials or ()) < 2:
        return ""
    tokens = plan.sequence_length
    return " (" + ", ".join(
        f"{trial['rows']:,}: "
        + (f"{tokens * trial['rows'] / trial['seconds']:,.0f} tokens/s" if trial["seconds"] else "does not fit")
        for trial in plan.trials
    ) + ")"  # fmt: skip


def _memory(memory):
    """A peak, and what it is made of."""
    names = (("parameters", "parameters"), ("slots", "slots"), ("sums", "gradient sums"), ("working", "activations"))
    parts = " + ".join(f"{name} {memory[key] / 1e9:.2f}" for key, name in names)
    return f"{sum(memory[key] for key, _ in names) / 1e9:.2f} GB at the peak, {memory['source']} ({parts})"


def draw_plan(schedules, ends, path):
    """Writes the curves of learning rate, batch and mask rate over the budget as a PNG file, whole or not at all.

    Args:
        schedules: list of the `Schedules` of each phase, over the x of the whole run.
        ends: list of float. The spent fractions at which the phases end, 1 the last.
        path: str.
    """
    x = [i / _DRAWN for i in range(_DRAWN + 1)]
    wanted = (  # key, title, how its axis is written
        ("learning_rate", "Learning rate", {"format_y": "{:g}".format}),
        ("batch_size", "Batch, rows per step", {"format_y": "{:,.0f}".format, "steps": True}),
        ("mask_rate", "Mask rate", {"percent": True, "steps": True}),
    )
    phase_at = [min(bisect.bisect_right(ends, point), len(ends) - 1) for point in x]
    curves = [
        (title, x, [getattr(schedules[phase], key)(point) for phase, point in zip(phase_at, x, strict=True)], style)
        for key, title, style in wanted
    ]
    draw_curves(curves, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)
