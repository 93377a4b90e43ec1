"""Metrics of retrieval against their definitions and scikit-learn's, and what costs nothing."""

import types

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.embedding.baselines import baselines, bm25_scores, unit
from budgetbert.finetuning.embedding.retrieval import chance, collection_of, metrics_of, search
from budgetbert.finetuning.tasks import Task

pytestmark = pytest.mark.without_backend


def test_a_collection_has_each_text_once_and_all_its_answers():
    texts = (["a", "b", "a", "c"], ["x", "y", "z", "a"], ["n", "n", "m", "b"])
    found = collection_of(texts)
    assert (found.queries, found.documents) == (["a", "b", "c"], ["x", "y", "z", "a", "n", "m", "b"])
    assert [places.tolist() for places in found.relevant] == [[0, 2], [1], [3]]
    assert found.itself.tolist() == [3, 6, -1]


def test_ranks_follow_the_scores_and_a_tie_is_a_mistake():
    collection = collection_of((["a", "a", "b"], ["x", "y", "z"]))
    scores = np.array([[0.1, 0.9, 0.5], [0.7, 0.2, 0.7]])
    found = search(collection, lambda chosen: scores[chosen])
    assert [ranks.tolist() for ranks in found.ranks] == [[1, 3], [2]]
    assert found.first_wrong.tolist() == [2, 0]
    expected = np.log(np.exp(scores).sum(axis=1)) - [0.5, 0.7]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-6)


def test_a_query_among_the_documents_is_not_looked_at():
    collection = collection_of((["a", "b"], ["x", "a"]))
    found = search(collection, lambda chosen: np.array([[0.5, 0.9], [0.1, 0.2]])[chosen])
    assert [ranks.tolist() for ranks in found.ranks] == [[1], [1]]


def test_metrics_are_those_of_their_definitions():
    rng = np.random.default_rng(0)
    documents = [f"d{n}" for n in range(40)]
    pairs = [(f"q{q}", documents[d]) for q in range(30) for d in rng.choice(40, rng.integers(1, 4), replace=False)]
    collection = collection_of(tuple(map(list, zip(*pairs, strict=True))))
    scores = rng.normal(size=(len(collection), len(collection.documents)))
    truth = np.zeros_like(scores)
    for row, places in enumerate(collection.relevant):
        truth[row, places] = 1
    found = metrics_of(search(collection, lambda chosen: scores[chosen]).ranks)
    order = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(truth, order, axis=1)
    assert found["ndcg_at_10"] == pytest.approx(ndcg_score(truth, scores, k=10), rel=1e-6)
    assert found["mrr"] == pytest.approx(np.mean(1 / (1 + hits.argmax(axis=1))))
    for k in (1, 10):
        assert found[f"recall_at_{k}"] == pytest.approx(np.mean(hits[:, :k].sum(axis=1) / truth.sum(axis=1)))
    assert chance(collection)["recall_at_10"] == pytest.approx(10 / len(collection.documents), abs=0.03)


def test_bm25_is_its_formula():
    documents = ["the cat sat", "the dog", "a cat, a cat and a hat"]
    scores = bm25_scores(["cat hat", "dog dog"], documents).toarray()
    words = [["the", "cat", "sat"], ["the", "dog"], ["a", "cat", ",", "a", "cat", "and", "a", "hat"]]
    mean = np.mean([len(part) for part in words])

    def formula(query, document):
        total = 0.0
        for word in query:
            containing, count = sum(word in part for part in words), document.count(word)
            weight = np.log(1 + (3 - containing + 0.5) / (containing + 0.5))
            total += weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * len(document) / mean))
        return total

    expected = [[formula(query, part) for part in words] for query in (["cat", "hat"], ["dog", "dog"])]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


class _Words:
    """A tokenizer of whole words."""

    normalizer = None

    def get_vocabulary(self):
        return ["[PAD]", "[UNK]", "cat", "kitten", "dog", "puppy"]


def test_baselines_are_judged_as_the_model_is(monkeypatch):
    vocabulary = _Words().get_vocabulary()

    def encode_batch(texts, add_special_tokens):
        return [types.SimpleNamespace(ids=[vocabulary.index(word) for word in text.split()]) for text in texts]

    monkeypatch.setattr(
        "budgetbert.finetuning.embedding.baselines.standalone_tokenizer",
        lambda *_: types.SimpleNamespace(encode_batch=encode_batch),
    )
    table = np.array([[0, 0], [1, 1], [1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    pretrained = types.SimpleNamespace(tokenizer=_Words(), token_table=table)
    part = Examples((["cat", "dog"], ["kitten", "puppy"]), None, ())
    task = Task("embed", "Embeddings", ("a", "b"), None, (), ("ndcg_at_10",), None, (), ())
    found = baselines(task, {"train": part, "dev": part}, pretrained)
    assert set(found) == {"tfidf_cosine", "bm25", "static"}
    # Word counts have nothing in common here; the vectors of the words do.
    assert found["static"]["dev"]["recall_at_1"] == 1.0
    assert found["tfidf_cosine"]["dev"]["recall_at_1"] == found["bm25"]["dev"]["recall_at_1"] == 0.0
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0, 0]])), [[0.6, 0.8], [0, 0]])
