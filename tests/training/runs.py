"""A small run of the academic recipe, for the tests of everything that a run does."""

import dataclasses
import functools
from unittest import mock

import keras

from budgetbert import schedules
from budgetbert.optimizers import Lamb
from budgetbert.presets import PRESETS
from budgetbert.training.flags import Options
from budgetbert.training.pretrain import Phase, Recipe, pretrain
from budgetbert.training.step.base import make_step

RECIPE = Recipe(
    name="academic_24h",
    preset="bert_large_24h",
    family="24h",
    phases=(Phase(batch_size=4096, schedule=schedules.linear),),
    preparation={"rows": "sentences"},
    optimizer=lambda: keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.01),
    clip_norm=None,
    budget="24h",
    learning_rate=1e-3,
    mask_rate="0.15",
)
# Two phases as LAMB has them, of 8 and 4 steps, the second with rows twice as long and half the batch.
TWO_PHASES = Recipe(
    name="two_phases",
    preset="bert_large",
    family="bert",
    phases=(
        Phase(steps=8, batch_size=8, sequence_length=32, schedule=functools.partial(schedules.polynomial, warmup=0.25)),
        Phase(steps=4, batch_size=4, sequence_length=64, schedule=schedules.polynomial, resets_step=True),
    ),
    preparation={"rows": "pairs"},
    optimizer=lambda: Lamb(1e-3),
    clip_norm=None,
    budget="12steps",
    learning_rate=1e-3,
    mask_rate="0.15",
    objective="mlm_nsp",
)


EVERY_STEP = (1, 600.0)  # Of `log_every`: a line of the log for each step.
SEAMS = ("log_every", "now", "make_step", "watchers", "hooks", "report")


def train(corpus, output_dir, recipe=RECIPE, **flags):
    """Runs `pretrain` with the flags' defaults, `tiny` in float32 and 12 steps of 8 rows unless told otherwise.

    Keyword arguments of `pretrain` (`SEAMS`) are passed on; no report is drawn unless it is asked for.
    """
    seams = {"report": False} | {name: flags.pop(name) for name in SEAMS if name in flags}
    values = {
        "corpus": str(corpus),
        "output_dir": str(output_dir),
        "preset": "tiny",
        "budget": "12steps",
        "batch_size": 8,
        "micro_batch_size": 4,
        "learning_rate": 1e-3,
        "mask_rate": "0.15",
        "batch_ramp": 0.0,
        "precision": "float32",
        "checkpoint_every": "3steps",
    }
    return pretrain(recipe, Options.read(values | flags, recipe.family), **seams)


class SlowStep:
    """A clock that the optimizer's steps move on, for `now` and `make_step` of `pretrain`.

    Args:
        seconds_of: function of the seconds so far that returns those of the next step.
    """

    def __init__(self, seconds_of):
        self._seconds_of, self._seconds = seconds_of, 0.0

    def now(self):
        """Returns the seconds so far."""
        return self._seconds

    def pass_by(self, seconds):
        """Lets seconds go by that no step takes."""
        self._seconds += seconds

    def make_step(self, *arguments):
        """Returns the `Step` of the current backend, whose steps take time by this clock."""
        step = make_step(*arguments)
        apply = step.apply

        def timed(learning_rate):
            if learning_rate:  # That of calibration is 0.
                self._seconds += self._seconds_of(self._seconds)
            return apply(learning_rate)

        step.apply = timed
        return step


def train_clipped(corpus, output_dir, **flags):
    """As `train`, without dropout, which depends on the number of devices, and clipped to a norm that matters."""
    recipe = dataclasses.replace(RECIPE, clip_norm=0.5)
    backbone = {**PRESETS["tiny_24h"]["backbone"], "dropout": 0.0}
    preset = {**PRESETS["tiny_24h"], "backbone": backbone}
    with mock.patch.dict(PRESETS, tiny_24h=preset):
        return train(corpus, output_dir, recipe=recipe, **flags)
