"""The encoder with a classification or regression head."""

import keras
import keras_hub

from budgetbert.layers.dense import Dense
from budgetbert.layers.dropout import Dropout
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.preprocessors import BertBudgetTextClassifierPreprocessor
from budgetbert.models.task import PresetTask, check_vocabulary


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTextClassifier(PresetTask, keras_hub.models.TextClassifier):
    """`BertBudget`, its first token through a tanh pooler, dropout, and one logit per class.

    The inputs are the encoder's; the output is float32 logits `[batch, num_classes]`. With a preprocessor, `fit` and
    `predict` take strings: one list of texts, or a tuple of two such lists (`pair=True`).

    Args:
        backbone: `BertBudget`.
        num_classes: int. `1` is regression: the default loss is then the mean squared error.
        preprocessor: `BertBudgetTextClassifierPreprocessor`, or `None` (default) for inputs that are token ids.
        pooler_dim: int, width of the pooler, or `None` (default) for the encoder's. Crammed-BERT has 1,024.
        dropout: float. Dropout before the logits. Defaults to `0.1`.
        label_names: list of `num_classes` strings, or `None` (default). Saved with the model.
        pair: bool. The model reads two texts. Defaults to `False`. Saved with the model; strings of the other kind are
            a `ValueError`.
        **kwargs: as `keras_hub.models.TextClassifier`.
    """

    backbone_cls = BertBudget
    preprocessor_cls = BertBudgetTextClassifierPreprocessor
    head_name = "text_classifier"

    def __init__(
        self,
        backbone,
        num_classes,
        preprocessor=None,
        pooler_dim=None,
        dropout=0.1,
        label_names=None,
        pair=False,
        **kwargs,
    ):
        if label_names is not None and len(label_names) != num_classes:
            raise ValueError(f"There are {len(label_names)} label_names for num_classes={num_classes}.")
        policy, initializer_range = backbone.dtype_policy, backbone.initializer_range
        self.backbone = backbone
        self.preprocessor = preprocessor
        check_vocabulary(backbone, preprocessor)
        self.pooler = Dense(
            pooler_dim or backbone.hidden_dim, initializer_range, activation="tanh", dtype=policy, name="pooler"
        )
        self.dropout_layer = Dropout(dropout, dtype=policy, name="classifier_dropout")
        self.logits = Dense(num_classes, initializer_range, dtype="float32", name="logits")
        self.num_classes = num_classes  # super().__init__() compiles, which asks for it

        inputs = backbone.input
        first_token = backbone(inputs)[:, 0, :]
        super().__init__(inputs=inputs, outputs=self.logits(self.dropout_layer(self.pooler(first_token))), **kwargs)

        self.pooler_dim = pooler_dim
        self.dropout = dropout
        self.label_names = None if label_names is None else list(label_names)
        self.pair = pair

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """As `keras_hub.models.TextClassifier.compile`; regression takes the mean squared error by default."""
        if self.num_classes == 1:
            loss = keras.losses.MeanSquaredError() if loss == "auto" else loss
            metrics = [keras.metrics.MeanAbsoluteError()] if metrics == "auto" else metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if self.preprocessor is not None and isinstance(x, tuple) != self.pair:
            raise ValueError(
                "This classifier reads two texts: pass a tuple (first, second)."
                if self.pair
                else "This classifier reads one text, not a tuple: make it with pair=True for two."
            )
        return super().preprocess_samples(x, y, sample_weight)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pooler_dim": self.pooler_dim,
            "dropout": self.dropout,
            "label_names": self.label_names,
            "pair": self.pair,
        }
