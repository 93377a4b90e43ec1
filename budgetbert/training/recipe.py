"""What a paper published, as data: its phases, and how a budget is split between them."""

import dataclasses
import itertools
import math
from collections.abc import Callable

from budgetbert import flops
from budgetbert.batches import PUBLISHED_SHARES, predictions_per_row
from budgetbert.budget import Budget
from budgetbert.errors import InputError
from budgetbert.optimizers import change_optimizer, convert_optimizer, optimizer_name, settings_of
from budgetbert.presets import PRESETS
from budgetbert.schedules import with_settings

EVERY_TENTH = tuple(i / 10 for i in range(1, 10))
# What stands at the places to predict in validation. A recipe.json without it is of the time when validation showed a
# token in one of five of them, as training does: its losses are lower, and say less.
VALIDATION_MASKS = "[MASK] alone"
_REST = ("name", "learning_rate")  # of an optimizer's config: a label, and what the schedule sets at each step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training with rows, a batch and a schedule of its own. Most recipes have one.

    Args:
        batch_size: int. Rows, as published.
        schedule: function of x, the spent fraction of the phase's share of the budget, that returns a factor of the
            peak learning rate; `None` where `rates` says it.
        rates: function of the rows of the batch that is used, that returns the peak learning rate and the schedule;
            `None` (default) where neither follows from the batch.
        sequence_length: int. Tokens per row. Defaults to 128.
        steps: int, as published; how a budget is split follows from it. `None` (default) in a recipe of one phase.
        length_bins: int or `None` (default). Tokens by which the lengths of rows with padding are binned, where these
            have four bins or more.
        resets_step: bool. Whether the optimizer's step counter and the loss scale start anew with this phase, the
            moments staying. Defaults to `False`.
        embeddings_only: bool. Whether the encoder's blocks stay as they are, so that embeddings and head alone learn.
            Defaults to `False`.
    """

    batch_size: int
    schedule: Callable | None = None
    rates: Callable | None = None
    sequence_length: int = 128
    steps: int | None = None
    length_bins: int | None = None
    resets_step: bool = False
    embeddings_only: bool = False

    def trains(self, variable):
        """Returns whether the phase changes a `keras.Variable` of the model."""
        of_encoder = any(part.startswith(("block_", "final_norm")) for part in variable.path.split("/"))
        return not (self.embeddings_only and of_encoder)

    def rates_at(self, batch_size):
        """Returns the peak learning rate, `None` for that of the recipe, and the schedule with such a batch."""
        return self.rates(batch_size) if self.rates else (None, self.schedule)

    def with_settings(self, schedule, warmup):
        """Returns the phase with another schedule (str) or warm-up (float); `None` for its own."""
        if schedule is None and warmup is None:
            return self
        if self.rates is None:
            return dataclasses.replace(self, schedule=with_settings(self.schedule, schedule, warmup))

        def rates(batch_size):
            peak, curve = self.rates(batch_size)
            return peak, with_settings(curve, schedule, warmup)

        rates(self.batch_size)
        return dataclasses.replace(self, rates=rates)

    @property
    def numbers(self):
        """dict that JSON can hold: what was published."""
        rate, schedule = self.rates_at(self.batch_size)
        values = {"steps": self.steps, "batch_size": self.batch_size, "sequence_length": self.sequence_length}
        if self.length_bins:
            values["length_bins"] = self.length_bins
        if self.embeddings_only:
            values["embeddings_only"] = True
        return {**values, "learning_rate": rate, "schedule": describe_schedule(schedule)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a paper published.

    Args:
        name: str. The recipe file.
        preset: str. The architecture; `family` is its suffix, so that `--preset mini` can be resolved.
        family: str.
        phases: tuple of `Phase`.
        preparation: dict of the options of `prepare_corpus` that the paper's text was prepared with, its row length
            apart. Raw text is prepared so, and a prepared corpus compared with it.
        optimizer: function of no arguments that returns an unbuilt `keras.optimizers.Optimizer`.
        clip_norm: float or `None`. Of the gradient's global norm.
        budget, learning_rate, mask_rate, batch_ramp, marks: the published values of the flags of these names; the
            learning rate is `None` where the phases say it.
        dropout: bool. Whether the architecture's dropout is active in pretraining. Defaults to `True`.
        mask_shares: tuple of two floats. Which shares of the tokens to predict become [MASK] and a random token in
            training. Defaults to the published (0.8, 0.1); validation shows [MASK] alone in every recipe.
        validate_at: tuple of the spent fractions, between 0 and 1, at which the run validates, besides start and end.
            Defaults to every tenth.
        objective: `"mlm"` (default) or `"mlm_nsp"`.
        published_objective: the paper's. Defaults to `"mlm"`.
        published_vocabulary: str, or `None` (default) where the paper trained one on its text.
        architecture: dict of fields of the preset's encoder that the recipe sets, as `activation`. Defaults to none.
        differences: tuple of str. What always differs from the paper, to be printed. Defaults to none.
        new_vocabulary: bool. Whether the text of a continued run has a vocabulary of its own, as of another language.
            Defaults to `False`.
        keep_an_eye_on: str. A prepared corpus of the text from before, whose held-out rows are validated too. Defaults
            to `None`.
        flags: dict of the recipe's own flags and their values, for `recipe.json`. Defaults to none.
        initial_run: `InitialRun` whose weights and moments a run begins with, or `None` (default).
    """

    name: str
    preset: str
    family: str
    phases: tuple
    preparation: dict
    optimizer: Callable
    clip_norm: float | None
    budget: str
    learning_rate: float | None
    mask_rate: str
    batch_ramp: float = 0.0
    marks: str | None = None
    dropout: bool = True
    mask_shares: tuple = PUBLISHED_SHARES
    validate_at: tuple = EVERY_TENTH
    objective: str = "mlm"
    published_objective: str = "mlm"
    published_vocabulary: str | None = None
    architecture: dict = dataclasses.field(default_factory=dict)
    differences: tuple = ()
    new_vocabulary: bool = False
    keep_an_eye_on: str | None = None
    flags: dict = dataclasses.field(default_factory=dict)
    initial_run: object = None

    def with_settings(self, options):
        """Returns the recipe with what the flags of `Options` set of optimizer, schedules, clipping and dropout.

        Raises:
            InputError: if there is a `--warmup` and the schedule has none.
        """
        changed = {"phases": tuple(phase.with_settings(options.schedule, options.warmup) for phase in self.phases)}
        if options.optimizer or options.betas or options.weight_decay is not None:
            decay, betas = options.weight_decay, options.betas
            changed["optimizer"] = lambda: change_optimizer(
                convert_optimizer(self.optimizer(), options.optimizer or optimizer_name(self.optimizer())),
                weight_decay=decay,
                betas=betas,
            )
        if options.length_bins is not None:
            width = options.length_bins or None
            changed["phases"] = tuple(dataclasses.replace(phase, length_bins=width) for phase in changed["phases"])
        if options.clip_norm is not None:
            changed["clip_norm"] = options.clip_norm if options.clip_norm < math.inf else None
        architecture = {**self.architecture, **options.config}
        if options.initial_model:
            architecture = dict(options.initial_model.architecture)
        if options.dropout is not None:
            changed["dropout"] = options.dropout > 0
            # Without dropout in pretraining the architecture keeps its own, for finetuning.
            if options.dropout:
                architecture["dropout"] = options.dropout
                if options.initial_model:
                    architecture["attention_dropout"] = None  # Its own may differ from its dropout.
        changed["architecture"] = architecture
        return dataclasses.replace(self, **changed)

    @property
    def active_dropout(self):
        """float. What pretraining drops."""
        return config_of(self.preset, self)["dropout"] if self.dropout else 0.0

    @property
    def numbers(self):
        """dict that JSON can hold: every number of the recipe that no common flag sets."""
        optimizer = self.optimizer()
        config = {key: value for key, value in optimizer.get_config().items() if value is not None and key not in _REST}
        return {
            **self.flags,
            "optimizer": {"class": type(optimizer).__name__, **config},
            "clip_norm": self.clip_norm,
            "dropout_in_pretraining": self.active_dropout,
            **({"architecture": self.architecture} if self.architecture else {}),
            "objective": self.objective,
            "mask_shares": self.mask_shares,
            "validation_masks": VALIDATION_MASKS,
            "validate_at": list(self.validate_at),
            "preparation": self.preparation,
            "phases": {str(i + 1): phase.numbers for i, phase in enumerate(self.phases)},
        }


def config_of(preset, recipe, vocabulary_size=None):
    """Returns the configuration of the masked-LM that a run trains.

    Args:
        preset: str. The architecture.
        recipe: `Recipe` with the settings of the flags. What it sets of the encoder, `--config` included, overrides
            the preset.
        vocabulary_size: int. Defaults to `None`: that of the preset.

    Returns:
        dict of the arguments of encoder and head.
    """
    config = {**PRESETS[preset]["backbone"], **PRESETS[preset]["masked_lm"], **recipe.architecture}
    return {**config, "vocabulary_size": vocabulary_size or config["vocabulary_size"]}


def describe_schedule(schedule):
    """Returns a curve of `budgetbert.schedules`, perhaps a `functools.partial` of one, as it would be written."""
    function, settings = getattr(schedule, "func", schedule), getattr(schedule, "keywords", {})
    return f"{function.__name__}({', '.join(f'{name}={value:.6g}' for name, value in settings.items())})"


def split_budget(budget, recipe):
    """Splits a budget between the phases as the published plan splits what it spends of that unit.

    Steps and tokens are the plan's own; FLOPs are those of the published architecture and vocabulary; time follows the
    FLOPs, as if both phases used the device equally well.

    Args:
        budget: `Budget`.
        recipe: `Recipe`.

    Returns:
        List of `Budget`, one for each phase. Steps are whole, at least one for each phase.

    Raises:
        InputError: if there are more phases than steps.
    """
    if len(recipe.phases) == 1:
        return [budget]
    if budget.unit == "steps" and budget.amount < len(recipe.phases):
        raise InputError(f"--budget {budget} is less than a step for each of {len(recipe.phases)} phases: give more.")
    shares = [_published(phase, recipe, budget.unit) for phase in recipe.phases]
    bounds = [budget.amount * sum(shares[:i]) / sum(shares) for i in range(1, len(shares))]
    if budget.unit == "steps":
        last = len(bounds)
        bounds = [min(max(round(bound), i + 1), budget.amount - last + i) for i, bound in enumerate(bounds)]
    bounds = [0.0, *bounds, budget.amount]
    return [Budget(end - start, budget.unit) for start, end in itertools.pairwise(bounds)]


def _published(phase, recipe, unit):
    """What a phase of the published plan spends of a unit, or what is in proportion to it."""
    if unit == "steps":
        return phase.steps
    tokens = phase.steps * phase.batch_size * phase.sequence_length
    if unit == "tokens":
        return tokens
    config = {**PRESETS[recipe.preset]["backbone"], **PRESETS[recipe.preset]["masked_lm"]}
    predictions = predictions_per_row(float(recipe.mask_rate), phase.sequence_length)
    return tokens * flops.training_flops_per_token(config, phase.sequence_length, predictions)


def deviations(recipe, asked, options, vocabulary_size, corpora):
    """Returns what differs from the published recipe, as a list of phrases.

    Args:
        recipe: `Recipe`, as published.
        asked: `Recipe`, with the settings of the flags.
        options: `Options`.
        vocabulary_size: int. Of the model.
        corpora: list of `PreparedCorpus`, one for each phase.
    """
    published_config = PRESETS[recipe.preset]["backbone"]
    first = recipe.phases[0]
    ours, theirs = asked.optimizer(), recipe.optimizer()
    published_vocabulary = recipe.preparation.get("vocabulary_size", published_config["vocabulary_size"])
    published_rate = recipe.learning_rate or first.rates_at(first.batch_size)[0]
    compared = {
        "architecture": (options.model_name, recipe.preset),
        "budget": (options.budget, Budget.parse(recipe.budget)),
        "learning rate": (options.learning_rate or published_rate, published_rate),
        "mask rate": (options.given["mask_rate"], recipe.mask_rate),
        "optimizer": (optimizer_name(ours), optimizer_name(theirs)),
        "weight decay and betas": (settings_of(ours), settings_of(theirs)),
        "clipping": (asked.clip_norm, recipe.clip_norm),
        "fields of the architecture (research)": (options.config or "none", "none"),
        "batch ramp": (options.batch_ramp, recipe.batch_ramp),
        "objective": (recipe.objective, recipe.published_objective),
        "vocabulary": (vocabulary_size, -(-published_vocabulary // 64) * 64),
        "dropout": (asked.active_dropout, recipe.active_dropout),
        "batch": (options.batch_size or first.batch_size, first.batch_size),
    }
    if options.initial_model:
        del compared["vocabulary"]  # It is that of the model, or of its new text.
    for number, (corpus, phase) in enumerate(zip(corpora, recipe.phases, strict=True), 1):
        of_phase = f" of phase {number}" if len(corpora) > 1 else ""
        curves = asked.phases[number - 1].numbers["schedule"], phase.numbers["schedule"]
        compared[f"schedule{of_phase}"] = curves
        compared[f"row length{of_phase}"] = (corpus.sequence_length, phase.sequence_length)
        prepared = {**corpus.manifest.get("options", {}), "rows": corpus.rows_kind, "order": corpus.order}
        if isinstance(prepared.get("filter"), float):  # That is how the manifest has what is written t=0.3 at --filter.
            prepared["filter"] = f"t={prepared['filter']:g}"
        for name, published in recipe.preparation.items():
            if name != "vocabulary_size":
                compared[f"{name}{of_phase}"] = (prepared.get(name) or "none", published)
    if isinstance(corpora[0].manifest.get("options", {}).get("vocabulary"), int) and recipe.published_vocabulary:
        compared["entries"] = ("trained on the text", f"those of {recipe.published_vocabulary}")

    def written(value):
        return f"{value:.4g}" if isinstance(value, float) else value

    differing = [
        f"{name} {written(ours)}, published {written(theirs)}"
        for name, (ours, theirs) in compared.items()
        if ours != theirs
    ]
    return [*differing, *recipe.differences]
