"""What a preset is trained with by its recipe, rows to train on, and our step: for the tools that time training."""

import contextlib
import dataclasses
import os
import sys

FIRST_ID, LEARNING_RATE = 5, 1e-3


@dataclasses.dataclass(frozen=True)
class Setup:
    """Settings of a recipe that cost time.

    Args:
        mask_rate: float.
        dropout: bool. Whether the preset's dropout is active.
        clip_norm: float or `None`. Of the gradient's global norm.
        beta_2, epsilon: float. AdamW's, beside beta_1 0.9 and weight decay 0.01.
        sequence_length: int. Tokens per row. Defaults to 128.
    """

    mask_rate: float
    dropout: bool
    clip_norm: float | None
    beta_2: float
    epsilon: float
    sequence_length: int = 128


# A test compares the first two with recipes/academic_24h.py and recipes/cramming_24h.py. LAMB's recipe has an optimizer
# that PyTorch lacks, so BERT has that of its paper (Devlin et al. 2018, appendix A.2, and its code).
SETUPS = {
    "24h": Setup(mask_rate=0.15, dropout=True, clip_norm=None, beta_2=0.98, epsilon=1e-6),
    "crammed": Setup(mask_rate=0.25, dropout=False, clip_norm=0.5, beta_2=0.98, epsilon=1e-12),
    "bert": Setup(mask_rate=0.15, dropout=True, clip_norm=1.0, beta_2=0.999, epsilon=1e-6),
}


def setup_of(preset):
    """Returns the `Setup` of a preset's family."""
    return SETUPS[next((family for family in ("24h", "crammed") if family in preset), "bert")]


def start(backend, preset):
    """Chooses the Keras backend, before Keras is imported, and returns a preset's configuration.

    Ends the program if there is no such preset.
    """
    os.environ["KERAS_BACKEND"] = backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", ".45")  # JAX leaves PyTorch its half of a GPU
    from budgetbert.models.presets import PRESETS

    if preset not in PRESETS:
        sys.exit(f"--preset {preset} is unknown: take one of {', '.join(PRESETS)}.")
    return {**PRESETS[preset]["backbone"], **PRESETS[preset]["masked_lm"]}


def make_rows(rows, vocabulary_size, setup):
    """Returns rows of words with natural (Zipf) frequencies, an int array."""
    import numpy as np

    shape = (rows, setup.sequence_length)
    return np.random.default_rng(0).zipf(1.3, shape) % (vocabulary_size - FIRST_ID) + FIRST_ID


def make_masking(vocabulary_size, setup):
    """Returns the `Masking` of such rows."""
    from budgetbert.batches import Masking

    special = {name: i for i, name in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))}
    vocabulary = [*special, *map(str, range(vocabulary_size - FIRST_ID))]
    return Masking(setup.mask_rate, vocabulary, special, seed=0)


def masked_rows(rows, vocabulary_size, setup):
    """Returns a batch of such rows, masked."""
    return make_masking(vocabulary_size, setup)(make_rows(rows, vocabulary_size, setup), 0)


def make_update(preset, precision, setup, objective=None, replicas=None, **sizes):
    """Returns the `Update` of a fresh model.

    `objective` defaults to that of the recipe, `replicas` to one device, `sizes` to the preset's.
    """
    import keras

    from budgetbert import BertBudgetMaskedLM
    from budgetbert.optimizers import exclude_from_weight_decay
    from budgetbert.training import update
    from budgetbert.training.objectives import MaskedLanguageModeling

    keras.utils.set_random_seed(0)
    objective = objective or MaskedLanguageModeling(setup.dropout)
    with replicas.scope() if replicas else contextlib.nullcontext():
        model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dtype=precision, **sizes)
        optimizer = keras.optimizers.AdamW(
            LEARNING_RATE, beta_1=0.9, beta_2=setup.beta_2, epsilon=setup.epsilon, weight_decay=0.01
        )
        exclude_from_weight_decay(optimizer, model.trainable_variables)
        return update.make_update(model, optimizer, objective, setup.clip_norm, replicas)


def make_step(update, batch, micro_batches=1):
    """Returns a function that runs one optimizer step of `update` on `batch`, in equal micro-batches."""
    import numpy as np

    batches = {
        name: np.ascontiguousarray(array.reshape(micro_batches, -1, *array.shape[1:])) for name, array in batch.items()
    }

    def step():
        update.accumulate(batches, micro_batches, 0)
        return update.apply(LEARNING_RATE)["gradient_norm"]

    return step
