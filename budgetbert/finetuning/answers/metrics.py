"""SQuAD's exact match and F1, and the best threshold for no answer, as its evaluation computes them.

Imports no Keras.
"""

import collections
import re
import string

import numpy as np

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(text):
    """Returns an answer (str) as it is compared: without case, ASCII punctuation, articles and further spaces.

    Example:

    >>> normalized("The  Cat's")
    'cats'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def squad_scores(predictions, answers):
    """Judges answers.

    Args:
        predictions: list of str, `""` for no answer.
        answers: list of lists of str, as many; an empty list where there is no answer. Where none is empty the formula
            is that of SQuAD v1.1, else that of v2.0: they differ where nothing of an answer is left to compare.

    Returns:
        Dict of floats from 0 to 1: `answer_f1` and `answer_exact_match`, means over the questions; where some have
        no answer, also `answerable_f1`, `answerable_exact_match` and `unanswerable_accuracy`, over those with one and
        those without.

    Raises:
        ValueError: if there are not as many predictions as lists of answers.

    Source: Rajpurkar et al. 2016 and 2018, `evaluate-v1.1.py` and `evaluate-v2.0.py`.

    Example:

    >>> squad_scores(["cat sat"], [["The cat.", "a mat"]])
    {'answer_f1': 0.6666666666666666, 'answer_exact_match': 0.0}
    """
    exact, f1 = scores_by_question(predictions, answers)
    if not len(exact):
        return {"answer_f1": 0.0, "answer_exact_match": 0.0}
    scores = {"answer_f1": float(f1.mean()), "answer_exact_match": float(exact.mean())}
    has_answer = np.array([bool(texts) for texts in answers])
    if has_answer.all():
        return scores
    some = has_answer.any()
    return {
        **scores,
        "answerable_f1": float(f1[has_answer].mean()) if some else 0.0,
        "answerable_exact_match": float(exact[has_answer].mean()) if some else 0.0,
        "unanswerable_accuracy": float(exact[~has_answer].mean()),
    }


def scores_by_question(predictions, answers):
    """Returns exact match and F1 of each question, two float arrays; arguments as `squad_scores`."""
    second = any(not texts for texts in answers)
    found = [_scores(*pair, second) for pair in zip(predictions, answers, strict=True)]
    return tuple(np.array(found, float).reshape(-1, 2).T)


def _scores(prediction, texts, second):
    guess, golds = normalized(prediction), [normalized(text) for text in texts]
    if second:
        golds = [gold for gold in golds if gold] or [""]
    return max(float(guess == gold) for gold in golds), max(_f1(guess, gold, second) for gold in golds)


def _f1(guess, gold, second):
    guess, gold = guess.split(), gold.split()
    if second and not (guess and gold):
        return float(guess == gold)
    same = sum((collections.Counter(guess) & collections.Counter(gold)).values())
    # 2 P R / (P + R), with P the share of the guess and R that of the answer.
    return 2 * same / (len(guess) + len(gold)) if same else 0.0


def best_threshold(predictions, differences, answers):
    """Returns the threshold of the highest F1: a question whose difference is above it is said to have no answer.

    Args:
        predictions: list of str, the best answers, never `""`.
        differences: float array, how much more a model believes that there is no answer than in its best one.
        answers: as for `squad_scores`.

    Returns:
        float, halfway between the last difference with an answer and the next: a model that was loaded again, or runs
        on another backend, may differ in the last digits. It is less than all of them where no answer at all is best.

    Source: Rajpurkar et al. 2018, `find_best_thresh` of `evaluate-v2.0.py`, which takes the last difference itself.
    """
    _, f1 = scores_by_question(predictions, answers)
    has_answer = np.array([bool(texts) for texts in answers])
    order = np.argsort(differences, kind="stable")
    gains = np.where(has_answer, f1, [-1.0 if prediction else 0.0 for prediction in predictions])[order]
    total = np.cumsum(gains)
    best = int(total.argmax())
    differences = np.asarray(differences)[order]
    if total[best] <= 0:
        return float(differences[0]) - 1.0
    following = differences[best + 1 :]
    return float(min(differences[best] + 1.0, (differences[best] + following[0]) / 2 if following.size else np.inf))
