"""SQuAD's evaluation written anew from its papers' and scripts' definitions, in another way than the library's."""

import re
import string


def normalize(text):
    text = "".join(sign for sign in text.lower() if sign not in set(string.punctuation))
    for article in ("a", "an", "the"):
        text = re.sub(rf"(?<!\w){article}(?!\w)", " ", text)
    return " ".join(text.split())


def f1(guess, gold, second):
    guess, gold = normalize(guess).split(), normalize(gold).split()
    if second and (not guess or not gold):
        return float(guess == gold)
    left, same = list(gold), 0
    for word in guess:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    precision, recall = same / len(guess), same / len(gold)
    return 2 * precision * recall / (precision + recall)


def evaluate(predictions, answers):
    """Exact match and F1 of v1.1 where all have an answer, else of v2.0, as shares."""
    second = any(not golds for golds in answers)
    exact = total = 0.0
    for guess, golds in zip(predictions, answers, strict=True):
        if second:
            golds = [gold for gold in golds if normalize(gold)] or [""]
        exact += max(float(normalize(guess) == normalize(gold)) for gold in golds)
        total += max(f1(guess, gold, second) for gold in golds)
    return exact / len(answers), total / len(answers)


def best_f1(predictions, differences, answers):
    """The highest F1 that any threshold gives, tried one after another."""
    found = []
    for threshold in [min(differences) - 1, *differences]:
        kept = [
            guess if difference <= threshold else "" for guess, difference in zip(predictions, differences, strict=True)
        ]
        found.append(evaluate(kept, answers)[1])
    return max(found)
