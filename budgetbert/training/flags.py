"""What a pretraining run is asked for: each option once, as a field from which its flag is made. Imports no Keras."""

# ruff: noqa: RUF009 (each call makes a field)

import dataclasses
import math
import os
import re

from absl import flags

from budgetbert.budget import Budget
from budgetbert.command_line import check_output_dir
from budgetbert.errors import InputError
from budgetbert.presets import PRESETS, parse_config
from budgetbert.schedules import CURVES, MaskRate, parse_mask_rate
from budgetbert.training.loop.guards import EarlyStop
from budgetbert.training.plan.batch import check_batch_sizes
from budgetbert.training.plan.initial_model import InitialModel
from budgetbert.training.run.loggers import parse_loggers

# Of a batch at most: 256 times that of LAMB, the largest of the published ones.
_ROWS = 2**24
# No published peak is above 0.1 (of SGD), and at 10 nothing learns.
_HIGHEST_RATE = 10.0
# The crammed architecture even where the recipe's is another: in minutes a mini_24h does not get below the unigram
# entropy (docs/LOG.md, 2026-11-21), a mini_crammed does.
_DEMO = {"preset": "mini_crammed", "corpus": "demo", "budget": "4m", "marks": None}
_HIGHEST_NORM = 1e6
_REQUIRED = ("corpus", "output_dir")
# Of several processes where these lie may differ, what stands there may not.
_PATHS = (*_REQUIRED, "initial_model")


@dataclasses.dataclass(frozen=True)
class Cadence:
    """How often something is done: every so many seconds or optimizer steps.

    Args:
        amount: float.
        unit: str. `"seconds"` or `"steps"`.
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text):
        """Reads `--checkpoint_every`, as `10m` or `20steps`."""
        try:
            budget = Budget.parse(text)
        except InputError:
            budget = None
        if budget is None or budget.unit not in ("seconds", "steps"):
            raise InputError(f"--checkpoint_every {text!r} cannot be read: write a time (10m) or steps (20steps).")
        return cls(budget.amount, budget.unit)

    def due(self, step, seconds):
        """Returns whether it is due after a step, so many seconds after the last time."""
        # Steps count by their number, so that an interrupted run saves at the same ones as an undisturbed one.
        return step % self.amount == 0 if self.unit == "steps" else seconds >= self.amount

    def regular(self, step):
        """Returns whether an undisturbed run saves at this step too, as far as that can be known."""
        return self.unit == "seconds" or step % self.amount == 0


def _parse_betas(text):
    try:
        betas = tuple(float(beta) for beta in text.split(","))
    except ValueError:
        betas = ()
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        raise InputError(f"--betas {text!r} cannot be read: write two numbers of Adam from 0 to under 1, as 0.9,0.98.")
    return betas


def _parse_clip_norm(text):
    try:
        norm = math.inf if text == "none" else float(text)
    except ValueError:
        norm = math.nan
    if not (0 < norm < _HIGHEST_NORM or text == "none"):
        raise InputError(f"--clip_norm {text!r} cannot be read: write the largest norm, as 1.0, or none.")
    return norm


def _parse_devices(text):
    if text == "auto":
        return None
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise InputError(f"--devices {text!r} cannot be read: write auto, or how many.")
    return int(text)


def _parse_marks(text):
    try:
        marks = tuple(sorted({float(mark) for mark in text.split(",") if mark.strip()}))
    except ValueError:
        marks = (0.0,)
    if not all(0 < mark <= 1 for mark in marks):
        raise InputError(f"--marks {text!r} cannot be read: write shares of the budget, as 0.5,0.75.")
    return marks


def _flag(written, define, default, help, *bounds, parse=None):
    """A field of `Options`: as what `recipe.json` has it, how its flag is defined, and how its value is read."""
    return dataclasses.field(metadata={"written": written, "flag": (define, default, help, bounds), "parse": parse})


# What `recipe.json` has among what decides the result, so that another start of the run must be given it again, and
# what among the circumstances, which may differ. Anything else is written in a form of its own, or changes nothing.
DECISIVE, CIRCUMSTANCE = "decisive", "circumstance"
_RECIPE = object()  # The default of a flag that is the recipe's published value.
_STRING, _INTEGER, _FLOAT, _BOOL = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_float, flags.DEFINE_bool
_OPTIMIZERS, _PRECISIONS = ("adamw", "lamb", "muon"), ("auto", "float32", "mixed_bfloat16", "mixed_float16")
_BUDGETS = "Time (24h, 10m), steps (5000steps), tokens (12.1Btokens) or FLOPs (1.4EFLOP)."


def _one_of(names):
    return lambda name, default, help, **keywords: flags.DEFINE_enum(name, default, names, help, **keywords)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What was asked of a pretraining run, read once. There is a field for each flag, and so more than ten.

    Args:
        given: dict of the values as they were given, by flag.
        corpus, ...: the values as they were read. The help of each flag, which its field makes, says what it is.

    Example:
        >>> Options.read({"budget": "24h", "preset": "mini"}, family="24h").preset
        'mini_24h'
    """

    given: dict
    corpus: str = _flag(CIRCUMSTANCE, _STRING, None, "A prepared corpus, raw text, or demo.")
    output_dir: str = _flag(
        None, _STRING, None, "The run's directory; the same command on it goes on where it stopped."
    )
    budget: Budget = _flag(None, _STRING, _RECIPE, _BUDGETS, parse=Budget.parse)
    preset: str = _flag(
        None, _STRING, _RECIPE, "An architecture, or mini or tiny for a small one of this recipe's family."
    )
    initial_model: InitialModel | None = _flag(
        CIRCUMSTANCE,
        _STRING,
        None,
        "A trained model to go on from: a model.keras, a preset's folder, a BERT of Hugging Face (folder or hub name).",
        parse=InitialModel.read,
    )
    batch_size: int | None = _flag(
        DECISIVE, _INTEGER, None, "Rows of an optimizer step; default: it follows from the plan.", 1, _ROWS
    )
    micro_batch_size: int | None = _flag(
        DECISIVE, _INTEGER, None, "Rows computed at once; default: what suits the device.", 1, _ROWS
    )
    learning_rate: float | None = _flag(
        DECISIVE, _FLOAT, _RECIPE, "Peak of the schedule; by default as published.", 0.0, _HIGHEST_RATE
    )
    optimizer: str | None = _flag(
        None, _one_of(_OPTIMIZERS), None, "With the recipe's betas and decay; default: as published."
    )
    schedule: str | None = _flag(
        None, _one_of(tuple(CURVES)), None, "Of the learning rate over the budget; default: as published."
    )
    warmup: float | None = _flag(
        None, _FLOAT, None, "Share of the budget over which the rate rises; default: the schedule's.", 0.0, 0.99
    )
    weight_decay: float | None = _flag(None, _FLOAT, None, "Of the optimizer; default: as published.", 0.0, 10.0)
    betas: tuple | None = _flag(
        None, _STRING, None, "Two of Adam's, as 0.9,0.98; default: as published.", parse=_parse_betas
    )
    clip_norm: float | None = _flag(
        None,
        _STRING,
        None,
        "Of the gradient's global norm, as 1.0, or none; default: as published.",
        parse=_parse_clip_norm,
    )
    dropout: float | None = _flag(
        None, _FLOAT, None, "In pretraining, and in the saved model unless 0; default: as published.", 0.0, 0.9
    )
    config: dict = _flag(
        None,
        _STRING,
        None,
        'For research: fields of the architecture that differ from the preset, as {"num_layers": 6}.',
        parse=parse_config,
    )
    length_bins: int | None = _flag(
        None,
        _INTEGER,
        None,
        "Tokens by which the lengths of rows with padding are binned, as 64; 0: none; default: as the recipe has it.",
        0,
        65_536,
    )
    batch_ramp: float = _flag(
        DECISIVE, _FLOAT, _RECIPE, "Share of the budget over which the batch grows; 0: none.", 0.0, 1.0
    )
    mask_rate: MaskRate = _flag(
        DECISIVE,
        _STRING,
        _RECIPE,
        "Share of the tokens to predict, or a schedule: 0.30:0.15.",
        parse=parse_mask_rate,
    )
    precision: str = _flag(DECISIVE, _one_of(_PRECISIONS), "auto", "What to compute in.")
    remat: str = _flag(
        CIRCUMSTANCE,
        _one_of(("auto", "on", "off")),
        "auto",
        "Compute each block again in the backward pass: less memory, a third more time; auto: where it does not fit.",
    )
    seed: int = _flag(DECISIVE, _INTEGER, 0, "Of weights, order, masks and dropout.", 0, 2**32 - 1)
    devices: int | None = _flag(
        CIRCUMSTANCE,
        _STRING,
        "auto",
        "How many share a batch, those of all processes together; auto: all.",
        parse=_parse_devices,
    )
    checkpoint_every: Cadence = _flag(CIRCUMSTANCE, _STRING, "10m", "A time or steps, as 20steps.", parse=Cadence.parse)
    keep_checkpoints: int = _flag(CIRCUMSTANCE, _INTEGER, 3, "How many of the newest stay.", 1, 10**6)
    marks: tuple = _flag(
        CIRCUMSTANCE,
        _STRING,
        _RECIPE,
        "Shares of the budget at which the model is kept for good, as 0.5,0.75.",
        parse=_parse_marks,
    )
    stop_at: float = _flag(
        CIRCUMSTANCE, _FLOAT, 1.0, "Share of the budget to stop at; the same command without it goes on.", 0.0, 1.0
    )
    early_stop: EarlyStop | None = _flag(
        DECISIVE,
        _STRING,
        _RECIPE,
        "Give up a run whose validation loss is too high, as 3h:6.0; none: never.",
        parse=EarlyStop.parse,
    )
    loggers: tuple = _flag(
        CIRCUMSTANCE,
        _STRING,
        None,
        "tensorboard, wandb, or both with a comma between, beside log.jsonl.",
        parse=parse_loggers,
    )
    price_per_hour: float | None = _flag(
        CIRCUMSTANCE, _FLOAT, None, "Of the machine, in any currency, for the cost of the run.", 0.0, 1e9
    )
    plan_only: bool = _flag(None, _BOOL, False, "Print what the budget buys on this machine, and stop.")
    recalibrate: bool = _flag(
        None, _BOOL, False, "Measure the speed anew although there is a plan, as of a busy machine."
    )
    demo: bool = _flag(None, _BOOL, False, "A small model on the demo text for 4 minutes, then masks filled by it.")

    @classmethod
    def read(cls, values, family):
        """Reads what was given.

        Args:
            values: dict of the flags' values; one that is missing has the default of its flag, or no value where that
                is the recipe's.
            family: str. Of the recipe, whose sizes `mini` and `tiny` are.

        Raises:
            InputError: if one cannot be read, or they do not fit together.
        """
        given = {field.name: _default(field) for field in _fields()} | values
        for name, value in given.items():
            if isinstance(value, float) and not math.isfinite(value):  # The bounds of absl let nan pass.
                raise InputError(f"--{name} {value} is no finite number: give one.")
        for name, kind in (("learning_rate", "rate"), ("stop_at", "share of the budget")):
            if given[name] is not None and not given[name] > 0:
                raise InputError(f"--{name} {given[name]} is no {kind}: give a number above zero.")
        if given["early_stop"] in EarlyStop.WORDS:
            given["early_stop"] = EarlyStop.written(given["early_stop"], Budget.parse(given["budget"]))
        read = dict(given)
        for field in _fields():
            if (parse := field.metadata["parse"]) and read[field.name] is not None:
                read[field.name] = parse(read[field.name])
        check_batch_sizes(given["batch_size"], given["micro_batch_size"])
        read["preset"] = _resolve_preset(given["preset"], family)
        read.update({name: read[name] or () for name in ("marks", "loggers")})
        read["config"] = read["config"] or {}
        return cls(**read, given=given)

    @property
    def model_name(self):
        """str. The preset, or what is told of the `--initial_model` in its place."""
        return self.initial_model.name if self.initial_model else self.preset

    def written(self, kind):
        """Returns a dict of the values as given that are `DECISIVE`, or `CIRCUMSTANCE`."""
        return {field.name: self.given[field.name] for field in _fields() if field.metadata["written"] == kind}

    @property
    def same_in_all_processes(self):
        """Dict of what all processes of a run have to be started with."""
        return {f"--{name}": value for name, value in self.given.items() if name not in _PATHS}


def _fields():
    return [field for field in dataclasses.fields(Options) if field.name != "given"]


def _default(field, published=None):
    default = field.metadata["flag"][1]
    return (published or {}).get(field.name) if default is _RECIPE else default


def _resolve_preset(name, family):
    """Returns the preset of a name; `mini` and `tiny` are those sizes of the recipe's own family."""
    preset = f"{name}_{family}" if name in ("mini", "tiny") else name
    if preset not in PRESETS:
        raise InputError(f"--preset {name} is unknown: take mini, tiny or one of {', '.join(sorted(PRESETS))}.")
    return preset


def define_flags(published, flag_values=flags.FLAGS):
    """Defines the flags of a pretraining recipe.

    Args:
        published: dict of the published values that are the defaults of flags: `preset`, `budget`, `learning_rate`
            (`None` where it follows from the batch), `mask_rate`, and where there is one `batch_ramp`, `marks` or
            `early_stop`.
        flag_values: `absl.flags.FlagValues` in which they are defined. Defaults to those of the command line.
    """
    published = {"batch_ramp": 0.0, "marks": None, "early_stop": None, **published}
    for field in _fields():
        define, _, help, bounds = field.metadata["flag"]
        define(field.name, _default(field, published), help, *bounds, flag_values=flag_values)


def was_given(name):
    """Returns whether a flag stands on the command line."""
    return flags.FLAGS[name].present > 0


def read_flags(family, demo=None, defaults=None, new_vocabulary=False):
    """Returns the `Options` of the command line; `--demo` stands for those that were not given.

    Args:
        family: str. Of the recipe, see `Options.read`.
        demo: dict of values of flags that `--demo` stands for in this recipe, besides those that it does in all.
        defaults: dict of values that stand for flags that were not given, in place of those they were defined with.
        new_vocabulary: bool. Whether the corpus may have another vocabulary than the `--initial_model`. Defaults to
            `False`.

    Raises:
        InputError: if a flag is missing that has no default, cannot be read or is no positive number, or the corpus
            is not there, or has other tokens than the model.
    """
    values = {field.name: flags.FLAGS[field.name].value for field in _fields()}
    instead = {**(defaults or {}), **({**_DEMO, **(demo or {})} if values["demo"] else {})}
    values.update({name: value for name, value in instead.items() if not was_given(name)})
    for name in _REQUIRED:
        if not values[name]:
            raise InputError(
                f"--{name} is missing: name one, or see a run in a few minutes with --demo --output_dir DIR."
            )
    check_output_dir(values["output_dir"])
    for name in ("preset", "config"):
        if values["initial_model"] and was_given(name):
            raise InputError(f"--{name} says what --initial_model says too, its architecture: leave --{name} out.")
    options = Options.read(values, family)
    _check_corpus(options, new_vocabulary)
    return options


def _check_corpus(options, new_vocabulary):
    """Raises an `InputError` where the corpus is not there, or not for the initial model; a finished run needs none.

    So before Keras is imported.
    """
    if os.path.exists(os.path.join(options.output_dir, "model.keras")):
        return
    # This import takes a second, which --help and a wrong flag need not wait for.
    from budgetbert.corpus.prepare import check_sources, is_prepared

    prepared = {name for name in (options.corpus, *options.corpus.split(",")) if is_prepared(name)}
    if not prepared:
        check_sources(options.corpus)
    if options.initial_model and not new_vocabulary:
        from budgetbert.corpus.store import open_corpus

        for name in sorted(prepared):
            options.initial_model.check_tokens(open_corpus(name))
