"""`report.html`: a run on one page that needs nothing else, and `loss.png`, made from what stands in its directory."""

import json
import os

import numpy as np
from markupsafe import Markup, escape

from budgetbert import files
from budgetbert.budget import Budget, utilization
from budgetbert.errors import InputError
from budgetbert.reporting import numbers
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import curve_chart, draw_loss, loss_chart
from budgetbert.reporting.figures import MOST_POINTS
from budgetbert.training.run.record import KINDS, read_record

# Checkpoints shown of a text.
_MOST_SAMPLES = 6
# Where the loss falls by less than this share of its whole fall after the first tenth, the rest gets its own chart.
_FLAT = 0.25
_GIVEN_UP = ("early_stop", "diverged")
_INCIDENTS = {
    "resumed": "restart",
    "changed": "other circumstances",
    "rollback": "rollback",
    "skipped_step": "step skipped",
    "corrupt_checkpoint": "corrupt checkpoint",
    "matmul_rate": "MFU unknown",
}
# The curves in their order: key, name, unit, and how the axis is written.
_CURVES = (
    ("learning_rate", "Learning rate", "", {"format_y": "{:g}".format}),
    ("batch_size", "Batch size", "rows per step", {"format_y": numbers.number, "steps": True}),
    ("mask_rate", "Mask rate", "of the tokens", {"percent": True, "steps": True}),
    ("validation_accuracy", "Validation accuracy", "of the masked tokens", {"percent": True}),
    ("validation_old_loss", "Loss on the old text", "nats, of the text from before", {}),
    ("gradient_norm", "Gradient norm", "mean over each interval, before clipping", {}),
    ("parameter_norm", "Parameter norm", "", {}),
    ("tokens_per_second", "Throughput", "tokens/s", {"format_y": numbers.short}),
    ("mfu", "MFU", "model FLOPs of the device's measured matrix products", {"percent": True}),
    ("data_wait", "Data wait", "of the time between steps", {"percent": True}),
    ("loss_scale", "Loss scale", "", {"format_y": numbers.short, "steps": True}),
    ("memory", "Memory", "GB", {"format_y": "{:.1f}".format}),
)
_OFTEN_CONSTANT = ("batch_size", "mask_rate", "loss_scale", "memory")


def write_report(directory):
    """Writes `report.html` and `loss.png` of a run, finished or not, each whole or not at all.

    Args:
        directory: str. Of the run.

    Returns:
        str, the path of the page.

    Raises:
        InputError: if the directory holds no run, or a file of it is damaged.
    """
    record = read_record(directory)
    page, picture = (os.path.join(directory, name) for name in ("report.html", "loss.png"))
    try:
        text = render(record)
    # What only the page asks for is looked at here, by using it.
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{directory} has no page, as its log.jsonl, plan.json or recipe.json is damaged ({error!r:.200}): put it "
            "back from a copy."
        ) from error
    files.write(page, text)
    losses = [record.series("tokens", key) for key in ("loss", "validation_loss")]
    with files.replacing(picture) as temporary:
        draw_loss(*losses, record.unigram_entropy, temporary)
    return page


def render(record):
    """Returns the page of a `Record` as str. Parts whose lines or keys are missing are left out."""
    _, losses = record.series("step", "validation_loss")
    curves, constants = _curves(record)
    return pages.render(
        "training/run/report_page.html",
        title=" · ".join(filter(None, (record.find("recipe"), record.find("preset")))) or record.directory,
        subtitle=", ".join(filter(None, (_budget(record), record.plan.get("device"), record.plan.get("precision")))),
        status=_status(record),
        record=record,
        at=record.position,
        epochs=_epochs(record),
        loss=(record.final or {}).get("validation_loss", losses[-1] if losses else None),
        first_loss=losses[0] if len(losses) > 1 else None,
        old_losses=record.series("step", "validation_old_loss")[1],
        price=record.find("price_per_hour"),
        charts=_loss_charts(record),
        promises=_promises(record),
        kinds=_kinds(record),
        total_seconds=sum(record.seconds.values()),
        curves=curves,
        constants=constants,
        binned=MOST_POINTS if len(record.training) > MOST_POINTS else None,
        incidents=_incidents(record),
        samples=_samples(record),
        command=pages.command_words(record.circumstances.get("command")),
        tables=_tables(record),
    )


def _budget(record):
    try:
        amount, unit = record.recipe["budget"].split()
        return f"a budget of {Budget(float(amount), unit)}"
    except (AttributeError, KeyError, ValueError):  # Earlier versions wrote it in another way.
        return None


def _status(record):
    if record.events and record.events[-1].get("incident") in _GIVEN_UP:
        how = "Run that was given up"
    elif record.final:
        return "Finished run"
    elif not record.position:
        return "Planned, not started" if record.plan else "Not started"
    else:
        how = "Unfinished run"
    return f"{how}, {numbers.share(record.position.get('budget_spent', 0))} of the budget spent"


def _loss_charts(record):
    """Returns the charts of the loss: the whole, and what comes after the first tenth where that is flat."""
    training, validation = (record.series("tokens", key) for key in ("loss", "validation_loss"))
    if not training[0] and not validation[0]:
        return []
    entropy = record.unigram_entropy
    steps = [event.get("step", event["after_step"]) for event in record.events]
    at = [np.interp(step, *record.series("step", "tokens")) for step in steps if record.training]
    charts = [_loss_figure(None, training, validation, entropy, at)]
    start = 0.1 * max([*training[0], *validation[0]])
    late = [_after(start, *series) for series in (training, validation)]
    losses, late_losses = ([*one[1], *two[1]] for one, two in ((training, validation), late))
    if late_losses and max(late_losses) - min(late_losses) < _FLAT * (max(losses) - min(losses)):
        level = entropy if entropy and entropy < max(late_losses) else None
        charts.append(_loss_figure("After the first tenth", *late, level, [tokens for tokens in at if tokens > start]))
    return charts


def _loss_figure(name, *series):
    sizes = {"wide": (8.8, 3.3), "narrow": (4.3, 2.9)}
    return {"name": name, **{place: Markup(loss_chart(*series, *size)) for place, size in sizes.items()}}


def _after(start, tokens, losses):
    kept = [point for point in zip(tokens, losses, strict=True) if point[0] >= start]
    return [point[0] for point in kept], [point[1] for point in kept]


def _epochs(record):
    """Returns how often the training rows were read; the corpus's size follows from the plan."""
    if not record.plan.get("tokens") or not record.plan.get("epochs") or "tokens" not in record.position:
        return None
    return record.position["tokens"] / (record.plan["tokens"] / record.plan["epochs"])


def _promises(record):
    """Returns rows of a name, what was planned, what happened, how both are written, and whether they compare early."""
    plan, at = record.plan, record.position
    if not plan or not at:
        return None
    rate = at["tokens"] / at["elapsed_seconds"] if at.get("tokens") and at.get("elapsed_seconds") else None
    planned_rate = plan["tokens"] / plan["seconds"] if plan.get("tokens") and plan.get("seconds") else None
    _, batches = record.series("step", "batch_size")
    mfu = None
    if {"tokens_per_second", "flops_per_token", "matmul_rate"} <= set(plan):
        mfu = utilization(plan["tokens_per_second"] * plan["flops_per_token"], plan["matmul_rate"])
    count, short, duration, share = numbers.number, numbers.short, numbers.duration, numbers.share
    rows = (
        ("steps", plan.get("steps"), at.get("step"), count, False),
        ("tokens", plan.get("tokens"), at.get("tokens"), short, False),
        ("FLOPs", plan.get("flops"), at.get("flops"), short, False),
        ("time", plan.get("seconds"), at.get("elapsed_seconds"), duration, False),
        ("times the corpus", plan.get("epochs"), _epochs(record), lambda value: count(value, 2), False),
        ("batch, rows", plan.get("batch_size"), batches[-1] if batches else None, count, True),
        ("tokens/s while training", plan.get("tokens_per_second"), record.training_rate, count, True),
        ("tokens/s over all", planned_rate, rate, count, True),
        ("MFU while training", mfu, record.training_mfu, share, True),
    )
    return [row for row in rows if row[1] is not None or row[2] is not None]


def _kinds(record):
    """Returns the kinds of seconds that are to be seen in the whole, in their order."""
    seconds = record.seconds
    order = ["step", *(kind for kind in KINDS if kind != "step"), *sorted(set(seconds) - {*KINDS, "other"}), "other"]
    return [kind for kind in order if seconds.get(kind, 0) > 5e-4 * sum(seconds.values())]


def _curves(record):
    """Returns the curves, and the settings that never changed as tuples of a name, a value and a unit."""
    curves, constants = [], []
    for key, name, unit, style in _CURVES:
        at, values = record.series("budget_spent", key)
        if key == "memory":
            values = [value / 1e9 for value in values]
        if key == "mfu":  # Older logs have shares above 1, which say nothing.
            points = [point for point in zip(at, values, strict=True) if point[1] <= 1]
            at, values = [point[0] for point in points], [point[1] for point in points]
        if key == "tokens_per_second" and record.plan.get(key):
            style = {**style, "level": record.plan[key]}
            unit += f"; dashed: the plan's {numbers.number(record.plan[key])}"
        if not values:
            continue
        if len(set(values)) == 1 and key in _OFTEN_CONSTANT:
            percent = style.get("percent")
            value = f"{numbers.significant(100 * values[0], 3)}%" if percent else style["format_y"](values[0])
            constants.append(" ".join(filter(None, (name.lower(), value, unit))))
            continue
        svg = curve_chart(f"{name} over the spent share of the budget", at, values, **style)
        curves.append({"name": name, "unit": unit, "svg": Markup(svg)})
    return curves, constants


def _incidents(record):
    """Returns the incidents as tuples of the first and the last step, what it was, and details."""
    rows = []
    for event in record.events:
        if "resumed_from_step" in event:
            lost = event["after_step"] - event["resumed_from_step"]
            details = f"went on after step {numbers.number(event['resumed_from_step'])}"
            kind, message = "resumed", details + (f"; steps done again: {numbers.number(lost)}" if lost > 0 else "")
        elif "changed" in event:
            kind = "changed"
            message = "; ".join(
                f"{key}: {json.dumps(old)} before, {json.dumps(new)} now"
                for key, (old, new) in event["changed"].items()
            )
        else:
            kind, message = str(event["incident"]), event.get("message", "")
        step = event.get("step", event["after_step"])
        rows.append((step, step, _INCIDENTS.get(kind, kind.replace("_", " ")), message))
    skipped = [line for line in record.training if line.get("skipped_steps")]
    if skipped:
        count = numbers.number(sum(line["skipped_steps"] for line in skipped))
        details = f"{count} in all, their loss or gradient not finite"
        rows.append((skipped[0]["step"], skipped[-1]["step"], "steps skipped", details))
    return rows


def _samples(record):
    """Returns the texts, each with the answers at some checkpoints, first and last among them."""
    last = len(record.samples) - 1
    chosen = sorted({round(i) for i in np.linspace(0, last, _MOST_SAMPLES)}) if last >= 0 else []
    texts = {}
    for line in (record.samples[i] for i in chosen):
        for sample in line["samples"]:
            entry = texts.setdefault(sample["text"], {"rows": [], "expected": sample.get("expected")})
            entry["rows"].append((line["step"], sample["answers"][:5]))
    mask = Markup("<mark>[MASK]</mark>")
    return [{**entry, "text": Markup(str(escape(text)).replace("[MASK]", str(mask)))} for text, entry in texts.items()]


def _phases(record):
    """Returns what each phase was, in words; `{}` of a run of one phase."""
    described, phases = {}, record.plan.get("phases") or ()
    for number, plan in enumerate(phases if len(phases) > 1 else (), 1):
        lines = [line for line in record.training if line.get("phase") == number]
        losses = [line["validation_loss"] for line in record.validation if line.get("phase") == number]
        described[f"phase {number}"] = (
            f"{numbers.number(plan['steps'])} steps planned of {numbers.number(plan['batch_size'])} rows of "
            f"{plan['sequence_length']} tokens, learning rate {numbers.significant(plan['learning_rate'])} x "
            f"{plan['schedule']}; "
            + (f"to step {numbers.number(lines[-1]['step'])}" if lines else "not reached")
            + (f", validation loss {numbers.nats(losses[-1])}" if losses else "")
        )
    return described


def _tables(record):
    circumstances = {key: value for key, value in record.circumstances.items() if key not in ("packages", "command")}
    packages = record.circumstances.get("packages") or {}
    recipe = {"corpus fingerprint" if key == "corpus" else key: value for key, value in record.recipe.items()}
    return pages.fact_tables(
        ("Recipe: what decides the result", recipe),
        ("Phases", _phases(record)),
        ("Plan: what was calibrated", {key: value for key, value in record.plan.items() if key != "phases"}),
        ("Circumstances", {"device": record.find("device"), **circumstances}),
        ("Versions", {name: version for name, version in packages.items() if version}),
        (
            "Retained checkpoints",
            {f"{numbers.share(line['mark'])} of the budget": line.get("path") for line in record.marks},
        ),
    )
