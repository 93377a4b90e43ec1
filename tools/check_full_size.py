"""One real update of each published architecture, one row at a time: does it fit, and is it what was published?

Each is built at full size in a process of its own, so that the peak of resident memory is its own, and gets one
micro-batch and one step of the optimizer. Looked at: the number of parameters against the published one, the shapes of
the optimizer's slots, which variables decay and in how many parts they are treated, that the loss is that of a uniform
guess, and that the step moved every variable.

Memory    under 12 GB      Time  about 10 minutes on 2 cores
Run       python tools/check_full_size.py [--case bert_large/512/lamb] [--backend tensorflow] [--precision float32]
"""

import functools
import json
import math
import os
import subprocess
import sys
import time

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")  # flags are read and the backend is chosen before its import

from absl import flags

from budgetbert import command_line

# The published number of masked-LM parameters: Hugging Face's, and those counted from the papers' code.
PUBLISHED = {
    "bert_base": 109_514_298,
    "bert_large": 335_174_458,
    "bert_large_24h": 335_150_080,
    "crammed_base": 119_589_889,
}
LENGTHS = {"bert_base": (128,), "bert_large": (128, 512), "bert_large_24h": (128,), "crammed_base": (128,)}
CASES = [
    f"{preset}/{length}/{name}" for preset in PUBLISHED for length in LENGTHS[preset] for name in ("adamw", "lamb")
]
LIMIT_GB = 12
MASK_RATE, FIRST_ID = 0.15, 5

flags.DEFINE_enum("case", None, CASES, "Only this one; its figures are printed as JSON.")
flags.DEFINE_enum("backend", "tensorflow", ["tensorflow", "jax", "torch"], "What to compute with.")
flags.DEFINE_enum("precision", "float32", ["float32", "mixed_bfloat16"], "What to compute in.")


def main():
    if flags.FLAGS.case:
        print(json.dumps(check(flags.FLAGS.case, flags.FLAGS.precision)))
        return
    print(f"{flags.FLAGS.backend}, {flags.FLAGS.precision}, one row per micro-batch, one update each\n")
    names = ("model", "length", "optimizer", "parameters", "slots", "decayed, not", "parts", "loss", "build", "first",
             "second", "apply", "peak")  # fmt: skip
    print(f"| {' | '.join(names)} |\n|{'---|' * len(names)}")
    largest = 0.0
    for case in CASES:
        command = [sys.executable, __file__, "--case", case, "--precision", flags.FLAGS.precision]
        environment = {**os.environ, "KERAS_BACKEND": flags.FLAGS.backend}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            raise command_line.TrainingError(f"{case} failed with code {done.returncode}: see above.")
        figures = json.loads(done.stdout.splitlines()[-1])
        largest = max(largest, figures["peak_gb"])
        print(f"| {' | '.join(row(case, figures))} |", flush=True)
    if largest > LIMIT_GB:
        raise command_line.TrainingError(f"the largest held {largest:.1f} GB, more than the {LIMIT_GB} GB promised.")


def row(case, figures):
    """Returns the cells of a line of the table."""
    seconds = (f"{figures[f'{name}_seconds']:.1f} s" for name in ("build", "first", "second", "apply"))
    return (
        *case.split("/"),
        f"{figures['parameters']:,}",
        f"{figures['slots']} of equal shape",
        f"{figures['decayed']}, {figures['not_decayed']}",
        f"{figures['parts']}",
        f"{figures['loss']:.2f}",
        *seconds,
        f"{figures['peak_gb']:.1f} GB",
    )


def check(case, precision):
    """Runs one update and returns its figures as dict; `TrainingError` where something is not as it should be."""
    import numpy as np

    preset, length, optimizer_name = case.split("/")
    demand = functools.partial(demand_of, case)
    command_line.start_keras()
    import keras

    from budgetbert.batches import Masking, stack
    from budgetbert.models import BertBudgetMaskedLM
    from budgetbert.optimizers import Lamb, count_parts, exclude_from_weight_decay, is_decayed
    from budgetbert.training.devices import peak_memory
    from budgetbert.training.objectives import MaskedLanguageModeling
    from budgetbert.training.update import make_update

    start = time.perf_counter()
    keras.utils.set_random_seed(0)
    model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dtype=precision, preprocessor=None)
    variables, vocabulary_size = model.trainable_variables, model.backbone.vocabulary_size
    optimizers = {"adamw": lambda: keras.optimizers.AdamW(weight_decay=0.01), "lamb": lambda: Lamb(1e-3)}
    optimizer = optimizers[optimizer_name]()
    exclude_from_weight_decay(optimizer, variables)
    update = make_update(model, optimizer, MaskedLanguageModeling(), clip_norm=1.0)
    demand(model.count_params() == PUBLISHED[preset], f"{model.count_params():,} parameters, not {PUBLISHED[preset]:,}")
    # two slots, of the shape of each variable, beside the counter and the learning rate
    slots = sorted(tuple(slot.shape) for slot in optimizer.variables if slot.path.rsplit("/", 1)[-1] not in _COUNTERS)
    demand(slots == sorted(2 * [tuple(variable.shape) for variable in variables]), "slots of other shapes")
    decayed = [variable for variable in variables if is_decayed(variable)]
    demand(all("norm" not in variable.path for variable in decayed), "norms that decay")

    special = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    vocabulary = [*special, *map(str, range(vocabulary_size - FIRST_ID))]
    # rows of words with natural (Zipf) frequencies
    tokens = np.random.default_rng(0).zipf(1.3, (1, int(length))) % (vocabulary_size - FIRST_ID) + FIRST_ID
    batches = stack([Masking(MASK_RATE, vocabulary, special, seed=0)(tokens, 0)], 1)
    before = [beginning(variable) for variable in variables]
    clock = [time.perf_counter()]
    for number in range(2):
        float(update.accumulate(batches, 1, number))
        clock.append(time.perf_counter())
    scalars = {name: float(value) for name, value in update.apply(1e-3).items()}
    clock.append(time.perf_counter())
    peak = peak_memory()  # before the variables are looked at
    update.synchronize()
    loss = scalars["loss"] / scalars["weight"]
    # the logits of a fresh model vary by a few tenths around 0
    demand(
        abs(loss - math.log(vocabulary_size)) < 1, f"a first loss of {loss:.2f}, not {math.log(vocabulary_size):.2f}"
    )
    demand(math.isfinite(scalars["gradient_norm"]), "a gradient that is not finite")
    still = [variable.path for variable, old in zip(variables, before, strict=True) if beginning(variable) == old]
    demand(not still, f"variables that did not move: {', '.join(still)}")
    build, first, second, apply = (late - early for early, late in zip([start, *clock], clock, strict=False))
    return {
        "parameters": model.count_params(),
        "slots": len(slots),
        "decayed": len(decayed),
        "not_decayed": len(variables) - len(decayed),
        "parts": sum(count_parts(variable) for variable in variables),
        "loss": loss,
        "build_seconds": build,
        "first_seconds": first,
        "second_seconds": second,
        "apply_seconds": apply,
        "peak_gb": peak / 1e9,
    }


def beginning(variable):
    """Returns the first 64 values of a variable as list: a copy of all of them would count as memory."""
    from keras import ops

    return ops.convert_to_numpy(ops.reshape(variable, (-1,))[:64]).tolist()


def demand_of(case, condition, message):
    """Raises a `TrainingError` with `message` unless `condition` holds."""
    if not condition:
        raise command_line.TrainingError(f"{case} has {message}.")


_COUNTERS = ("iteration", "iterations", "learning_rate")


if __name__ == "__main__":
    command_line.run(main)
