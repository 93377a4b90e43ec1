"""A small run of the academic recipe, for the tests of everything that a run does."""

import dataclasses
import functools
import types
from unittest import mock

import keras

from budgetbert import schedules
from budgetbert.models.presets import PRESETS
from budgetbert.optimizers import Lamb
from budgetbert.training.pretrain import Phase, Recipe, pretrain

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


def train(corpus, output_dir, recipe=RECIPE, **flags):
    """Runs `pretrain` with the flags' defaults, `tiny` in float32 and 12 steps of 8 rows unless told otherwise."""
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
        "seed": 0,
        "devices": "auto",
        "checkpoint_every": "3steps",
        "keep_checkpoints": 3,
        "marks": None,
        "stop_at": 1.0,
        "early_stop": None,
        "loggers": None,
        "price_per_hour": None,
        "plan_only": False,
        "demo": False,
    }
    return pretrain(recipe, types.SimpleNamespace(**{**values, **flags}))


def train_clipped(corpus, output_dir, **flags):
    """As `train`, without dropout, which depends on the number of devices, and clipped to a norm that matters."""
    recipe = dataclasses.replace(RECIPE, clip_norm=0.5)
    backbone = {**PRESETS["tiny_24h"]["backbone"], "dropout": 0.0}
    preset = {**PRESETS["tiny_24h"], "backbone": backbone}
    with mock.patch.dict(PRESETS, tiny_24h=preset):
        return train(corpus, output_dir, recipe=recipe, **flags)
