"""`report.html`: a run on one page that needs nothing else, and `loss.png`, made from what stands in its directory."""

import json
import os

import numpy as np
from markupsafe import Markup, escape

from budgetbert.budget import Budget, describe, describe_seconds
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import MOST_POINTS, curve_chart, draw_loss, loss_chart
from budgetbert.training.record import KINDS, read_record
from budgetbert.training.reference import compare

_MOST_SAMPLES = 6  # checkpoints shown of a text
_FLAT = 0.25  # of the whole fall of the loss: what comes after the first tenth and is less gets a chart of its own
_NONE = "–"
_GIVEN_UP = ("early_stop", "diverged")
_INCIDENTS = {
    "resumed": "restart",
    "changed": "other circumstances",
    "rollback": "rollback",
    "skipped_step": "step skipped",
    "corrupt_checkpoint": "corrupt checkpoint",
}


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
    pages.write(page, render(record))
    draw_loss(
        *(record.series("tokens", key) for key in ("loss", "validation_loss")),
        record.find("validation_unigram_entropy"),
        f"{picture}.tmp",
    )
    os.replace(f"{picture}.tmp", picture)
    return page


def render(record):
    """Returns the page of a `Record` as str. Parts whose lines or keys are missing are left out."""
    curves, curves_note = _curves(record)
    return pages.render(
        "training/report_page.html",
        title=" · ".join(filter(None, (record.find("recipe"), record.find("preset")))) or record.directory,
        subtitle=", ".join(filter(None, (_budget(record), record.plan.get("device"), record.plan.get("precision")))),
        status=_status(record),
        headline=_headline(record),
        tiles=_tiles(record),
        loss=_loss(record),
        reference=_reference(record),
        promises=_promises(record),
        happened="happened" if record.final else "so far",
        promise_note="While training: steps and data wait only, without compilation, validation and saving."
        + ("" if record.final else " The run is not finished, so differences are left out where they would mislead."),
        time=_time(record),
        curves=curves,
        curves_note=curves_note,
        incidents=_incidents(record),
        samples=_samples(record),
        command=pages.command_words(record.circumstances.get("command")),
        tables=_tables(record),
    )


def _budget(record):
    written = record.recipe.get("budget")
    try:
        amount, unit = written.split()
        return f"a budget of {Budget(float(amount), unit)}"
    except (AttributeError, ValueError):  # of an older version
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
    return f"{how}, {record.position.get('budget_spent', 0):.0%} of the budget spent"


def _headline(record):
    _, losses = record.series("step", "validation_loss")
    loss = (record.final or {}).get("validation_loss", losses[-1] if losses else None)
    if loss is None:
        return None
    entropy, accuracy = record.find("validation_unigram_entropy"), record.find("validation_accuracy")
    return {
        "loss": f"{loss:.3f}",
        "first": f"{losses[0]:.3f}" if len(losses) > 1 else None,
        "entropy": entropy and f"{entropy:.3f}",
        "beaten": bool(entropy) and loss < entropy,
        "margin": entropy and f"{abs(entropy - loss):.3f}",
        "accuracy": None if accuracy is None else f"{accuracy:.1%}",
    }


def _tiles(record):
    at, tiles = record.position, []
    if "tokens" in at:
        epochs = _epochs(record)
        tiles.append(("Tokens", describe(at["tokens"]), epochs and f"{epochs:.2f} × the corpus"))
    if "step" in at:
        tiles.append(("Steps", f"{at['step']:,}", "of the optimizer"))
    if "flops" in at:
        tiles.append(("Compute", describe(at["flops"]), "model FLOPs"))
    if "elapsed_seconds" in at:
        tiles.append(("Time", describe_seconds(at["elapsed_seconds"]), "all included"))
    if record.training_rate:
        tiles.append(("Speed", f"{record.training_rate:,.0f}", "tokens/s while training"))
    if record.training_mfu:
        tiles.append(("MFU", f"{record.training_mfu:.0%}", "while training"))
    price = record.find("price_per_hour")
    if price and "elapsed_seconds" in at:
        tiles.append(("Cost", f"{price * at['elapsed_seconds'] / 3600:,.2f}", f"at {price:g} per hour"))
    return [{"name": name, "value": value, "note": note or ""} for name, value, note in tiles]


def _loss(record):
    training, validation = (record.series("tokens", key) for key in ("loss", "validation_loss"))
    if not training[0] and not validation[0]:
        return None
    entropy = record.find("validation_unigram_entropy")
    held_out = record.plan.get("validation_rows")
    rows = f" ({held_out:,} rows, the same at each point)" if held_out else ""
    note = f"Nats per masked token. Validation on held-out text{rows}; training: the mean over each log interval."
    steps = [event.get("step", event["after_step"]) for event in record.events]
    at = [np.interp(step, *record.series("step", "tokens")) for step in steps if record.training]
    note += " The marks on the axis are incidents." if at else ""
    charts = [_loss_figure(None, training, validation, entropy, at)]
    start = 0.1 * max([*training[0], *validation[0]])
    late = [_after(start, *series) for series in (training, validation)]
    losses, late_losses = ([*one[1], *two[1]] for one, two in ((training, validation), late))
    if late_losses and max(late_losses) - min(late_losses) < _FLAT * (max(losses) - min(losses)):
        level = entropy if entropy and entropy < max(late_losses) else None
        charts.append(_loss_figure("After the first tenth", *late, level, [tokens for tokens in at if tokens > start]))
    return {"charts": charts, "note": note}


def _loss_figure(name, *series):
    sizes = {"wide": (8.8, 3.3), "narrow": (4.3, 2.9)}
    return {"name": name, **{place: Markup(loss_chart(*series, *size)) for place, size in sizes.items()}}


def _after(start, tokens, losses):
    kept = [point for point in zip(tokens, losses, strict=True) if point[0] >= start]
    return [point[0] for point in kept], [point[1] for point in kept]


def _epochs(record):
    """How often the training rows were read; the corpus's size follows from the plan."""
    if not record.plan.get("tokens") or not record.plan.get("epochs") or "tokens" not in record.position:
        return None
    return record.position["tokens"] / (record.plan["tokens"] / record.plan["epochs"])


def _promises(record):
    plan, at = record.plan, record.position
    if not plan or not at:
        return None

    def number(value):
        return f"{value:,.0f}"

    def share(value):
        return f"{value:.0%}"

    rate = at["tokens"] / at["elapsed_seconds"] if at.get("tokens") and at.get("elapsed_seconds") else None
    planned_rate = plan["tokens"] / plan["seconds"] if plan.get("tokens") and plan.get("seconds") else None
    _, batches = record.series("step", "batch_size")
    mfu = None
    if {"tokens_per_second", "flops_per_token", "matmul_rate"} <= set(plan):
        mfu = plan["tokens_per_second"] * plan["flops_per_token"] / plan["matmul_rate"]
    rows = (
        ("steps", plan.get("steps"), at.get("step"), number, False),
        ("tokens", plan.get("tokens"), at.get("tokens"), describe, False),
        ("FLOPs", plan.get("flops"), at.get("flops"), describe, False),
        ("time", plan.get("seconds"), at.get("elapsed_seconds"), describe_seconds, False),
        ("times the corpus", plan.get("epochs"), _epochs(record), "{:.2f}".format, False),
        ("batch, rows", plan.get("batch_size"), batches[-1] if batches else None, number, True),
        ("tokens/s while training", plan.get("tokens_per_second"), record.training_rate, number, True),
        ("tokens/s over all", planned_rate, rate, number, True),
        ("MFU while training", mfu, record.training_mfu, share, True),
    )
    return [
        {
            "name": name,
            "plan": _NONE if promised is None else write(promised),
            "fact": _NONE if fact is None else write(fact),
            "difference": _difference(promised, fact) if record.final or comparable else "",
        }
        for name, promised, fact, write, comparable in rows
        if promised is not None or fact is not None
    ]


def _reference(record):
    """Returns the run beside the reference curve of its settings, or `None` where there is none."""
    compared = compare(record)
    if compared is None:
        return None
    curve = compared["curve"]
    seeds = len(curve["seeds"])
    return {
        "rows": [
            {
                "share": f"{row['share']:.0%}",
                "loss": f"{row['loss']:.3f}",
                "reference": f"{row['reference']:.3f}",
                "difference": f"{row['difference']:+.3f}".replace("-", "−"),
                "far": row["far"],
            }
            for row in compared["rows"]
        ],
        "warning": compared["warning"],
        "note": f"Validation loss in nats at shares of the budget. Reference: the mean of {seeds} seed"
        f"{'s' if seeds > 1 else ''} of these settings, {describe(curve['tokens'])} tokens, on {curve['device']}, "
        f"{curve['backend']}, {curve['precision']}.",
    }


def _difference(promised, fact):
    if not promised or fact is None:
        return ""
    percent = round(100 * (fact / promised - 1), 1)
    return "as planned" if percent == 0 else f"{percent:+.1f}%".replace("-", "−")


def _time(record):
    seconds = record.seconds
    total = sum(seconds.values())
    if not total:
        return None
    order = ["step", *(kind for kind in KINDS if kind != "step"), *sorted(set(seconds) - {*KINDS, "other"}), "other"]
    names = {"step": "training steps", "checkpoint": "checkpoints", "compile": "compilation"}
    return [
        {
            "kind": kind if kind in KINDS else "other",
            "name": names.get(kind, kind.replace("_", " ")),
            "share": f"{1000 * seconds[kind] / total:.3f}",
            "seconds": describe_seconds(seconds[kind]),
            "percent": f"{100 * seconds[kind] / total:.1f}%",
        }
        for kind in order
        if seconds.get(kind, 0) > 5e-4 * total
    ]


def _curves(record):
    """Returns the curves and, in words, the settings that never changed."""
    speed = record.plan.get("tokens_per_second")
    planned = f"; dashed: the plan's {speed:,.0f}" if speed else ""
    wanted = (  # key, name, unit, how its axis is written
        ("learning_rate", "Learning rate", "", {"format_y": "{:g}".format}),
        ("batch_size", "Batch size", "rows per step", {"format_y": "{:,.0f}".format, "steps": True}),
        ("mask_rate", "Mask rate", "of the tokens", {"percent": True, "steps": True}),
        ("validation_accuracy", "Validation accuracy", "of the masked tokens", {"percent": True}),
        ("gradient_norm", "Gradient norm", "mean over each interval, before clipping", {}),
        ("parameter_norm", "Parameter norm", "", {}),
        ("tokens_per_second", "Throughput", f"tokens/s{planned}", {"format_y": describe, "level": speed}),
        ("mfu", "MFU", "model FLOPs of the device's measured matrix products", {"percent": True}),
        ("data_wait", "Data wait", "of the time between steps", {"percent": True}),
        ("loss_scale", "Loss scale", "", {"format_y": describe, "steps": True}),
        ("memory", "Memory", "GB", {"format_y": "{:.1f}".format}),
    )
    x = "budget_spent"
    curves, constants = [], []
    for key, name, unit, style in wanted:
        at, values = record.series(x, key)
        if key == "memory":
            values = [value / 1e9 for value in values]
        if not values:
            continue
        if len(set(values)) == 1 and key in ("batch_size", "mask_rate", "loss_scale", "memory"):
            value = f"{100 * values[0]:.3g}%" if style.get("percent") else style["format_y"](values[0])
            constants.append(f"{name.lower()} {value}{f' {unit}' if unit else ''}")
            continue
        title = f"{name} over the spent share of the budget"
        svg = curve_chart(title, at, values, **style)
        curves.append({"name": name, "unit": unit, "svg": Markup(svg)})
    notes = [f"The same throughout: {', '.join(constants)}."] if constants else []
    if len(record.training) > MOST_POINTS:
        notes.append(f"Each line is drawn at {MOST_POINTS} places: the mean of the log there, and as a band its range.")
    return curves, " ".join(notes)


def _incidents(record):
    rows = []
    for event in record.events:
        if "resumed_from_step" in event:
            lost = event["after_step"] - event["resumed_from_step"]
            details = f"went on after step {event['resumed_from_step']:,}"
            kind, message = "resumed", details + (f"; steps done again: {lost:,}" if lost > 0 else "")
        elif "changed" in event:
            kind = "changed"
            message = "; ".join(
                f"{key}: {json.dumps(old)} before, {json.dumps(new)} now"
                for key, (old, new) in event["changed"].items()
            )
        else:
            kind, message = str(event["incident"]), event.get("message", "")
        step = event.get("step", event["after_step"])
        rows.append({"step": f"{step:,}", "what": _INCIDENTS.get(kind, kind.replace("_", " ")), "details": message})
    skipped = [line for line in record.training if line.get("skipped_steps")]
    if skipped:
        count, first, last = sum(line["skipped_steps"] for line in skipped), skipped[0]["step"], skipped[-1]["step"]
        where = f"{first:,}" if first == last else f"{first:,} to {last:,}"
        details = f"{count:,} in all, their loss or gradient not finite"
        rows.append({"step": where, "what": "steps skipped", "details": details})
    return rows


def _samples(record):
    """Returns the texts, each with the answers at some checkpoints, first and last among them."""
    last = len(record.samples) - 1
    chosen = sorted({round(i) for i in np.linspace(0, last, _MOST_SAMPLES)}) if last >= 0 else []
    texts = {}
    for line in (record.samples[i] for i in chosen):
        for sample in line["samples"]:
            entry = texts.setdefault(sample["text"], {"rows": [], "expected": sample.get("expected")})
            guesses = [{"token": token, "percent": f"{share:.0%}"} for token, share in sample["answers"][:5]]
            entry["rows"].append({"step": f"{line['step']:,}", "guesses": guesses})
    mask = Markup("<mark>[MASK]</mark>")
    return [{**entry, "text": Markup(str(escape(text)).replace("[MASK]", str(mask)))} for text, entry in texts.items()]


def _phases(record):
    """Returns what each phase was, in words; `{}` of a run of one phase."""
    described = {}
    for number, plan in enumerate(record.plan.get("phases") or (), 1):
        lines = [line for line in record.training if line.get("phase") == number]
        losses = [line["validation_loss"] for line in record.validation if line.get("phase") == number]
        described[f"phase {number}"] = (
            f"{plan['steps']:,} steps planned of {plan['batch_size']:,} rows of {plan['sequence_length']} tokens, "
            f"learning rate {plan['learning_rate']:.4g} x {plan['schedule']}; "
            + (f"to step {lines[-1]['step']:,}" if lines else "not reached")
            + (f", validation loss {losses[-1]:.3f}" if losses else "")
        )
    return described


def _tables(record):
    circumstances = dict(record.circumstances)
    packages = circumstances.pop("packages", None) or {}
    circumstances.pop("command", None)
    versions = {name: version for name, version in packages.items() if version}
    corpus = record.recipe.get("corpus")
    recipe = {**record.recipe, **({"corpus fingerprint": corpus} if isinstance(corpus, str) else {})}
    if isinstance(corpus, str):
        del recipe["corpus"]
    return pages.fact_tables(
        ("Recipe: what decides the result", recipe),
        ("Phases", _phases(record)),
        ("Plan: what was calibrated", {key: value for key, value in record.plan.items() if key != "phases"}),
        ("Circumstances", {"device": record.find("device"), **circumstances}),
        ("Versions", versions),
        ("Retained checkpoints", {f"{line['mark']:.0%} of the budget": line.get("path") for line in record.marks}),
    )
