"""Answers as they are given, checked; as tokens of rows; and the best of them by a model's logits."""

import dataclasses
import itertools

import numpy as np

from budgetbert.models.datasets import as_texts


def checked_pairs(x):
    """Returns questions and contexts, two lists of str.

    Args:
        x: tuple of two lists, arrays or columns of strings, or of two strings, which are one example.

    Raises:
        ValueError: if it is something else, empty, or the two are not as many.
    """
    if not isinstance(x, tuple) or len(x) != 2:
        raise ValueError(
            f"A question-answering model reads questions and contexts: give a tuple (questions, contexts). Received: "
            f"{type(x).__name__}"
        )
    arrays = as_texts(x, alone=True)
    return tuple([_decoded(text) for text in array] for array in arrays)


def _decoded(text):
    return text.decode(errors="replace") if isinstance(text, bytes) else str(text)


def checked_answers(contexts, answers):
    """Returns the span `(start, end)` of each answer in its context, in code points, or `None` where there is none.

    Args:
        contexts: list of str.
        answers: as `BertBudgetQuestionAnswering.fit` takes them.

    Raises:
        ValueError: if there are not as many, or one is not where it is said to be.
    """
    if answers is None or len(answers) != len(contexts):
        given = "none" if answers is None else len(answers)
        raise ValueError(f"There are {len(contexts)} questions and {given} answers: give one for each, None for none.")
    return [_span(place, *pair) for place, pair in enumerate(zip(contexts, answers, strict=True))]


def _span(place, context, answer):
    if answer is None:
        return None
    try:
        if isinstance(answer, dict) and "answer_start" in answer:
            texts, starts = (np.atleast_1d(answer[key]) for key in ("text", "answer_start"))
            answer = {"text": str(texts[0]), "start": starts[0]} if len(texts) else {"start": -1}
        start, *rest = (answer["start"], answer.get("end"), answer.get("text")) if isinstance(answer, dict) else answer
        start, end, text = int(start), *rest, *[None] * (2 - len(rest))
        if start < 0 or text == "":
            return None
        end = start + len(text) if end is None else int(end)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"Answer {place} is neither (start, end), nor a dict of start and text or end, nor None for no answer. "
            f"Received: {answer!r:.100}"
        ) from error
    if not start < end <= len(context) or (text is not None and context[start:end] != text):
        told = "" if text is None else f" ({text!r:.50})"
        raise ValueError(
            f"Answer {place}{told} is not at {start} to {end} of its context of {len(context)} characters, where "
            f"{context[start:end]!r:.50} stands: count in code points, from 0."
        )
    return start, end


def target_columns(rows, spans):
    """Returns the columns of first and last token of each row's answer: 0, that is [CLS], where it holds none.

    Args:
        rows: `AnswerRows`.
        spans: list of `(start, end)` in code points or `None`, one for each example. Pieces that are partly in one are
            part of the answer; one in which no piece is, is none.

    Returns:
        int32 array `[rows, 2]`.
    """
    pieces = np.zeros((len(spans), 2), np.int64)
    for place, span in enumerate(spans):
        if span is not None:
            first = np.searchsorted(rows.ends[place], span[0], side="right")
            pieces[place] = first, np.searchsorted(rows.starts[place], span[1])
    first, behind = pieces[rows.examples].T
    holds = (first < behind) & (first >= rows.firsts) & (behind <= rows.firsts + rows.counts)
    columns = np.stack([first, behind - 1], 1) - rows.firsts[:, None] + rows.columns[:, None]
    return np.where(holds[:, None], columns, 0).astype(np.int32)


def span_labels(rows, targets, length, chosen=slice(None)):
    """Returns the labels of `span_cross_entropy` (int8 array `[rows, length, 2]`).

    Args:
        rows: `AnswerRows`.
        targets: int array `[rows, 2]`, as `target_columns` gives them.
        length: int.
        chosen: int array, or a slice, of the rows that are wanted. Defaults to all.
    """
    targets = targets[chosen]
    labels = np.where(candidates(rows, length, chosen), 0, -1).astype(np.int8)
    labels = np.repeat(labels[:, :, None], 2, axis=2)
    labels[np.arange(len(targets))[:, None], targets, [0, 1]] = 1
    return labels


def candidates(rows, length, chosen=slice(None)):
    """Returns which tokens can be an answer's: [CLS], for none, and those of the context. Arguments as `span_labels`.

    Returns:
        bool array `[rows, length]`.
    """
    columns, first = np.arange(length), rows.columns[chosen, None]
    return (columns == 0) | ((columns >= first) & (columns < first + rows.counts[chosen, None]))


@dataclasses.dataclass(frozen=True)
class BestSpans:
    """The best answer to each question that a model finds, whether or not it thinks that there is one.

    Args:
        starts: int array `[examples]`, where it starts in its context, in code points; -1 in a context without pieces.
        ends: int array `[examples]`, where it ends.
        scores: float32 array `[examples]`, the probability of its first token times that of its last, of the tokens of
            its row that can be one.
        no_answer_scores: float32 array `[examples]`, the same of [CLS], in the row where it is least probable.
        differences: float32 array `[examples]`, the logits of no answer less those of the best.
    """

    starts: np.ndarray
    ends: np.ndarray
    scores: np.ndarray
    no_answer_scores: np.ndarray
    differences: np.ndarray


def best_spans(rows, logits, longest):
    """Finds the best answer of each example over all its rows.

    A first piece is looked for in the row in which it has most around it, the last in the same row.

    Args:
        rows: `AnswerRows`.
        logits: float32 array `[rows, length, 2]`.
        longest: int. The most pieces of an answer.

    Returns:
        `BestSpans`.

    Source: Devlin et al. 2019, section 4.3.
    """
    count, length = logits.shape[:2]
    can_be = candidates(rows, length)
    masked = np.where(can_be[:, :, None], logits, -np.inf)
    log_sums = _log_sum(masked)
    columns = np.arange(length)
    owned = rows.owned - rows.firsts[:, None] + rows.columns[:, None]
    starts = np.where((columns >= owned[:, :1]) & (columns < owned[:, 1:]), masked[:, :, 0], -np.inf)
    ends = np.where(columns > 0, masked[:, :, 1], -np.inf)
    best, first, last = np.full(count, -np.inf, np.float32), np.zeros(count, int), np.zeros(count, int)
    for pieces in range(min(longest, length)):
        sums = starts[:, : length - pieces] + ends[:, pieces:]
        place = sums.argmax(1)
        found = sums[np.arange(count), place]
        better = found > best
        best, first = np.where(better, found, best), np.where(better, place, first)
        last = np.where(better, place + pieces, last)
    none = masked[:, 0].sum(-1)
    bounds = rows.bounds
    groups = [slice(*pair) for pair in itertools.pairwise(bounds)]
    of_best = np.array([group.start + best[group].argmax() for group in groups], int)
    of_none = np.array([group.start + none[group].argmin() for group in groups], int)
    is_there = np.isfinite(best[of_best])
    to_place = rows.firsts[of_best] - rows.columns[of_best]
    spans = [
        (starts[place], ends[behind]) if found else (-1, -1)
        for starts, ends, place, behind, found in zip(
            rows.starts, rows.ends, first[of_best] + to_place, last[of_best] + to_place, is_there, strict=True
        )
    ]
    return BestSpans(
        *np.array(spans, np.int64).reshape(-1, 2).T,
        scores=np.exp(best[of_best] - log_sums[of_best]),
        no_answer_scores=np.exp(none[of_none] - log_sums[of_none]),
        differences=none[of_none] - best[of_best],
    )


def _log_sum(masked):
    """Returns the logarithms of the sums of the exponentials of firsts and lasts, added (array `[rows]`)."""
    top = masked.max(axis=1, keepdims=True)
    return (np.log(np.exp(masked - top).sum(axis=1)) + top[:, 0]).sum(-1)
