"""The model of a run, built for its corpus, with fresh weights or those of a model that was trained before."""

import contextlib
import warnings

import keras
from keras import ops

from budgetbert.errors import InputError, one_line
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.new_tokens import extended, transferred
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.task import RandomHead
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.training.run.float32_copy import on_host


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


def take_over(model, initial_model, seed=0):
    """Gives a model the weights of the one that the run goes on from, wherever both have the same.

    With another vocabulary the table is made for it first, see `budgetbert.models.new_tokens`.

    Args:
        model: `BertBudgetMaskedLM` of the architecture of `initial_model`.
        initial_model: `InitialModel`.
        seed: int. Of the rows of a table for another language. Defaults to 0.

    Returns:
        List of str: sentences that name the model, what is new, and so starts at random, and what is left behind.

    Raises:
        InputError: if the model is damaged, or quantized.
    """
    told = [f"going on from {initial_model.given}, the weights of a {initial_model.task}"]
    vocabulary = model.preprocessor.tokenizer.get_vocabulary()
    with on_host(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RandomHead)
        source = initial_model.load()
        if any(layer.quantization_mode for layer in source._flatten_layers()):
            raise InputError(
                f"--initial_model {initial_model.given} is quantized, and integers cannot be trained: give the model "
                "from before quantize()."
            )
        old = source.preprocessor.tokenizer.get_vocabulary()
        if vocabulary != old:
            goes_on = vocabulary[: len(old)] == old
            source = extended(source, vocabulary) if goes_on else transferred(source, vocabulary, seed=seed)
            told.append(f"{len({*vocabulary} - {*old}):,} of the {len(vocabulary):,} tokens are new to it")
    if initial_model.task != "encoder":
        told += [str(warning.message) for warning in caught if issubclass(warning.category, RandomHead)]
    known = source.backbone if initial_model.task == "encoder" else source
    theirs, new = {variable.path: variable for variable in _weights(known)}, []
    for variable in _weights(model):
        if variable.path in theirs:
            variable.assign(ops.convert_to_numpy(theirs.pop(variable.path).value))
        else:
            new.append(variable.path)
    if new:
        told.append(f"new in this run, and random at its start: {', '.join(new)}")
    if theirs:
        told.append(f"left behind of {initial_model.given}: {', '.join(theirs)}")
    return told


def _weights(model):
    """Returns the variables of a model without the states of its seeds."""
    return [variable for variable in model.weights if not variable.path.endswith("seed_generator_state")]


@contextlib.contextmanager
def _refused_config(config):
    """Context in which a model is built; makes what does not fit together in `--config` an `InputError`."""
    try:
        yield
    except ValueError as error:
        if not config:
            raise
        raise InputError(f"--config makes no model: {one_line(error)}.") from error
