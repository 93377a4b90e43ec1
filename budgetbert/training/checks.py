"""What is looked at before a run starts: names, sizes and files that do not fit, each answered with one sentence."""

import keras

from budgetbert.budget import Budget
from budgetbert.command_line import InputError
from budgetbert.models.presets import PRESETS
from budgetbert.training.guards import EarlyStop


def padded(size):
    """Returns a vocabulary size rounded up to a multiple of 64, as the logits' matrix product likes it."""
    return -(-size // 64) * 64


def resolve_preset(name, family):
    """Returns the preset of a name; `mini` and `tiny` are those sizes of the recipe's own family.

    Raises:
        InputError: if there is none of the name.
    """
    preset = f"{name}_{family}" if name in ("mini", "tiny") else name
    if preset not in PRESETS:
        raise InputError(f"--preset {name} is unknown: take mini, tiny or one of {', '.join(sorted(PRESETS))}.")
    return preset


def parse_cadence(text):
    """Reads `--checkpoint_every`, as `10m` or `20steps`, into an amount and `"seconds"` or `"steps"`."""
    try:
        cadence = Budget.parse(text)
    except InputError:
        cadence = None
    if cadence is None or cadence.unit not in ("seconds", "steps"):
        raise InputError(f"--checkpoint_every {text!r} cannot be read: write a time (10m) or steps (20steps).")
    return cadence.amount, cadence.unit


def parse_early_stop(text):
    """Reads `--early_stop`, as `3h:6.0`, into an `EarlyStop`; `None` without one."""
    if not text:
        return None
    after, _, limit = text.partition(":")
    try:
        return EarlyStop(Budget.parse(after), float(limit))
    except ValueError as error:
        raise InputError(
            f"--early_stop {text!r} cannot be read: write when and the highest loss allowed from then on, as 3h:6.0."
        ) from error


def parse_marks(text):
    """Reads `--marks`, as `0.5,0.75`, into a tuple of floats in (0, 1]."""
    try:
        marks = tuple(sorted({float(mark) for mark in (text or "").split(",") if mark.strip()}))
    except ValueError:
        marks = (0.0,)
    if not all(0 < mark <= 1 for mark in marks):
        raise InputError(f"--marks {text!r} cannot be read: write shares of the budget, as 0.5,0.75.")
    return marks


def check_batch_sizes(batch_size, micro_batch_size):
    """Raises an `InputError` where a batch (int or `None`) is no multiple of the micro-batch (int or `None`)."""
    if batch_size and micro_batch_size and batch_size % micro_batch_size:
        raise InputError(
            f"--batch_size {batch_size} is not a multiple of --micro_batch_size {micro_batch_size}: change one of them."
        )


def check_rows_fit(corpus, max_sequence_length, name):
    """Raises an `InputError` where a corpus's rows are longer than a model's positions."""
    if corpus.sequence_length > max_sequence_length:
        raise InputError(
            f"{corpus.directory} has rows of {corpus.sequence_length} tokens, {name} has {max_sequence_length} "
            f"positions: prepare the corpus with --sequence_length {max_sequence_length} or less."
        )


def check_labels(corpus, objective):
    """Raises an `InputError` where an objective needs labels that a corpus's rows do not have."""
    if objective == "mlm_nsp" and corpus.rows_kind != "pairs":
        raise InputError(
            f"--objective mlm_nsp needs rows of two segments, {corpus.directory} has {corpus.rows_kind} rows: prepare "
            "the corpus with --rows pairs, or take --objective mlm."
        )


def load_result(path):
    """Loads the `model.keras` of a finished run.

    Raises:
        InputError: if it is not there or cannot be read.
    """
    try:
        return keras.models.load_model(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} of a finished run cannot be loaded ({error}): train in another directory.") from error


def deviations(recipe, options, budget, preset, corpora):
    """Returns what differs from the published recipe, as a list of phrases.

    Args:
        recipe: `Recipe`.
        options: object with an attribute for each flag of the pretraining recipes.
        budget: `Budget`.
        preset: str.
        corpora: list of `PreparedCorpus`, one for each phase.
    """
    config = PRESETS[preset]["backbone"]
    first = recipe.phases[0]
    published_rate = recipe.learning_rate or first.rates_at(first.batch_size)[0]
    compared = {
        "architecture": (preset, recipe.preset),
        "budget": (budget, Budget.parse(recipe.budget)),
        "learning rate": (options.learning_rate or published_rate, published_rate),
        "mask rate": (options.mask_rate, recipe.mask_rate),
        "batch ramp": (options.batch_ramp, recipe.batch_ramp),
        "objective": (recipe.objective, recipe.published_objective),
        "vocabulary": tuple(
            padded(size) for size in (len(corpora[0].vocabulary), PRESETS[recipe.preset]["backbone"]["vocabulary_size"])
        ),
        "dropout": (config["dropout"], PRESETS[recipe.preset]["backbone"]["dropout"]),
        "batch": (options.batch_size or first.batch_size, first.batch_size),
    }
    for number, (corpus, phase) in enumerate(zip(corpora, recipe.phases, strict=True), 1):
        of_phase = f" of phase {number}" if len(corpora) > 1 else ""
        compared[f"row length{of_phase}"] = (corpus.sequence_length, phase.sequence_length)
        prepared = {**corpus.manifest.get("options", {}), "rows": corpus.rows_kind, "order": corpus.order}
        if isinstance(prepared.get("filter"), float):  # as it is written at --filter
            prepared["filter"] = f"t={prepared['filter']:g}"
        for name, published in recipe.preparation.items():
            if name != "vocabulary_size":
                compared[f"{name}{of_phase}"] = (prepared.get(name) or "none", published)

    def written(value):
        return f"{value:.4g}" if isinstance(value, float) else value

    return [
        f"{name} {written(ours)}, published {written(theirs)}"
        for name, (ours, theirs) in compared.items()
        if ours != theirs
    ]
