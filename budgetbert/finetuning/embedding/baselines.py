"""What costs nothing, to be held against vectors: counts of words, and the mean of a model's own token vectors."""

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

from budgetbert.finetuning import metrics
from budgetbert.finetuning.embedding.retrieval import collection_of, metrics_of, search
from budgetbert.tokenization.vocabulary import standalone_tokenizer

# A word or a run of other signs, so that every text has one.
_TOKEN = r"\w+|[^\w\s]+"
# What BM25 is usually given (Robertson & Zaragoza 2009; Lucene).
_K1, _B = 1.2, 0.75


def bm25_scores(queries, documents):
    """Returns the scores of BM25, sparse float `[queries, documents]`.

    Source: Robertson & Zaragoza 2009; the weight of a word is that of Lucene, which is never negative.
    """
    counter = CountVectorizer(token_pattern=_TOKEN)
    counts = counter.fit_transform(documents).tocsr().astype(np.float64)
    lengths = np.asarray(counts.sum(axis=1))[:, 0]
    containing = np.bincount(counts.indices, minlength=counts.shape[1])
    weights = np.log1p((len(documents) - containing + 0.5) / (containing + 0.5))
    norms = _K1 * (1 - _B + _B * lengths / max(lengths.mean(), 1.0))
    counts.data *= (_K1 + 1) / (counts.data + np.repeat(norms, np.diff(counts.indptr)))
    counts.data *= weights[counts.indices]
    return counter.transform(queries) @ counts.T


def static_vectors(texts, pretrained):
    """Returns the means of the vectors that a model has for the tokens of texts, float32 `[texts, width]`.

    Args:
        texts: list of str.
        pretrained: object with `tokenizer`, a `BertBudgetTokenizer`, and `token_table`, float array `[tokens, width]`.
    """
    tokenizer, table = pretrained.tokenizer, pretrained.token_table
    fast = standalone_tokenizer(tokenizer.get_vocabulary(), tokenizer.normalizer)
    rows = [row.ids for row in fast.encode_batch(texts, add_special_tokens=False)]
    return np.array([table[ids].mean(axis=0) if ids else np.zeros(table.shape[1]) for ids in rows], np.float32)


def unit(vectors):
    """Returns vectors `[n, width]` with the length 1; those of zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def baselines(task, examples, pretrained):
    """Returns the metrics of TF-IDF, of BM25 (for retrieval) and of static vectors.

    Args:
        task: `Task`.
        examples: dict of `"train"`, `"dev"` and perhaps `"test"` to `Examples`.
        pretrained: as of `static_vectors`.

    Returns:
        dict of `"tfidf_cosine"`, `"bm25"` and `"static"` to dict of the other parts' names to dict of metrics.
    """
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=_TOKEN)
    vectorizer.fit([text for column in examples["train"].texts for text in column])
    encoders = {
        "tfidf_cosine": vectorizer.transform,
        "static": lambda texts: unit(static_vectors(texts, pretrained)),
    }
    parts = {name: part for name, part in examples.items() if name != "train"}
    found = {
        kind: {name: _score(task, part, encode) for name, part in parts.items()} for kind, encode in encoders.items()
    }
    if not task.label:
        found["bm25"] = {name: _bm25(part) for name, part in parts.items()}
    return found


def _score(task, part, encode):
    if task.label:
        first, second = (encode(column) for column in part.texts)
        products = first.multiply(second).sum(axis=1) if hasattr(first, "multiply") else (first * second).sum(axis=1)
        return metrics.score(task, part.labels, np.asarray(products).ravel())
    collection = collection_of(part.texts)
    queries, documents = encode(collection.queries), encode(collection.documents)
    return metrics_of(search(collection, lambda chosen: _dense(queries[chosen] @ documents.T)).ranks)


def _bm25(part):
    collection = collection_of(part.texts)
    scores = bm25_scores(collection.queries, collection.documents).tocsr()
    return metrics_of(search(collection, lambda chosen: _dense(scores[chosen])).ranks)


def _dense(matrix):
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix
