"""One real step of an architecture, one row at a time: does it fit in memory, and is it what was published?

`python -m tests.training.step.full_size bert_large/512/lamb` prints the figures of a case as JSON. A process of its own
holds nothing else, so that the peak of resident memory is that of the case.
"""

import json
import math
import sys
import time

import keras
import numpy as np
from keras import ops

from budgetbert.batches import Masking, stack
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.optimizers import Lamb, count_parts, exclude_from_weight_decay, is_decayed
from budgetbert.training.plan.device import peak_memory
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling

MASK_RATE, FIRST_ID = 0.15, 5
_COUNTERS = ("iteration", "iterations", "learning_rate")


def check(case, precision="float32"):
    """Runs two micro-batches and one step of the optimizer, asserts what holds for every size, and returns the figures.

    Args:
        case: str. Preset, tokens of a row and optimizer, as `bert_large/512/lamb`.
        precision: str. A dtype policy.
    """
    preset, length, optimizer_name = case.split("/")
    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dtype=precision, preprocessor=None)
    variables, vocabulary_size = model.trainable_variables, model.backbone.vocabulary_size
    optimizer = keras.optimizers.AdamW(weight_decay=0.01) if optimizer_name == "adamw" else Lamb(1e-3)
    exclude_from_weight_decay(optimizer, variables)
    step = make_step(model, optimizer, MaskedLanguageModeling(), clip_norm=1.0)
    # An optimizer has two slots of the shape of each variable, beside the counter and the learning rate.
    slots = sorted(tuple(slot.shape) for slot in optimizer.variables if slot.path.rsplit("/", 1)[-1] not in _COUNTERS)
    assert slots == sorted(2 * [tuple(variable.shape) for variable in variables])
    decayed = [variable for variable in variables if is_decayed(variable)]
    assert all("norm" not in variable.path for variable in decayed)

    special = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    vocabulary = [*special, *map(str, range(vocabulary_size - FIRST_ID))]
    # Rows of words with natural (Zipf) frequencies.
    tokens = np.random.default_rng(0).zipf(1.3, (1, int(length))) % (vocabulary_size - FIRST_ID) + FIRST_ID
    batches = stack([Masking(MASK_RATE, vocabulary, special, seed=0)(tokens, 0)], 1)
    before = [_beginning(variable) for variable in variables]
    clock = [start, time.perf_counter()]
    for number in range(2):
        float(step.accumulate(batches, 1, number))
        clock.append(time.perf_counter())
    scalars = {name: float(value) for name, value in step.apply(1e-3).items()}
    clock.append(time.perf_counter())
    peak = peak_memory()  # This stands before the variables are looked at, which copies them.
    step.synchronize()
    loss = scalars["loss"] / scalars["weight"]
    # The logits of a fresh model vary by a few tenths around 0.
    assert abs(loss - math.log(vocabulary_size)) < 1
    assert math.isfinite(scalars["gradient_norm"])
    assert [v.path for v, old in zip(variables, before, strict=True) if _beginning(v) == old] == []
    names = ("build", "first", "second", "apply")
    return {
        "parameters": model.count_params(),
        "slots": len(slots),
        "decayed": len(decayed),
        "not_decayed": len(variables) - len(decayed),
        "parts": sum(count_parts(variable) for variable in variables),
        "loss": loss,
        "seconds": {name: round(clock[i + 1] - clock[i], 1) for i, name in enumerate(names)},
        "peak_gb": peak / 1e9,
    }


def _beginning(variable):
    """The first 64 values of a variable as list: a copy of all of them would count as memory."""
    return ops.convert_to_numpy(ops.reshape(variable, (-1,))[:64]).tolist()


if __name__ == "__main__":
    print(json.dumps(check(sys.argv[1])))
