"""How to finetune an encoder that has not been finetuned before: one rule for rate, warm-up, epochs and batch.

Imports no Keras. The classifier's `fit` and the GLUE protocol `budget` follow it.
"""

import dataclasses
import math

# Two numbers of Adam and the norm to which the gradient is clipped: BERT's finetuning is stable with them on small sets
# (Mosbach, Andriushchenko & Klakow 2021, section 5), and Cramming, which clips nothing, finetunes with the first two.
BETA_2, EPSILON, CLIP_NORM = 0.98, 1e-6, 1.0

# The share of the updates in which the rate rises.
WARMUP = 0.1

_BATCH_SIZE = 16
_FEWEST_EPOCHS, _MOST_EPOCHS = 3, 20
# On 600 rows of SST-2 a tiny_frontier had 63.5 % after 380 updates and 63.3 % after 760.
_ENOUGH_UPDATES = 375
# On 1,500 texts of 77 classes a tiny_frontier had 48 % after 376 updates and 75 % after 1,880 (docs/LOG.md).
_UPDATES_PER_CLASS = 20
_HIGHEST_RATE = 3e-3
# Encoders up to this width read two texts apart. Frozen features of a width of 128 call for it (docs/LOG.md); at 768
# BERT reads them in one row (Devlin et al. 2018). Between is a guess, and no finetuning of both kinds was compared yet.
_WIDEST_APART = 256


@dataclasses.dataclass(frozen=True)
class FinetuningSettings:
    """How to finetune an encoder on a labelled set.

    Args:
        learning_rate: float. The peak.
        warmup: float. The share of the updates in which the rate rises from 0 to its peak; it falls linearly to 0 in
            the others.
        epochs: int.
        batch_size: int. Examples of an update.
    """

    learning_rate: float
    warmup: float
    epochs: int
    batch_size: int


def reads_pairs_apart(width):
    """Returns whether an encoder of a width (int) had better read two texts apart than in one row."""
    return width <= _WIDEST_APART


def learning_rate_of(width):
    """Returns the peak learning rate (float) for the finetuning of an encoder of a width (int).

    It falls with the width: 4e-5 at 768, Cramming's and nearly BERT's, moves nothing at 128, where 1e-3 does.
    The power of the width that goes through both gives 2.9e-4 at 256, where ELECTRA-small has 3e-4, and 2.4e-5 at
    1,024, where BERT-large has 2e-5 to 5e-5. Widths under 70 have the highest rate that was tried, 3e-3.

    Source: Devlin et al. 2018, appendix A.3; Clark et al. 2020, appendix B; Geiping & Goldstein 2022, section 5.1; at
        128 our own runs.
    """
    return min(_HIGHEST_RATE, 1e-3 * (width / 128) ** -1.8)


def finetuning_settings(width, examples, batch_size=None, classes=1):
    """Returns the `FinetuningSettings` of an encoder on a labelled set.

    A set of 2,000 examples or more is read 3 times, as BERT reads its own; of a smaller one there are as many epochs as
    give 375 updates, or 20 a class where that is more, up to 20: few updates, not few examples, are what makes small
    sets fail (Mosbach et al. 2021).

    Args:
        width: int. The encoder's `hidden_dim`.
        examples: int. Those to train on.
        batch_size: int. Examples of an update. Defaults to 16.
        classes: int. How many classes, or tags, are told apart. Defaults to 1, of scores and vectors too.

    Raises:
        ValueError: if a number is not positive.
    """
    batch_size = _BATCH_SIZE if batch_size is None else batch_size
    for name, value in (("width", width), ("examples", examples), ("batch_size", batch_size), ("classes", classes)):
        if value < 1:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value}")
    updates_per_epoch = math.ceil(examples / batch_size)
    updates = max(_ENOUGH_UPDATES, _UPDATES_PER_CLASS * classes)
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, math.ceil(updates / updates_per_epoch)))
    return FinetuningSettings(learning_rate_of(width), WARMUP, epochs, batch_size)
