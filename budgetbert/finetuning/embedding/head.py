"""A model of vectors in a finetuning: how it learns, and what it finds and misses."""

import numpy as np

from budgetbert.errors import InputError
from budgetbert.finetuning import metrics
from budgetbert.finetuning.embedding.baselines import baselines, unit
from budgetbert.finetuning.embedding.encoded import EncodedTexts, vectors_of
from budgetbert.finetuning.embedding.retrieval import chance, collection_of, metrics_of, search
from budgetbert.finetuning.heads import Judgement, restart
from budgetbert.models import BertBudgetTextEmbedder, BertBudgetTextEmbedderPreprocessor
from budgetbert.training.step.objectives import Embedding

_ERRORS = 20


class EmbeddingHead:
    """Vectors of texts, learned from pairs, triplets, scored pairs or texts alone.

    Args:
        task: `Task`, with a label where pairs have scores.
        sizes: tuple of int. The first so many numbers of a vector are trained to be useful alone. Defaults to none.
        temperature: float. By which the loss divides cosines. Defaults to `0.05`.
        pooling: str, as of `BertBudgetTextEmbedder`. Defaults to `"mean"`.

    Attributes:
        objective: what is minimised, as those of `training.step.objectives`.
    """

    def __init__(self, task, sizes=(), temperature=0.05, pooling="mean"):
        self.task, self.sizes, self.temperature, self.pooling = task, sizes, temperature, pooling
        self.objective = Embedding(temperature, sizes)

    def make_model(self, pretrained, dropout, sequence_length, dtype):
        """Returns the `BertBudgetTextEmbedder`, to be started with `restart`; arguments as of `heads.TextHead`."""
        width = pretrained.config["hidden_dim"]
        if any(size >= width for size in self.sizes):
            sizes = ",".join(map(str, self.sizes))
            raise InputError(f"--sizes {sizes} are not all under the model's width of {width}: give smaller ones.")
        return BertBudgetTextEmbedder(
            pretrained.make_encoder(dropout, dtype),
            BertBudgetTextEmbedderPreprocessor(pretrained.tokenizer, sequence_length),
            pooling=self.pooling,
            sizes=self.sizes,
            temperature=self.temperature,
        )

    def restart(self, model, weights, seed, pooler=None):
        """Sets a model to the start of a finetuning: it has no layer beyond the encoder's."""
        restart(model, weights, seed, ())

    def encode(self, examples, tokenizer, sequence_length):
        """Returns the `EncodedTexts` of `Examples`."""
        return EncodedTexts(examples, tokenizer, sequence_length)

    def judge(self, model, examples, encoded):
        """Returns the `Judgement` of a model in training on `Examples` and what `encode` made of them."""
        vectors = unit(vectors_of(model, encoded.unique))
        if self.task.label:
            cosines = _cosines(vectors, encoded.places, examples.texts)
            found, losses = metrics.score(self.task, examples.labels, cosines), _distances(examples.labels, cosines)
            failure = "gives all pairs the same cosine" if np.ptp(cosines) < 1e-6 else None
            return Judgement(losses, found, cosines.tolist(), failure)
        collection = collection_of(examples.texts)
        searched = _searched(collection, vectors, encoded.places, self.temperature)
        found, usual = metrics_of(searched.ranks), self.majority(examples)
        failure = None if found["mrr"] > usual["mrr"] else "finds no more than any order of the texts would"
        return Judgement(searched.losses, found, [ranks.tolist() for ranks in searched.ranks], failure)

    def majority(self, examples):
        """Returns the metrics (dict of float) of the texts in any order, of scores that of one score for all."""
        return dict.fromkeys(self.task.metrics, 0.0) if self.task.label else chance(collection_of(examples.texts))

    def finish(self, model):
        """The vectors are as they were trained."""

    def baselines(self, examples, pretrained):
        """Returns the metrics of counts of words and of the model's own token vectors, see `baselines.baselines`."""
        return baselines(self.task, examples, pretrained)

    def report(self, model, examples):
        """Judges a finished model.

        Args:
            model: `BertBudgetTextEmbedder`.
            examples: `Examples`.

        Returns:
            dict of `metrics`, of `errors`: the worst retrievals, or the pairs whose cosines are farthest from their
            scores, and of `sizes`: the metrics of each size of a part of the vectors (dict).
        """
        encoded = self.encode(examples, model.preprocessor.tokenizer, model.preprocessor.sequence_length)
        vectors, places = vectors_of(model, encoded.unique), encoded.places
        if self.task.label:
            cosines = _cosines(unit(vectors), places, examples.texts)
            found = {"metrics": metrics.score(self.task, examples.labels, cosines)}
            found["errors"] = _farthest(examples, cosines)

            def judged(part):
                return metrics.score(self.task, examples.labels, _cosines(part, places, examples.texts))

        else:
            collection = collection_of(examples.texts)
            searched = _searched(collection, unit(vectors), places, self.temperature)
            found = {"metrics": metrics_of(searched.ranks), "errors": _worst(collection, searched)}

            def judged(part):
                return metrics_of(_searched(collection, part, places, self.temperature).ranks)

        if model.sizes:
            found["sizes"] = {str(size): judged(unit(vectors[:, :size])) for size in model.sizes}
        return found


def _searched(collection, vectors, places, temperature):
    queries = vectors[[places[text] for text in collection.queries]]
    documents = vectors[[places[text] for text in collection.documents]]
    return search(collection, lambda chosen: queries[chosen] @ documents.T, temperature)


def _cosines(vectors, places, texts):
    first, second = (vectors[[places[text] for text in column]] for column in texts)
    return (first * second).sum(axis=1)


def _distances(scores, cosines):
    """The squares of the differences of cosines and scores, both brought to the range from 0 to 1."""
    return np.square((cosines + 1) / 2 - _ranged(scores))


def _ranged(values):
    return (values - values.min()) / (np.ptp(values) or 1.0)


def _worst(collection, searched):
    """The queries whose best document stands farthest behind, with what was found in its place."""
    order = sorted(range(len(collection)), key=lambda query: -searched.ranks[query][0])
    return [
        {
            "texts": [collection.queries[query]],
            "label": collection.documents[collection.relevant[query][0]],
            "predicted": f"{collection.documents[searched.first_wrong[query]]} (the right one is at place "
            f"{searched.ranks[query][0]:,} of {len(collection.documents):,})",
        }
        for query in order[:_ERRORS]
        if searched.ranks[query][0] > 1
    ]


def _farthest(examples, cosines):
    return [
        {
            "texts": [column[row] for column in examples.texts],
            "label": float(examples.labels[row]),
            "predicted": float(cosines[row]),
        }
        for row in np.argsort(-np.abs(_ranged(cosines) - _ranged(examples.labels)), kind="stable")[:_ERRORS]
    ]
