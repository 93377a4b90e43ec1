"""From the first token's hidden state to whether the second segment followed the first."""

import keras

from budgetbert.layers.dense import Dense


@keras.saving.register_keras_serializable(package="budgetbert")
class NextSentenceHead(keras.layers.Layer):
    """BERT's pooler (Dense and tanh over the first token) and two logits.

    Args:
        initializer_range: float. Defaults to `0.02`.

    Call arguments:
        x: float tensor `[batch, length, width]`.

    Returns:
        Float32 tensor `[batch, 2]`: class 0 is the segment that followed, class 1 another document's, as in the
        labels of `pairs` rows.
    """

    def __init__(self, initializer_range=0.02, **kwargs):
        super().__init__(**kwargs)
        self.initializer_range = initializer_range
        self.logits = Dense(2, initializer_range, dtype="float32", name="logits")

    def build(self, x_shape):
        shape = (x_shape[0], x_shape[-1])
        self.pooler = Dense(
            x_shape[-1], self.initializer_range, activation="tanh", dtype=self.dtype_policy, name="pooler"
        )
        self.pooler.build(shape)
        self.logits.build(shape)
        self.built = True

    def call(self, x):
        return self.logits(self.pooler(x[:, 0, :]))

    def compute_output_spec(self, x):
        return keras.KerasTensor((x.shape[0], 2), dtype="float32")

    def get_config(self):
        return {**super().get_config(), "initializer_range": self.initializer_range}
