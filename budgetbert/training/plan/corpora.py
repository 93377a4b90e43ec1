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
        List of `PreparedCorpus`, one for each phase; `None` where `corpus` is raw text.

    Raises:
        InputError: if there are not as many as phases, or they differ in the vocabulary.
    """
    names = [corpus] if len(phases) == 1 or is_prepared(corpus) else corpus.split(",")
    prepared = [is_prepared(name) for name in names]
    if not any(prepared):
        return None
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


def prepare(corpus, directory, recipe):
    """Prepares raw text as the recipe's paper did, once for each phase, all with the vocabulary of the first.

    Args:
        corpus: str, as for `--corpus`.
        directory: str. Where the corpus is prepared; of several phases, each in a folder named by its row length.
        recipe: `Recipe`.

    Returns:
        List of `PreparedCorpus`, one for each phase.
    """
    options = dict(recipe.preparation)
    if corpus == "demo":
        options.pop("vocabulary_size", None)  # its own, smaller one
    corpora = []
    for phase in recipe.phases:
        path = directory if len(recipe.phases) == 1 else os.path.join(directory, str(phase.sequence_length))
        corpora.append(open_or_prepare(corpus, path, sequence_length=phase.sequence_length, **options))
        for name in ("vocabulary_size", "extend_vocabulary"):
            options.pop(name, None)
        if options.get("vocabulary_from"):
            options["vocabulary_from"] = str(corpora[0].directory)
        else:
            options["vocabulary"] = os.path.join(corpora[0].directory, VOCABULARY)
    return corpora


def check_rows(corpora, recipe, preset):
    """Raises an `InputError` where the rows are longer than the model's positions, or lack the objective's labels."""
    positions = config_of(preset, recipe)["max_sequence_length"]
    for corpus in corpora:
        if corpus.sequence_length > positions:
            raise InputError(
                f"{corpus.directory} has rows of {corpus.sequence_length} tokens, {preset} has {positions} positions: "
                f"prepare the corpus with --sequence_length {positions} or less."
            )
        if recipe.objective == "mlm_nsp" and corpus.rows_kind != "pairs":
            raise InputError(
                f"--objective mlm_nsp needs rows of two segments, {corpus.directory} has {corpus.rows_kind} rows: "
                "prepare the corpus with --rows pairs, or take --objective mlm."
            )


def identity(corpora):
    """Returns what `recipe.json` says of the prepared corpora."""
    first, *others = corpora
    vocabulary = f"{first.manifest['vocabulary']['sha256'][:12]}... ({len(first.vocabulary)} entries)"
    fingerprints = [corpus.fingerprint for corpus in corpora]
    return {"vocabulary": vocabulary, "corpus": fingerprints if others else fingerprints[0]}
