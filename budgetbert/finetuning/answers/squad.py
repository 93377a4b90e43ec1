"""Questions with the texts that answer them, as SQuAD's JSON (v1.1 and v2.0) has them, or a file with columns.

Imports no Keras.
"""

import collections
import dataclasses
import json
import os
import re
from pathlib import Path

from budgetbert.corpus.sources import compression, formats
from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError, one_line

SHAPE = "SQuAD's JSON, or columns question, context and answers"
# The names of columns: data sets of the hub have the first, with lists of texts and starts in it.
_COLUMNS = ("question", "context", "answers")
_TEXTS, _STARTS = ("answer", "answer_text", "text"), ("answer_start", "start")
# SQuAD's name of what it holds, unescaped and so no text, in the first bytes of its file.
_IS_SQUAD = re.compile(rb'"(?:data|paragraphs|qas)"\s*:\s*\[')
_START_BYTES = 2**16


class Answer(collections.namedtuple("Answer", ("text", "start"))):
    """An answer: its text (str), and where it starts in its context (int), in code points."""


@dataclasses.dataclass(frozen=True)
class Questions:
    """Questions, the contexts that they are asked of, and their answers.

    Args:
        ids: list of str, one for each question; where the file has none, its number from 1.
        questions: list of str.
        contexts: list of str.
        answers: list of lists of `Answer`, several where several people answered. Empty where the context has none.
        left_out: dict of the id of each entry that cannot be used to why (str).
        moved: list of str, the ids of questions with an answer that was not where the file said; the occurrence that is
            nearest to it was taken.
    """

    ids: list
    questions: list
    contexts: list
    answers: list
    left_out: dict
    moved: list

    def __len__(self):
        return len(self.questions)

    @property
    def unanswerable(self):
        """int. How many have no answer."""
        return sum(not answers for answers in self.answers)

    @property
    def texts(self):
        """list of lists of str, the texts of the answers."""
        return [[answer.text for answer in answers] for answers in self.answers]


def read_questions(name, flag, columns=(None, None, None), header=None):
    """Reads questions, contexts and answers.

    Args:
        name: str. A file of SQuAD's JSON, also compressed; a file with columns `question`, `context` and `answers`
            (`text` and `answer_start`, lists) or `answer` and `answer_start`; or `hf:NAME[:CONFIG]` with such columns.
        flag: str. The flag that named it, for messages.
        columns: tuple of the names of the columns of questions, contexts and answers; `None` for those above.
        header: str, the names of all columns of a table without a header, as `Records` takes them.

    Returns:
        `Questions`, without the entries that cannot be used.

    Raises:
        InputError: if the file cannot be read, holds something else, or no entry can be used.
    """
    entries = (
        _entries_of_squad(name, flag) if is_squad(name) else _entries_of_rows(Records(name, flag, header), columns)
    )
    found = _checked(entries)
    if not len(found):
        first = next(iter(found.left_out.items()), None)
        why = f": the first, {first[0]}, because {first[1]}" if first else ""
        raise InputError(f"--{flag} {name} holds no question that can be used{why}: give {SHAPE}.")
    return found


def is_squad(name):
    """Returns whether a name (str) is that of a file that begins as SQuAD's JSON does."""
    if name.startswith("hf:") or not os.path.isfile(name) or formats.kind_of(name) != "json":
        return False
    return bool(_IS_SQUAD.search(_read(name, _START_BYTES)))


def _read(name, size=-1):
    with open(name, "rb") as raw, compression.opened(Path(name), raw) as from_start:
        # A stream may give less than it is asked for.
        stream, parts = from_start(), []
        while size and (part := stream.read(size)):
            parts.append(part)
            size -= len(part) if size > 0 else 0
        return b"".join(parts)


def _entries_of_squad(name, flag):
    """Yields (id, question, context, answers as lists of (text, start), whether it says that there is none)."""
    try:
        found = json.loads(_read(name).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"--{flag} {name} is not UTF-8: save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--{flag} {name} is not JSON ({one_line(error)}): copy or download it again.") from error
    articles = found.get("data") if isinstance(found, dict) else None
    if not isinstance(articles, list):
        raise InputError(f'--{flag} {name} has no list of articles in "data", as SQuAD\'s JSON has: give {SHAPE}.')
    for number, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield f"article {number}", None, None, None, None
            continue
        for place, paragraph in enumerate(paragraphs, 1):
            questions = paragraph.get("qas") if isinstance(paragraph, dict) else None
            if not isinstance(questions, list):
                yield f"paragraph {place} of article {number}", None, None, None, None
                continue
            for which, entry in enumerate(questions, 1):
                entry = entry if isinstance(entry, dict) else {}
                given = entry.get("answers", [])
                answers = [
                    (answer.get("text"), answer.get("answer_start")) if isinstance(answer, dict) else (None, None)
                    for answer in (given if isinstance(given, list) else [None])
                ]
                told = entry.get("id", f"question {which} of paragraph {place} of article {number}")
                yield told, entry.get("question"), paragraph.get("context"), answers, entry.get("is_impossible")


def _entries_of_rows(records, columns):
    names = records.names
    question, context, several = (given or usual for given, usual in zip(columns, _COLUMNS, strict=True))
    text = next((name for name in _TEXTS if name in names), None) if columns[2] is None else columns[2]
    start = next((name for name in _STARTS if name in names), None)
    missing = [name for name in (question, context) if name not in names]
    if several not in names and text not in names:
        missing.append(several)
    if missing:
        told = ", ".join(map(repr, names[:8])) or "none"
        raise InputError(
            f"--{records.flag} {records.name} has no {' and no '.join(missing)} (its columns: {told}): give {SHAPE}."
        )
    for number, record in enumerate(records, 1):
        told = f"row {number:,}"
        if record.values is None:
            yield told, record.problem, None, None, None
            continue
        row = record.values
        given = row.get(several)
        if isinstance(given, dict | list) or text is None:
            answers = _answers_of(given)
        else:
            answers = [(row[text], row.get(start))] if row.get(text) not in (None, "") else []
        yield row.get("id") or told, row.get(question), row.get(context), answers, row.get("is_impossible")


def _answers_of(given):
    """Returns lists of (text, start) of what data sets of the hub hold, or `(None, None)` for what is none of it."""
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        starts = given.get("answer_start")
        starts = starts if isinstance(starts, list) else []
        if len(starts) == len(given["text"]):
            return list(zip(given["text"], starts, strict=True))
    if isinstance(given, list) and all(isinstance(answer, dict) for answer in given):
        return [(answer.get("text"), answer.get("answer_start", answer.get("start"))) for answer in given]
    return [] if given is None else [(None, None)]


def _checked(entries):
    """Returns the `Questions` of entries as the readers yield them."""
    ids, questions, contexts, answers, left_out, moved = [], [], [], [], {}, []
    for told, question, context, given, impossible in entries:
        told = str(told)
        found, problem, is_moved = _answers_in(question, context, given, impossible)
        if problem:
            left_out[told] = problem
            continue
        ids.append(told)
        questions.append(question)
        contexts.append(context)
        answers.append(found)
        if is_moved:
            moved.append(told)
    return Questions(ids, questions, contexts, answers, left_out, moved)


def _answers_in(question, context, given, impossible):
    """Returns the `Answer`s of an entry, why it cannot be used or `None`, and whether one was moved."""
    if given is None:
        return None, question or "it is not as SQuAD's JSON has it", False
    for name, value in (("question", question), ("context", context)):
        if not isinstance(value, str) or not value.strip():
            return None, f"its {name} is {'empty' if isinstance(value, str) else 'no text'}", False
    if impossible in (True, False) and bool(given) is impossible:
        return None, f"it has {len(given)} answers and is_impossible={json.dumps(impossible)}", False
    found, problem, is_moved = [], None, False
    for text, start in given:
        if not isinstance(text, str) or not text.strip():
            problem = "an answer has no text"
            continue
        place = _place(context, text, start)
        if place is None:
            problem = f"its answer {text[:50]!r} is not in its context"
            continue
        is_moved = is_moved or place != start
        found.append(Answer(text, place))
    # One of several answers may be wrong, and the question still be good.
    return (found, None, is_moved) if found or not given else (None, problem, False)


def _place(context, text, start):
    """Returns where a text stands in a context: at `start`, else where it is nearest to it; `None` if it does not."""
    try:
        start = int(start)
    except (TypeError, ValueError):
        start = 0
    if start >= 0 and context.startswith(text, start):
        return start
    places = [match.start() for match in re.finditer(f"(?={re.escape(text)})", context)]
    return min(places, key=lambda place: abs(place - start), default=None)
