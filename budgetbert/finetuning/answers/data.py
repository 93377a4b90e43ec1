"""Files of questions as examples: read, checked, and a part of them held out. Imports no Keras."""

import dataclasses
import functools
import zlib

import numpy as np
from sklearn.model_selection import GroupShuffleSplit

from budgetbert.errors import InputError
from budgetbert.finetuning.answers.squad import Questions, is_squad, read_questions
from budgetbert.finetuning.labelled.columns import Columns
from budgetbert.finetuning.labelled.data import HELD_OUT, Labelled, also_in_train
from budgetbert.finetuning.labelled.labels import Kind
from budgetbert.finetuning.tasks import Split, Task
from budgetbert.reporting.numbers import counted

NAME = "answer"
_METRICS = ("answer_f1", "answer_exact_match")
_METRICS_OF_NONE = ("answerable_f1", "answerable_exact_match", "unanswerable_accuracy")
_TOLD_IDS = 5
# A question with its context takes a row as long as BERT's, where the model has so many positions.
_SEQUENCE_LENGTH = 384


@dataclasses.dataclass(frozen=True)
class AnswerExamples:
    """The questions of one part, as `Finetuning` takes them.

    Args:
        questions: `Questions`.
        stem: str, the name of the part.
        notes: tuple of str. What was left out of it.
        suffix: str. Of its metrics' names.
    """

    questions: Questions
    stem: str
    notes: tuple = ()
    suffix: str = ""

    def __len__(self):
        return len(self.questions)

    @functools.cached_property
    def fingerprint(self):
        """str, of questions, contexts and answers."""
        found = self.questions
        sum_of = 0
        for row in zip(found.questions, found.contexts, found.answers, strict=True):
            sum_of = zlib.crc32(repr(row).encode("utf-8", "surrogatepass"), sum_of)
        return f"{sum_of:08x}"

    def take(self, indices, **changes):
        """Returns the examples of an int array of indices, with other attributes where any are given."""
        found = self.questions
        columns = (found.ids, found.questions, found.contexts, found.answers)
        taken = Questions(*([column[place] for place in indices] for column in columns), {}, [])
        return dataclasses.replace(self, questions=taken, **changes)


def read_labelled(given):
    """Reads what `--train`, `--dev` and `--test` name.

    Args:
        given: object with the attributes `train`, `dev`, `test`, `text`, `text_pair`, `label` and
            `max_train_examples`, as the flags of `recipes/finetune.py`.

    Returns:
        `labelled.data.Labelled`.

    Raises:
        InputError: if a file cannot be read, or holds too few questions that can be used.
    """
    columns = (given.text, given.text_pair, given.label)
    files = {flag: name for flag in ("train", "dev", "test") if (name := getattr(given, flag))}
    found = {flag: read_questions(name, flag, columns, given.columns) for flag, name in files.items()}
    told = [sentence for flag, questions in found.items() for sentence in _told(flag, files[flag], questions)]
    examples = {flag: AnswerExamples(questions, flag) for flag, questions in found.items()}
    if "dev" not in examples:
        examples |= _hold_out(examples["train"])
        told.append(
            f"dev: held out of {given.train}, whole contexts drawn at random, "
            f"{counted(len(examples['dev']), 'question')}, the same in each run; give --dev for others."
        )
    counts = {"rows": {flag: len(part) for flag, part in examples.items()}}
    counts["unusable_rows"] = {flag: len(questions.left_out) for flag, questions in found.items()}
    contexts = {flag: part.questions.contexts for flag, part in examples.items()}
    counts["also_in_train"] = also_in_train(contexts, told, "question", "have a context of the training examples")
    if given.max_train_examples and given.max_train_examples < len(examples["train"]):
        examples["train"] = _sample(examples["train"], given.max_train_examples)
        told += [f"train: {note}." for note in examples["train"].notes]
    none = any(part.questions.unanswerable for part in examples.values())
    kind = Kind(
        NAME, (*_METRICS, *(_METRICS_OF_NONE if none else ())), "a part of a text for each question", _SEQUENCE_LENGTH
    )
    names = tuple(named or usual for named, usual in zip(columns, ("question", "context", "answers"), strict=True))
    splits = {flag: (Split(flag, len(part)),) for flag, part in examples.items()}
    task = Task(
        *(kind.name, "Answers", names[:2], names[2], (), kind.metrics),
        **{"train": splits["train"][0], "dev": splits["dev"], "test": splits.get("test", ())},
    )
    why = "the file has SQuAD's form" if is_squad(given.train) else "it was asked for"
    return Labelled(
        *(kind, why, Columns(names[:2], names[2], ()), task, examples, tuple(told), counts),
        functools.partial(_make_head, task, none),
    )


def _make_head(task, none):
    from budgetbert.finetuning.answers.head import AnswerHead

    return AnswerHead(task, none)


def _told(flag, name, questions):
    """Yields sentences on what is in a file, and what of it cannot be used."""
    if questions.unanswerable:
        yield f"{flag}: {questions.unanswerable:,} of {counted(len(questions), 'question')} have no answer."
    left_out = questions.left_out
    if left_out:
        why = next(iter(left_out.values()))
        yield (
            f"{flag}: {counted(len(left_out), 'question')} of {name} cannot be used "
            f"({_shown(left_out)}; the first, because {why})."
        )
    if questions.moved:
        yield (
            f"{flag}: {counted(len(questions.moved), 'question')} of {name} have an answer that is not where the file "
            f"says ({_shown(questions.moved)}); the nearest place where it stands was taken."
        )


def _shown(ids):
    ids = list(ids)
    return ", ".join(ids[:_TOLD_IDS]) + (" and so on" if len(ids) > _TOLD_IDS else "")


def _hold_out(examples):
    """Returns the training examples and those of the development set, which have other contexts, as a dict."""
    contexts = examples.questions.contexts
    if len(set(contexts)) < 2:
        raise InputError(
            f"--train has {counted(len(examples), 'question')} of one context, and none can be held out: give more, or "
            "--dev."
        )
    splitter = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=0)
    kept, held = next(splitter.split(contexts, groups=contexts))
    return {flag: examples.take(part, stem=flag) for flag, part in (("train", kept), ("dev", held))}


def _sample(examples, count):
    places = np.sort(np.random.default_rng(0).permutation(len(examples))[:count])
    note = f"trained on {count:,} of {counted(len(examples), 'question')}"
    return examples.take(places, notes=(*examples.notes, note))
