"""How well right texts are found among others: nDCG, recall and reciprocal rank. Imports no Keras."""

import dataclasses

import numpy as np

METRICS = ("ndcg_at_10", "recall_at_1", "recall_at_10", "mrr")
# So many scores are held at once, 64 MB of float32.
_SCORES_AT_ONCE = 2**24


@dataclasses.dataclass(frozen=True)
class Collection:
    """Queries and the documents among which theirs are to be found; each text is there once.

    Args:
        queries: list of str.
        documents: list of str.
        relevant: list of int arrays, the places of the documents that answer each query.
        itself: int array `[queries]`, the place of the document that is the query, or -1: it is no answer and no
            mistake, so it is not looked at.
    """

    queries: list
    documents: list
    relevant: list
    itself: np.ndarray

    def __len__(self):
        return len(self.queries)


def collection_of(texts):
    """Returns the `Collection` of texts: a tuple of lists of str: anchors, positives, and hard negatives.

    All positives and negatives are documents; an anchor that is there several times is one query.
    """
    documents = {text: place for place, text in enumerate(dict.fromkeys(t for column in texts[1:] for t in column))}
    relevant = {}
    for anchor, positive in zip(*texts[:2], strict=True):
        relevant.setdefault(anchor, []).append(documents[positive])
    return Collection(
        queries=list(relevant),
        documents=list(documents),
        relevant=[np.unique(places) for places in relevant.values()],
        itself=np.array([documents.get(query, -1) for query in relevant]),
    )


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Args:
        ranks: list of int arrays, for each query the places of its documents in the order of the scores, from 1 on,
            the best first. Of equal scores the wrong document counts as the higher one.
        first_wrong: int array `[queries]`, the document with the highest score that is none of the query's.
        losses: float array `[queries]`, the cross-entropy of the query's documents by a softmax of the scores.
    """

    ranks: list
    first_wrong: np.ndarray
    losses: np.ndarray


def search(collection, scores_of, temperature=1.0):
    """Ranks the documents of a collection for each of its queries.

    Args:
        collection: `Collection`.
        scores_of: function of a slice of the queries that returns their scores, float array `[queries, documents]`.
        temperature: float. By which scores are divided before the softmax of the losses. Defaults to `1.0`.

    Returns:
        `Found`.
    """
    ranks, first_wrong, losses = [], [], []
    at_once = max(1, _SCORES_AT_ONCE // len(collection.documents))
    for start in range(0, len(collection), at_once):
        queries = slice(start, min(start + at_once, len(collection)))
        scores = np.array(scores_of(queries), np.float32)
        itself = collection.itself[queries]
        scores[np.flatnonzero(itself >= 0), itself[itself >= 0]] = -np.inf
        for row, relevant in zip(scores, collection.relevant[queries], strict=True):
            own = np.sort(row[relevant])[::-1]
            logits = row / temperature
            top = logits.max()
            losses.append(np.log(np.exp(logits - top).sum()) + top - own.mean() / temperature)
            row[relevant] = -np.inf
            first_wrong.append(row.argmax())
            ranks.append(1 + np.arange(own.size) + (row[None, :] >= own[:, None]).sum(axis=1))
    return Found(ranks, np.array(first_wrong), np.array(losses))


def metrics_of(ranks):
    """Returns the means over the queries, dict of float.

    `ndcg_at_10` and `recall_at_k` as BEIR has them, with documents that are right or wrong: the sum of 1 / log2(1 +
    rank) over the right ones of the first ten, over the highest that it can be; and the share of the right ones that
    are among the first k. `mrr` is the mean of 1 / rank of the first right one.

    Args:
        ranks: list of int arrays, see `Found`.
    """
    discounts = 1 / np.log2(np.arange(2, 12))
    gains = [discounts[found[found <= 10] - 1].sum() / discounts[: found.size].sum() for found in ranks]
    return {
        "ndcg_at_10": float(np.mean(gains)),
        "recall_at_1": float(np.mean([np.mean(found <= 1) for found in ranks])),
        "recall_at_10": float(np.mean([np.mean(found <= 10) for found in ranks])),
        "mrr": float(np.mean([1 / found[0] for found in ranks])),
    }


def chance(collection):
    """Returns the metrics (dict of float) that documents in any order have on average."""
    documents = len(collection.documents)
    generator = np.random.default_rng(0)
    drawn = [
        np.sort(generator.choice(documents, places.size, replace=False)) + 1
        for places in collection.relevant
        for _ in range(max(1, 10_000 // len(collection)))
    ]
    return metrics_of(drawn)
