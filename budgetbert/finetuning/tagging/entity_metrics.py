"""Precision, recall and F1 of entities as CoNLL's evaluation counts them, and what costs nothing.

Imports no Keras. `nervaluate`'s strict mode reads wrong prefixes otherwise, and seqeval no longer installs.
"""

import collections

from budgetbert.tokenization.tags import entities_of


def entity_scores(labels, predictions):
    """Counts the entities that have the right first word, last word and type.

    Args:
        labels: list of lists of str, the tags of each sentence.
        predictions: the same.

    Returns:
        Dict of floats from 0 to 1: `entity_precision`, `entity_recall` and `entity_f1` over all entities, and
        `accuracy` over words; and `types`, a dict of each type to a dict of `precision`, `recall`, `f1` and `support`
        (int). Where nothing was predicted, or nothing was there, a ratio is 0.

    Raises:
        ValueError: if there are not as many predictions as labels.

    Source: conlleval (Tjong Kim Sang & Buchholz 2000).

    Example:

    >>> entity_scores([["B-PER", "I-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "O", "O"]])["entity_recall"]
    0.5
    """
    there, predicted, right = collections.Counter(), collections.Counter(), collections.Counter()
    words = hits = 0
    for tags, guesses in zip(labels, predictions, strict=True):
        if len(tags) != len(guesses):
            raise ValueError(f"A sentence has {len(tags)} tags and {len(guesses)} predictions.")
        words += len(tags)
        hits += sum(tag == guess for tag, guess in zip(tags, guesses, strict=True))
        mine, theirs = set(entities_of(tags)), set(entities_of(guesses))
        for counter, entities in ((there, mine), (predicted, theirs), (right, mine & theirs)):
            counter.update(entity.type for entity in entities)
    precision, recall, f1 = _ratios(right.total(), predicted.total(), there.total())
    types = {}
    for kind in sorted(there | predicted):
        of_type = _ratios(right[kind], predicted[kind], there[kind])
        types[kind] = {**dict(zip(("precision", "recall", "f1"), of_type, strict=True)), "support": there[kind]}
    return {
        "entity_f1": f1,
        "entity_precision": precision,
        "entity_recall": recall,
        "accuracy": hits / words if words else 0.0,
        "types": types,
    }


def _ratios(right, predicted, there):
    precision, recall = (right / whole if whole else 0.0 for whole in (predicted, there))
    return precision, recall, 2 * right / (predicted + there) if predicted + there else 0.0


class MostFrequentTags:
    """Gives each word the tag that it most often had, and a word that is new the most frequent tag of all.

    Args:
        words: list of lists of str.
        tags: list of lists of str, as many.
        others: list of lists of str. Tags that count for the most frequent one alone. Defaults to none.

    Example:

    >>> MostFrequentTags([["in", "Paris"]], [["O", "B-LOC"]])([["Paris", "is"]])
    [['B-LOC', 'B-LOC']]
    """

    def __init__(self, words, tags, others=()):
        counts = collections.defaultdict(collections.Counter)
        every = collections.Counter(tag for its_tags in others for tag in its_tags)
        for sentence, its_tags in zip(words, tags, strict=True):
            for word, tag in zip(sentence, its_tags, strict=True):
                counts[word][tag] += 1
                every[tag] += 1
        # Of equally frequent tags the first of the alphabet is taken, so that the order of the file says nothing.
        self._tags = {word: _most_frequent(found) for word, found in counts.items()}
        self._usual = _most_frequent(every)

    def __call__(self, words):
        """Returns the tags (list of lists of str) of sentences (list of lists of str)."""
        return [[self._tags.get(word, self._usual) for word in sentence] for sentence in words]


def _most_frequent(counts):
    return min(counts, key=lambda tag: (-counts[tag], tag))
