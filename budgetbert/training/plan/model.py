"""The model of a run, built for its corpus."""

import contextlib

import keras

from budgetbert.errors import InputError, one_line
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.optimizers import exclude_from_weight_decay


def build_model(recipe, phase, precision, seed, scope):
    """Builds the model of a run with fresh weights, and its optimizer.

    Args:
        recipe: `Recipe`.
        phase: `RunPhase`, the last of the run: its rows are what the result reads.
        precision: str, the dtype policy.
        seed: int.
        scope: context manager in which variables are to be made.

    Returns:
        Tuple of `BertBudgetMaskedLM` and `keras.optimizers.Optimizer`, which is not built.
    """
    keras.utils.set_random_seed(seed)
    corpus = phase.corpus
    tokenizer = BertBudgetTokenizer.from_normalizer(corpus.vocabulary, corpus.normalizer)
    preprocessor = BertBudgetMaskedLMPreprocessor(
        tokenizer,
        sequence_length=corpus.sequence_length,
        mask_selection_rate=phase.options.mask_rate(1.0),
        mask_selection_length=phase.predictions_at(1.0),
    )
    with scope, _refused_config(phase.options.config):
        model = BertBudgetMaskedLM.from_preset(
            phase.options.preset,
            load_weights=False,
            preprocessor=preprocessor,
            vocabulary_size=phase.config["vocabulary_size"],
            dtype=precision,
            next_sentence=recipe.objective == "mlm_nsp",
            **recipe.architecture,
        )
        optimizer = recipe.optimizer()
    exclude_from_weight_decay(optimizer, model.trainable_variables)
    return model, optimizer


@contextlib.contextmanager
def _refused_config(config):
    """Context in which a model is built; makes what does not fit together in `--config` an `InputError`."""
    try:
        yield
    except ValueError as error:
        if not config:
            raise
        raise InputError(f"--config makes no model: {one_line(error)}.") from error
