"""One vector for a text, and of two texts the features of both."""

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


@keras.saving.register_keras_serializable(package="budgetbert")
class ApartTexts(keras.layers.Layer):
    """Texts that belong together as rows of their own, for a layer that reads one text a row.

    Call arguments:
        x: tensor `[batch, texts, length]`.

    Returns:
        Tensor `[batch * texts, length]`, of the dtype of `x`.

    Example:

    ```python
    ApartTexts()(np.ones((3, 2, 5), "int32"))  # [6, 5]
    ```
    """

    def build(self, shape):
        self.built = True

    def call(self, x):
        return ops.reshape(x, (-1, ops.shape(x)[2]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, x.shape[2]), dtype=x.dtype)


@keras.saving.register_keras_serializable(package="budgetbert")
class PairFeatures(keras.layers.Layer):
    """The features of two texts that were encoded apart: u, v, |u - v| and u * v.

    Call arguments:
        x: float tensor `[batch * 2, width]`, the vectors of the texts, those of a pair behind one another.

    Returns:
        Tensor `[batch, 4 * width]`.

    Example:

    ```python
    PairFeatures()(np.ones((6, 16), "float32"))  # [3, 64]
    ```

    Source: Conneau et al. 2017 (InferSent), section 3.1.
    """

    def build(self, shape):
        self.built = True

    def call(self, x):
        pairs = ops.reshape(x, (-1, 2, x.shape[-1]))
        u, v = pairs[:, 0], pairs[:, 1]
        return ops.concatenate([u, v, ops.abs(u - v), u * v], axis=-1)

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, 4 * x.shape[1]), dtype=self.compute_dtype)
