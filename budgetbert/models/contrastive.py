"""What an embedder learns from: texts that belong together among all others of a batch, and pairs in an order."""

import keras
import numpy as np
from keras import ops

# What a row of a batch is to the others of its example; padding is none of them.
ANCHOR, POSITIVE, PADDING = 0, 1, -1
# The columns of the labels of a row, without and with scores.
CONTRAST_COLUMNS, SCORE_COLUMNS = 4, 3
# exp() of it is 0 in float32, and it is no infinity, whose product with 0 is NaN.
_EXCLUDED = -1e9


def contrast_labels(texts):
    """Returns the labels from which `contrastive_losses` knows what is like what.

    Args:
        texts: tuple of lists of str of one length: anchors, positives, and any number of lists of hard negatives.

    Returns:
        int32 array `[examples, lists, 4]`: the number of the example, the role (0 of an anchor, 1 of a positive, 2 and
        up of negatives), and the numbers of the text itself and of its anchor; texts that are alike have one number.
    """
    numbers = {}
    texts = [[numbers.setdefault(text, len(numbers)) for text in column] for column in texts]
    texts = np.array(texts, np.int32).T
    examples, count = texts.shape
    labels = np.empty((examples, count, CONTRAST_COLUMNS), np.int32)
    labels[..., 0] = np.arange(examples)[:, None]
    labels[..., 1] = np.arange(count)
    labels[..., 2], labels[..., 3] = texts, texts[:, :1]
    return labels


def score_labels(scores):
    """Returns the labels of pairs with scores, float32 `[examples, 2, 3]`: number of the pair, role, and score."""
    scores = np.asarray(scores, np.float32)
    labels = np.empty((len(scores), 2, SCORE_COLUMNS), np.float32)
    labels[..., 0] = np.arange(len(scores))[:, None]
    labels[..., 1] = (ANCHOR, POSITIVE)
    labels[..., 2] = scores[:, None]
    return labels


def embedding_losses(embeddings, labels, temperature=0.05, sizes=()):
    """The losses of the anchors of a batch: `contrastive_losses`, or `score_losses` where labels have scores.

    Args:
        embeddings: float tensor `[rows, width]`.
        labels: tensor `[rows, 4]` or `[rows, 3]`, the rows of what `contrast_labels` or `score_labels` return. Rows of
            padding have the role -1.
        temperature: float. By which cosines are divided. Defaults to `0.05`.
        sizes: tuple of int. The loss is the mean over the whole vectors and their first so many numbers (Kusupati et
            al. 2022). Defaults to none: of the whole vectors alone.

    Returns:
        float32 tensor `[rows]`, 0 at rows that are no anchors.
    """
    losses = score_losses if labels.shape[-1] == SCORE_COLUMNS else contrastive_losses
    parts = [losses(embeddings, labels, temperature)]
    parts += [losses(embeddings[:, :size], labels, temperature) for size in sizes if size < embeddings.shape[-1]]
    return sum(parts) / len(parts)


def contrastive_losses(embeddings, labels, temperature=0.05):
    """The cross-entropy of each anchor's own positive among the positives and the negatives of all in the batch.

    A text that is right, too, is none of the others: the anchor once more, or the same text as one of the positives
    that the anchor has in the batch. Arguments and result as of `embedding_losses`.

    Source: van den Oord et al. 2018 (InfoNCE); Henderson et al. 2017; Gao, Yao & Chen 2021 (SimCSE).
    """
    labels = ops.cast(labels, "int32")
    example, role, text, anchor = (labels[:, column] for column in range(CONTRAST_COLUMNS))
    is_positive = role[None, :] == POSITIVE
    is_own = (example[:, None] == example[None, :]) & is_positive
    positives = ops.cast((anchor[:, None] == anchor[None, :]) & is_positive, "float32")
    is_right = ops.matmul(positives, ops.cast(text[:, None] == text[None, :], "float32")) > 0
    is_right = is_right | (text[None, :] == anchor[:, None])
    is_candidate = (role[None, :] >= POSITIVE) & (is_own | ops.logical_not(is_right))
    scores = _cosines(embeddings) / temperature
    of_own = ops.sum(ops.where(is_own, scores, 0.0), axis=-1)
    losses = ops.logsumexp(ops.where(is_candidate, scores, _EXCLUDED), axis=-1) - of_own
    return ops.where(role == ANCHOR, losses, 0.0)


def score_losses(embeddings, labels, temperature=0.05):
    """log(1 + sum of exp((cosine of a - cosine of b) / temperature)), over all a, b of which b has the higher score.

    It is one number for a batch, the same at each first text of a pair: what counts is the order of the pairs, so that
    scores may have any units. Arguments and result as of `embedding_losses`.

    Source: Su 2022 (CoSENT), https://kexue.fm/archives/8847.
    """
    labels = ops.cast(labels, "float32")
    pair, role, score = (labels[:, column] for column in range(SCORE_COLUMNS))
    is_first = role == ANCHOR
    is_own = (pair[:, None] == pair[None, :]) & (role[None, :] == POSITIVE)
    cosines = ops.sum(ops.where(is_own, _cosines(embeddings), 0.0), axis=-1)
    differences = (cosines[:, None] - cosines[None, :]) / temperature
    is_wanted = (score[:, None] < score[None, :]) & is_first[:, None] & is_first[None, :]
    differences = ops.reshape(ops.where(is_wanted, differences, _EXCLUDED), (-1,))
    loss = ops.logsumexp(ops.concatenate([ops.zeros((1,), "float32"), differences]))
    return ops.where(is_first, loss, 0.0)


def _cosines(embeddings):
    """The cosines (float32) of all rows with each other."""
    embeddings = ops.normalize(ops.cast(embeddings, "float32"), axis=-1, order=2, epsilon=1e-12)
    return ops.matmul(embeddings, ops.transpose(embeddings))


@keras.saving.register_keras_serializable(package="budgetbert")
class EmbeddingLoss(keras.losses.Loss):
    """`embedding_losses`, as a loss of Keras: the mean over the anchors, by their weights.

    Args:
        temperature: float. Defaults to `0.05`.
        sizes: tuple of int. Defaults to none.
        **kwargs: as `keras.losses.Loss`.
    """

    def __init__(
        self, temperature=0.05, sizes=(), reduction="mean_with_sample_weight", name="embedding_loss", **kwargs
    ):
        super().__init__(name=name, reduction=reduction, **kwargs)
        self.temperature = temperature
        self.sizes = tuple(sizes)

    def call(self, y_true, y_pred):
        return embedding_losses(y_pred, y_true, self.temperature, self.sizes)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "sizes": list(self.sizes)}
