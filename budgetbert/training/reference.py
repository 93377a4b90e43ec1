"""Reference curves: the validation loss that runs of the same settings had at shares of their budget.

They stand in `reference_curves.json`; `tools/add_reference_curve.py` adds one from finished runs. Imports no Keras.
"""

import json
import os

import numpy as np

from budgetbert.command_line import InputError
from budgetbert.corpus.store import write_file

SHARES = (0.1, 0.25, 0.5, 1.0)
PATH = os.path.join(os.path.dirname(__file__), "reference_curves.json")
# What two runs must have in common for their losses to be comparable: from recipe.json, and from plan.json.
_OF_RECIPE = ("recipe", "preset", "budget", "learning_rate", "mask_rate", "batch_ramp", "objective", "variant")
_OF_PLAN = ("corpus_kind", "batch_size", "sequence_length")
# A run is far off beyond three times the range of the reference's seeds, but not within 0.1 nats: three seeds of the
# first curve were within 0.01 (docs/LOG.md, 2026-11-24), and demo texts differ between machines. The rule is ours.
_RANGES, _LEAST = 3, 0.1


def corpus_kind(corpus):
    """Returns what makes losses on a corpus comparable: its fingerprint; of the demo, whose text differs a little from
    machine to machine, how it was prepared.

    Args:
        corpus: `PreparedCorpus`.
    """
    if [source.get("source") for source in corpus.manifest["sources"]] != ["demo"]:
        return corpus.fingerprint
    return f"demo, {corpus.rows_kind} rows, {corpus.manifest['normalizer'].get('kind', 'bert')} normalizer"


def settings(record):
    """Returns what identifies the curve of a `Record`, as dict; `None` if the run was never planned."""
    values = {**{key: record.recipe.get(key) for key in _OF_RECIPE}, **{key: record.plan.get(key) for key in _OF_PLAN}}
    return values if values["corpus_kind"] else None


def losses(record):
    """Returns the validation losses at the `SHARES` that a run has reached, between its validations linearly."""
    spent, values = record.series("budget_spent", "validation_loss")
    return [float(np.interp(share, spent, values)) for share in SHARES if spent and share <= spent[-1]]


def make_curve(records):
    """Returns the reference curve (dict) of finished runs that differ in their seed only.

    Raises:
        InputError: if one of them is not finished, or they differ in more.
    """
    for record in records:
        if not record.final or settings(record) is None:
            raise InputError(f"{record.directory} is no finished run with a plan of this version: train it to its end.")
        if settings(record) != settings(records[0]):
            raise InputError(
                f"{record.directory} has other settings than {records[0].directory}: give one run's seeds."
            )
    seeds = [record.recipe.get("seed") for record in records]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"the runs have the seeds {', '.join(map(str, seeds))}: give each seed once.")
    values = np.array([losses(record) for record in records])
    return {
        "settings": settings(records[0]),
        "seeds": seeds,
        "losses": [round(float(value), 4) for value in values.mean(0)],
        "ranges": [round(float(value), 4) for value in np.ptp(values, 0)],
        "tokens": float(np.mean([record.final["tokens"] for record in records])),
        "device": records[0].plan["device"],
        "backend": records[0].plan["backend"],
        "precision": records[0].plan["precision"],
    }


def read_curves(path=PATH):
    """Returns the reference curves as a list of dict."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def add_curve(curve, path=PATH):
    """Writes a reference curve to the others; one of the same settings goes."""
    kept = [other for other in read_curves(path) if other["settings"] != curve["settings"]]
    write_file(path, (json.dumps([*kept, curve], indent=1) + "\n").encode())


def compare(record, curves=None):
    """Compares a run with the reference curve of its settings.

    Args:
        record: `Record`.
        curves: list of dict. Defaults to those of the package.

    Returns:
        Dict of the `curve`, the `rows` (a dict each of `share`, `loss`, `reference`, `difference` in nats and
        `far`), and a `warning` (str or `None`); `None` where there is no curve or nothing to compare.
    """
    curves = read_curves() if curves is None else curves
    curve = next((curve for curve in curves if curve["settings"] == settings(record)), None)
    reached = losses(record)
    if curve is None or not reached:
        return None
    rows = [
        {
            "share": share,
            "loss": loss,
            "reference": reference,
            "difference": loss - reference,
            "far": abs(loss - reference) > max(_LEAST, _RANGES * spread),
        }
        for share, loss, reference, spread in zip(SHARES, reached, curve["losses"], curve["ranges"], strict=False)
    ]
    return {"curve": curve, "rows": rows, "warning": _warning(rows)}


def _warning(rows):
    last = rows[-1]
    if not last["far"]:
        return None
    side = "above" if last["difference"] > 0 else "below"
    mend = (
        "look at the incidents, the corpus's report and what differs from the recipe"
        if side == "above"
        else "look whether held-out text stands in the training text"
    )
    nats = f"{abs(last['difference']):.2f} nats"
    return f"At {last['share']:.0%} of the budget the loss is {nats} {side} the reference: {mend}."
