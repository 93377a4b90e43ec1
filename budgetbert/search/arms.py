"""The arms of a search: which settings of a recipe are tried, read and checked before anything is spent."""

import dataclasses
import itertools
import json
from pathlib import Path

from absl import flags

from budgetbert.errors import InputError
from budgetbert.schedules import CURVES, with_settings
from budgetbert.training.flags import Options, define_flags

# What the search sets itself, and what stands beside the flags of an arm.
_TAKEN = ("corpus", "output_dir", "budget", "seed", "stop_at", "plan_only", "recalibrate", "demo", "given", "config")
# Of each recipe: the family whose sizes `mini` and `tiny` are, and its schedule.
RECIPES = {
    "academic_24h": ("24h", "linear"),
    "cramming_24h": ("crammed", "triangle"),
    "frontier": ("frontier", "linear"),
    "lamb_76min": ("bert", "polynomial"),
}
# 24hBERT's: batches of 4K, 8K and 16K, three rates, four warm-ups. The final values are those of its README.
_PUBLISHED = {
    "academic_24h": {
        "batch_size": [4096, 8192, 16_384],
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "warmup": [0.0, 0.02, 0.04, 0.06],
    }
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One configuration.

    Args:
        flags: dict of flags of the recipe and their values.
        config: dict of fields of the preset that are overridden.

    Example:

    >>> Arm({"learning_rate": 1e-3}, {"num_layers": 6}).name
    'learning_rate=0.001 num_layers=6'
    """

    flags: dict
    config: dict

    @property
    def settings(self):
        """dict of flags and fields together."""
        return {**self.flags, **self.config}

    @property
    def name(self):
        """str, for people."""
        return _written(self.settings)

    @property
    def arguments(self):
        """list of str, for the recipe's command line."""
        given = [f"--{key}={value}" for key, value in self.flags.items()]
        return given + ([f"--config={json.dumps(self.config)}"] if self.config else [])


def _written(settings):
    return " ".join(f"{key}={value}" for key, value in settings.items()) or "as published"


def short_names(arms):
    """Returns what all arms set alike (str, empty for nothing), and what each sets beside it (list of str).

    Example:

    >>> short_names([Arm({"optimizer": "muon", "learning_rate": rate}, {}) for rate in (0.01, 0.02)])
    ('optimizer=muon', ['learning_rate=0.01', 'learning_rate=0.02'])
    """
    settings = [arm.settings for arm in arms]
    alike = [key for key in settings[0] if all(key in one and one[key] == settings[0][key] for one in settings)]
    own = [{key: value for key, value in one.items() if key not in alike} for one in settings]
    return _written({key: settings[0][key] for key in alike}) if alike else "", [_written(one) for one in own]


def read_arms(grid, recipe):
    """Reads what is to be tried.

    Args:
        grid: str. `published`, or the path of a JSON file: a list of arms, each an object with `flags`, `config` or
            both, or an object of flags and lists of their values, all combinations of which are arms.
        recipe: str, its name.

    Returns:
        list of `Arm`, two at least, each another.

    Raises:
        InputError: naming what cannot be used.
    """
    if grid == "published":
        if recipe not in _PUBLISHED:
            raise InputError(f"--grid published: {recipe} published none; {', '.join(_PUBLISHED)} did. Give a file.")
        written = _PUBLISHED[recipe]
    else:
        try:
            written = json.loads(Path(grid).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"--grid {grid} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"--grid {grid} is not JSON ({error}): see --help.") from error
    if isinstance(written, dict) and all(isinstance(values, list) and values for values in written.values()):
        pairs = ([(key, value) for value in values] for key, values in written.items())
        written = [{"flags": dict(combination)} for combination in itertools.product(*pairs)]
    if not isinstance(written, list) or not all(_is_arm(one) for one in written):
        raise InputError(
            f'--grid {grid} is no list of arms, as [{{"flags": {{"learning_rate": 0.001}}}}, ...], and no object of '
            'lists, as {"learning_rate": [0.001, 0.002]}.'
        )
    arms = [Arm(one.get("flags", {}), one.get("config", {})) for one in written]
    for number, arm in enumerate(arms):
        try:
            _check(arm, *RECIPES[recipe])
        except (InputError, flags.Error) as error:
            raise InputError(f"--grid {grid}, arm {number}: {error}") from error
        if arm in arms[:number]:
            raise InputError(f"--grid {grid}: the arms {arms.index(arm)} and {number} are the same: give each once.")
    if len(arms) < 2:
        raise InputError(f"--grid {grid} has {len(arms)} arms: a search needs two at least.")
    return arms


def _is_arm(one):
    return isinstance(one, dict) and one and set(one) <= {"flags", "config"} and all(map(_is_dict, one.values()))


def _is_dict(value):
    return isinstance(value, dict)


def _check(arm, family, schedule):
    """Raises an error where a recipe of a family, with a schedule (both str), would refuse what an arm sets."""
    known = {field.name for field in dataclasses.fields(Options)} - set(_TAKEN)
    for name in arm.flags:
        if name not in known:
            raise InputError(f"{name} is none of {', '.join(sorted(known))}.")
    parsed = flags.FlagValues()
    published = {"preset": f"tiny_{family}", "budget": "1steps", "learning_rate": None, "mask_rate": "0.15"}
    define_flags(published, flag_values=parsed)
    parsed(["arm", *arm.arguments])
    options = Options.read(parsed.flag_values_dict(), family)
    with_settings(CURVES[schedule], options.schedule, options.warmup)
