"""What a model that marks an answer's first and last token is judged by."""

import keras
from keras import ops

# Where no answer can be, its probability is 0 in float32.
_NEVER = -1e9


def span_cross_entropy(labels, logits):
    """The mean of the cross-entropies of first and last token, over the tokens that either can be.

    Args:
        labels: tensor `[rows, length, 2]`: 1 at the first and the last token, 0 where they could be, -1 elsewhere.
        logits: float32 tensor `[rows, length, 2]`.

    Returns:
        float32 tensor `[rows]`, in nats.

    Source: Devlin et al. 2019, section 4.2; there all tokens of a row could be one.
    """
    logits = ops.where(labels < 0, _NEVER, logits)
    chosen = ops.sum(ops.where(labels > 0, logits, 0.0), axis=1)
    return ops.mean(ops.logsumexp(logits, axis=1) - chosen, axis=-1)


@keras.saving.register_keras_serializable(package="budgetbert")
def exact_span(y_true, y_pred):
    """Returns 1 for each row whose first and last token are both most probable, else 0; arguments as the loss."""
    found = ops.argmax(ops.where(y_true < 0, _NEVER, y_pred), axis=1)
    return ops.cast(ops.all(ops.equal(found, ops.argmax(y_true, axis=1)), axis=-1), "float32")


@keras.saving.register_keras_serializable(package="budgetbert")
class SpanCrossentropy(keras.losses.Loss):
    """`span_cross_entropy` as a loss of Keras: the mean over the rows.

    Args:
        name: str. Defaults to `"span_crossentropy"`.
        **kwargs: as `keras.losses.Loss`.

    Example:

    ```python
    labels = np.array([[[1, 0], [0, 1], [-1, -1]]])  # the first token and the second, of two that can be
    SpanCrossentropy()(labels, keras.ops.zeros((1, 3, 2)))  # log 2
    ```
    """

    def __init__(self, name="span_crossentropy", reduction="mean_with_sample_weight", **kwargs):
        super().__init__(name=name, reduction=reduction, **kwargs)

    def call(self, y_true, y_pred):
        return span_cross_entropy(y_true, y_pred)
