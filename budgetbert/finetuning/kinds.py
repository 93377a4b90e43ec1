"""Which kinds of tasks there are on labelled files, what reads their files, and what labels with their models.

Imports no Keras: the rooms that do are imported when they are needed.
"""

import pkgutil

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.finetuning.answers.squad import is_squad
from budgetbert.finetuning.embedding.columns import are_pairs_alone
from budgetbert.finetuning.labelled.labels import KINDS
from budgetbert.finetuning.tagging.conll import is_conll

_TEXTS = "budgetbert.finetuning.labelled.data:read_labelled"
# Kinds of tasks with files of their own to the functions that read them, each from flags to a `Labelled`.
_READERS = {
    "tag": "budgetbert.finetuning.tagging.data:read_tagged",
    "answer": "budgetbert.finetuning.answers.data:read_labelled",
    "embed": "budgetbert.finetuning.embedding.data:read_pairs",
}
# Tasks whose files show by themselves what they are for.
_SHOWN_BY_FILES = {"tag": is_conll, "answer": is_squad}
# Classes of models to what labels texts with them.
_LABELLERS = {
    "BertBudgetTextClassifier": "budgetbert.finetuning.labelled.labelling:TextLabeller",
    "BertBudgetTokenClassifier": "budgetbert.finetuning.tagging.labelling:TagLabeller",
    "BertBudgetQuestionAnswering": "budgetbert.finetuning.answers.labelling:AnswerLabeller",
    "BertBudgetTextEmbedder": "budgetbert.finetuning.embedding.labelling:VectorLabeller",
}

TASKS = ("auto", *KINDS, *_READERS)


def read(given):
    """Reads the labelled files of a finetuning.

    Args:
        given: object with an attribute for each flag of `recipes/finetune.py`.

    Returns:
        `labelled.data.Labelled`.

    Raises:
        InputError: if a file cannot be read or its labels cannot be learned.
    """
    task = given.task
    shown = next((name for name, shows in _SHOWN_BY_FILES.items() if shows(given.train)), None)
    if given.columns is not None and shown:
        raise InputError(
            f"--columns names the columns of tables without a header, and --train {given.train} is none: leave it out."
        )
    if task == "auto":
        task = shown or ("embed" if _is_without_labels(given) else task)
    return pkgutil.resolve_name(_READERS.get(task, _TEXTS))(given)


def _is_without_labels(given):
    named = (given.text, given.text_pair, given.label)
    return named == (None, None, None) and are_pairs_alone(Records(given.train, "train", given.columns).names)


def labeller_of(model):
    """Returns what labels texts with a model, as `labelled.labelling.TextLabeller`; `None` of one that cannot."""
    name = _LABELLERS.get(type(model).__name__)
    return name and pkgutil.resolve_name(name)(model)
