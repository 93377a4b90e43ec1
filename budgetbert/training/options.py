"""The flags of the pretraining recipes. Imports no Keras, so that a wrong flag is answered at once."""

import math
import types

from absl import flags

from budgetbert.command_line import InputError

# The crammed architecture even where the recipe's is another: in minutes a mini_24h does not get below the unigram
# entropy (docs/LOG.md, 2026-11-21), a mini_crammed does.
_DEMO = {"preset": "mini_crammed", "corpus": "demo", "budget": "4m", "marks": None}


def define_flags(*, preset, budget, learning_rate, mask_rate, batch_ramp=0.0, marks=None):
    """Defines the flags of a pretraining recipe, with its published values as defaults.

    A `learning_rate` of `None` is for a recipe where it follows from the batch.
    """
    flags.DEFINE_string("corpus", None, "A prepared corpus, raw text, or demo.")
    flags.DEFINE_string("output_dir", None, "The run's directory; the same command on it goes on where it stopped.")
    flags.DEFINE_string(
        "budget", budget, "Time (24h, 10m), steps (5000steps), tokens (12.1Btokens) or FLOPs (1.4EFLOP)."
    )
    flags.DEFINE_string("preset", preset, "An architecture, or mini or tiny for a small one of this recipe's family.")
    flags.DEFINE_integer("batch_size", None, "Rows of an optimizer step; default: it follows from the plan.", 1)
    flags.DEFINE_integer("micro_batch_size", None, "Rows computed at once; default: what suits the device.", 1)
    flags.DEFINE_float("learning_rate", learning_rate, "Peak of the schedule; by default as published.", 0.0)
    flags.DEFINE_float("batch_ramp", batch_ramp, "Share of the budget over which the batch grows; 0: none.", 0.0, 1.0)
    flags.DEFINE_string("mask_rate", mask_rate, "Share of the tokens to predict, or a schedule: 0.30:0.15.")
    precisions = ["auto", "float32", "mixed_bfloat16", "mixed_float16"]
    flags.DEFINE_enum("precision", "auto", precisions, "What to compute in.")
    flags.DEFINE_integer("seed", 0, "Of weights, order, masks and dropout.", 0, 2**32 - 1)
    flags.DEFINE_string("devices", "auto", "How many share a batch, those of all processes together; auto: all.")
    flags.DEFINE_string("checkpoint_every", "10m", "A time or steps, as 20steps.")
    flags.DEFINE_integer("keep_checkpoints", 3, "How many of the newest stay.", 1)
    flags.DEFINE_string("marks", marks, "Shares of the budget at which the model is kept for good, as 0.5,0.75.")
    flags.DEFINE_float("stop_at", 1.0, "Share of the budget to stop at; the same command without it goes on.", 0.0, 1.0)
    flags.DEFINE_string("early_stop", None, "Give up a run whose validation loss is too high, as 3h:6.0.")
    flags.DEFINE_string("loggers", None, "tensorboard, wandb, or both with a comma between, beside log.jsonl.")
    flags.DEFINE_float("price_per_hour", None, "Of the machine, in any currency, for the cost of the run.", 0.0)
    flags.DEFINE_bool("plan_only", False, "Print what the budget buys on this machine, and stop.")
    flags.DEFINE_bool("demo", False, "A small model on the demo text for 4 minutes, then masks filled by it.")


def was_given(name):
    """Returns whether a flag stands on the command line."""
    return flags.FLAGS[name].present > 0


def read_flags(**demo):
    """Returns the values of the flags as attributes; `--demo` stands for those that were not given.

    Args:
        **demo: values of flags that `--demo` stands for in this recipe, besides those that it does in all.

    Raises:
        InputError: if a flag is missing that has no default, or a rate is no positive number.
    """
    values = flags.FLAGS.flag_values_dict()
    if values["demo"]:
        values.update({name: value for name, value in (_DEMO | demo).items() if not was_given(name)})
    for name in ("corpus", "output_dir"):
        if not values[name]:
            raise InputError(
                f"--{name} is missing: name one, or see a run in a few minutes with --demo --output_dir DIR."
            )
    if values["learning_rate"] is not None and not 0 < values["learning_rate"] < math.inf:
        raise InputError(f"--learning_rate {values['learning_rate']} is no rate: give a number above zero.")
    return types.SimpleNamespace(**values)
