"""The corpora of a run, one for each phase: prepared directories, or raw text that is prepared first."""

import os

from budgetbert.corpus.prepare import is_prepared, open_or_prepare
from budgetbert.corpus.store import VOCABULARY, open_corpus
from budgetbert.errors import InputError
from budgetbert.training.recipe import config_of


def open_prepared(corpus, phases):
    """Opens the prepared directories that a `--corpus` names.

    Args:
        corpus: str. One directory, or several with a comma between where there are several phases.
        phases: tuple of `Phase`.

    Returns:
        List of `PreparedCorpus`, one for each phase; `None` where `corpus` is raw text. Phases of one row length have
        the same.

    Raises:
        InputError: if there are not as many as phases, or they differ in the vocabulary.
    """
    names = [corpus] if len(phases) == 1 or is_prepared(corpus) else corpus.split(",")
    prepared = [is_prepared(name) for name in names]
    if not any(prepared):
        return None
    if len(names) == 1 and all(prepared) and _is_shared(phases):
        return [open_corpus(corpus)] * len(phases)
    if len(names) != len(phases) or not all(prepared):
        lengths = " and ".join(str(phase.sequence_length) for phase in phases)
        raise InputError(
            f"--corpus {corpus} is not one prepared corpus for each of {len(phases)} phases: give them with a comma "
            f"between, rows of {lengths} tokens and one vocabulary, or raw text."
        )
    corpora = [open_corpus(name) for name in names]
    for other in corpora[1:]:
        if any(getattr(other, name) != getattr(corpora[0], name) for name in ("vocabulary", "normalizer")):
            raise InputError(
                f"{other.directory} has another vocabulary than {corpora[0].directory}: prepare it with --vocabulary "
                f"{os.path.join(corpora[0].directory, VOCABULARY)} and the same normalizer."
            )
    return corpora


def _is_shared(phases):
    """Returns whether all phases read one corpus, as their rows are equally long."""
    return len({phase.sequence_length for phase in phases}) == 1


def prepare(corpus, directory, recipe, initial_model=None):
    """Prepares raw text as the recipe's paper did, once for each phase, all with the vocabulary of the first.

    Args:
        corpus: str, as for `--corpus`.
        directory: str. Where the corpus is prepared; of several phases, each in a folder named by its row length.
        recipe: `Recipe`.
        initial_model: `InitialModel` whose vocabulary and normaliser the text gets, unless the recipe has a vocabulary
            of its own. Defaults to `None`.

    Returns:
        List of `PreparedCorpus`, one for each phase.
    """
    options = dict(recipe.preparation)
    if corpus == "demo":
        options.pop("vocabulary_size", None)  # its own, smaller one
    if initial_model and not recipe.new_vocabulary:
        options = {name: value for name, value in options.items() if name not in ("vocabulary_size", "normalizer")}
        options["vocabulary_from"] = initial_model.given
    if _is_shared(recipe.phases):
        length = recipe.phases[0].sequence_length
        return [open_or_prepare(corpus, directory, sequence_length=length, **options)] * len(recipe.phases)
    corpora = []
    for phase in recipe.phases:
        path = os.path.join(directory, str(phase.sequence_length))
        corpora.append(open_or_prepare(corpus, path, sequence_length=phase.sequence_length, **options))
        for name in ("vocabulary_size", "extend_vocabulary"):
            options.pop(name, None)
        if options.get("vocabulary_from"):
            options["vocabulary_from"] = str(corpora[0].directory)
        else:
            options["vocabulary"] = os.path.join(corpora[0].directory, VOCABULARY)
    return corpora


def check_rows(corpora, recipe, options):
    """Raises an `InputError` where rows do not fit.

    They may be longer than the model's positions, lack the objective's labels, or have other tokens than the initial
    model.
    """
    positions = config_of(options.preset, recipe)["max_sequence_length"]
    for corpus in corpora:
        if corpus.sequence_length > positions:
            raise InputError(
                f"{corpus.directory} has rows of {corpus.sequence_length} tokens, {options.model_name} has {positions} "
                f"positions: prepare the corpus with --sequence_length {positions} or less."
            )
        if recipe.objective == "mlm_nsp" and corpus.rows_kind != "pairs":
            raise InputError(
                f"--objective mlm_nsp needs rows of two segments, {corpus.directory} has {corpus.rows_kind} rows: "
                "prepare the corpus with --rows pairs, or take --objective mlm."
            )
        if options.initial_model and not recipe.new_vocabulary:
            options.initial_model.check_tokens(corpus)


def identity(corpora, watched=None):
    """Returns what `recipe.json` says of the prepared corpora, and of one that is watched."""
    first, *others = dict.fromkeys(corpora)
    vocabulary = f"{first.manifest['vocabulary']['sha256'][:12]}... ({len(first.vocabulary)} entries)"
    fingerprints = [corpus.fingerprint for corpus in corpora]
    found = {"vocabulary": vocabulary, "corpus": fingerprints if others else fingerprints[0]}
    return found | ({"keep_an_eye_on": watched.fingerprint} if watched else {})
