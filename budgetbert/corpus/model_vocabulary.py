"""What `--vocabulary_from` takes over: the vocabulary and the normaliser of a model, or of another corpus."""

import os

from budgetbert.corpus import store
from budgetbert.trained_model import Tokens, TrainedModel


def read_model_vocabulary(path):
    """Reads what a model reads text with.

    Args:
        path: str. As for `TrainedModel.read`, or a prepared corpus.

    Returns:
        `Tokens`.

    Raises:
        InputError: if there is none there, or it cannot be had here.
    """
    if os.path.exists(os.path.join(path, store.MANIFEST)):
        corpus = store.open_corpus(path)
        return Tokens(corpus.vocabulary, corpus.normalizer)
    return TrainedModel.read(path, "--vocabulary_from", weights=False).tokens
