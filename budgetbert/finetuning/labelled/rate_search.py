"""Which learning rate suits a file: four of them on a part of the training examples."""

import contextlib
import dataclasses
import os

import numpy as np

from budgetbert.reporting.numbers import counted

# The rule's rate times these. Of equally good ones the first is taken, so that the rule's stands where nothing tells.
FACTORS = (1.0, 0.5, 2.0, 0.25)
# So many examples say enough about rates that differ by a factor of two.
_MOST_EXAMPLES, _JUDGED = 2000, 0.2
FEWEST_EXAMPLES = 50


def split_for_search(examples):
    """Returns two parts of training examples, to learn from and to judge rates with: 2,000 at most, a fifth judged.

    Neither is of the held-out examples, so that these stay unseen.

    Args:
        examples: object with `__len__` and `take`, as `finetuning.data.Examples`.
    """
    chosen = np.random.default_rng(0).permutation(len(examples))[:_MOST_EXAMPLES]
    judged = round(_JUDGED * len(chosen))
    return examples.take(np.sort(chosen[judged:])), examples.take(np.sort(chosen[:judged]))


def search_rate(make_finetuning, protocol, settings_of, examples, run, say):
    """Finetunes once with each of four rates, in the folder `search` of a run, from which a killed search goes on.

    Args:
        make_finetuning: function of `protocol`, `examples` and `directory` that returns a `Finetuning`.
        protocol: `Protocol`, whose rates and epochs are replaced.
        settings_of: function of a number of examples that returns their `FinetuningSettings`.
        examples: those to train on, with `__len__` and `take`.
        run: `Run`.
        say: function of a str, for people.

    Returns:
        Tuple of the best rate (float) and a list of dict, each of `learning_rate` and the main metric's values.
    """
    part, judged = split_for_search(examples)
    settings = settings_of(len(part))
    rates = tuple(float(f"{factor * settings.learning_rate:.3g}") for factor in FACTORS)
    told = ", ".join(f"{rate:.2g}" for rate in sorted(rates))
    say(
        f"--search: the rates {told}, {counted(settings.epochs, 'epoch')} on {len(part):,} of the training examples, "
        f"judged on {len(judged):,} others of them"
    )
    os.makedirs(run.path("search"), exist_ok=True)
    finetuning = make_finetuning(
        protocol=dataclasses.replace(protocol, learning_rates=rates, epochs=settings.epochs),
        examples={"train": part, "dev": [judged]},
        directory=run.path("search"),
    )
    entry = finetuning(1)
    with contextlib.suppress(FileNotFoundError):
        os.remove(finetuning.model_path)
    best = entry["configuration"]["learning_rate"]
    edge = ""
    if best in (min(rates), max(rates)):
        side = "lowest" if best == min(rates) else "highest"
        edge = f", the {side} of them: beyond it may lie a better one, for --learning_rate"
    say(f"--search takes the rate {best:.2g}{edge}.\n")
    return best, entry["configurations_tried"]
