"""One vector for a text: the mean over its tokens."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="budgetbert")
class MeanPooling(keras.layers.Layer):
    """The mean of hidden states over the tokens of a text, [CLS] and [SEP] among them, padding left out.

    The sum is taken in float32, whatever the layers around it compute in.

    Call arguments:
        x: float tensor `[batch, length, width]`.
        padding_mask: tensor `[batch, length]`, 1 or True where there is a token, or `None` (default) for full rows. A
            row without any token has the mean 0.

    Returns:
        Tensor `[batch, width]`.

    Example:

    ```python
    pooling = MeanPooling()
    pooling(np.ones((2, 5, 16), "float32"), np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]))  # [2, 16], all 1.
    ```

    Source: Reimers & Gurevych 2019, section 3.
    """

    def build(self, *shapes):
        self.built = True

    def call(self, x, padding_mask=None):
        x = ops.cast(x, "float32")
        if padding_mask is None:
            return ops.cast(ops.mean(x, axis=1), self.compute_dtype)
        used = ops.cast(padding_mask, "float32")
        # A product with the mask as a matrix reads the states once, where a masked copy would be written and read.
        total = ops.matmul(used[:, None, :], x)[:, 0, :]
        return ops.cast(total / ops.maximum(ops.sum(used, axis=1, keepdims=True), 1.0), self.compute_dtype)

    def compute_output_spec(self, x, padding_mask=None):
        return keras.KerasTensor((x.shape[0], x.shape[2]), dtype=self.compute_dtype)
