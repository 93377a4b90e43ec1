"""The encoder with a classification or regression head."""

import operator

import keras
import keras_hub

from budgetbert.layers.dense import Dense, float32_unless_quantized
from budgetbert.layers.dropout import Dropout
from budgetbert.layers.pooling import ApartTexts, MeanPooling, PairFeatures
from budgetbert.models.automatic import AutomaticFinetuning
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.labelled_examples import classes_of
from budgetbert.models.preprocessors import BertBudgetTextClassifierPreprocessor
from budgetbert.models.task import PresetTask, check_parts


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTextClassifier(AutomaticFinetuning, PresetTask, keras_hub.models.TextClassifier):
    """`BertBudget`, its first token through a tanh pooler, dropout, and one logit per class.

    The inputs are the encoder's; the output is float32 logits `[batch, num_classes]`, or `activation` of them. With a
    preprocessor, `fit` and `predict` take strings: one list of texts, or a tuple of two such lists (`pair=True`).

    Two texts stand in one row, `[CLS] a [SEP] b [SEP]`, or are encoded apart (`apart=True`), each in a row of its own:
    the pooler then reads both vectors, u and v, with |u - v| and u * v. Small encoders need that: in one row they
    hardly learn to compare. The inputs are then `[batch, 2, length]`, none of them `None`.

    Args:
        backbone: `BertBudget`.
        num_classes: int. `1` is regression: the default loss is then the mean squared error.
        preprocessor: `BertBudgetTextClassifierPreprocessor`, or `None` (default) for inputs that are token ids.
        pooler_dim: int, width of the pooler, or `None` (default) for the encoder's. Crammed-BERT has 1,024.
        dropout: float. Dropout before the logits. Defaults to `0.1`.
        label_names: list of `num_classes` strings, or `None` (default). Saved with the model.
        activation: name of a Keras activation or a function, of the logits: `"softmax"` makes the output probabilities.
            `None` (default) leaves the logits.
        pair: bool. The model reads two texts. Defaults to `False`. Saved with the model; strings of the other kind are
            a `ValueError`.
        apart: bool. Two texts are encoded apart, by the same encoder; the preprocessor's `apart` follows. Defaults to
            `False`; it needs `pair=True`.
        pooling: `"first"`, the vector of [CLS], or `"mean"` over the tokens of a text. Defaults to `None`: the mean of
            texts that are encoded apart, else the first.
        **kwargs: `name`, `trainable` and `compile`, as of any KerasHub task. Anything else is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"])
    classifier = BertBudgetTextClassifier.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        num_classes=2,
        label_names=["negative", "positive"],
        preprocessor=BertBudgetTextClassifierPreprocessor(tokenizer, sequence_length=16),
    )
    classifier.compile()
    classifier.fit(["good", "bad"] * 8, ["positive", "negative"] * 8, epochs=1, verbose=0)
    classifier.predict(["good"], verbose=0)  # [1, 2], the logits of the two classes
    ```
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
        activation=None,
        apart=False,
        pooling=None,
        **kwargs,
    ):
        check_parts(type(self), backbone, preprocessor)
        _check_apart(pair, apart, pooling)
        pooling = pooling or ("mean" if apart else "first")
        num_classes = _checked_classes(num_classes, label_names)
        policy, initializer_range = backbone.dtype_policy, backbone.initializer_range
        self.backbone = backbone
        self.preprocessor = preprocessor
        if preprocessor is not None:
            preprocessor.apart = apart
        self.pooler = Dense(
            pooler_dim or backbone.hidden_dim, initializer_range, activation="tanh", dtype=policy, name="pooler"
        )
        self.dropout_layer = Dropout(dropout, dtype=policy, name="classifier_dropout")
        logits_policy = float32_unless_quantized(policy, "logits")
        self.logits = Dense(num_classes, initializer_range, dtype=logits_policy, name="logits")
        self.num_classes = num_classes  # super().__init__() compiles, which asks for it and for the activation
        self.activation = keras.activations.get(activation)

        inputs = rows = backbone.input
        if apart:
            inputs = {name: keras.Input((2, None), dtype="int32", name=name) for name in rows}
            rows = {name: ApartTexts(dtype="int32", name=f"{name}_apart")(given) for name, given in inputs.items()}
        features = backbone(rows)
        if pooling == "mean":
            features = MeanPooling(dtype=policy, name="mean_pooling")(features, rows["padding_mask"])
        else:
            features = features[:, 0, :]
        if apart:
            features = PairFeatures(dtype=policy, name="pair_features")(features)
        outputs = self.logits(self.dropout_layer(self.pooler(features)))
        if self.activation is not keras.activations.linear:
            outputs = keras.layers.Activation(self.activation, dtype="float32", name="activation")(outputs)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        self.pooler_dim = pooler_dim
        self.dropout = dropout
        self.label_names = None if label_names is None else list(label_names)
        self.pair = pair
        self.apart = apart
        self.pooling = pooling

    def compile(self, optimizer="auto", loss="auto", *, metrics="auto", **kwargs):
        """As `keras_hub.models.TextClassifier.compile`, with defaults of its own.

        The default optimizer is `FinetuningAdam` with a rate that suits the width of the encoder
        (`budgetbert.finetuning_rule.learning_rate_of`), and leaves the rest to `fit`. Regression takes the mean squared
        error by default.
        """
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if self.num_classes == 1:
            loss = keras.losses.MeanSquaredError() if loss == "auto" else loss
            metrics = [keras.metrics.MeanAbsoluteError()] if metrics == "auto" else metrics
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def fit(
        self,
        x=None,
        y=None,
        batch_size=None,
        sample_weight=None,
        validation_data=None,
        validation_split=None,
        *,
        epochs=None,
        shuffle=True,
        **kwargs,
    ):
        """As `keras.Model.fit`, on texts; texts and labels are shuffled every epoch.

        Where `compile` was given no optimizer, what is not given here follows from the number of examples
        (`finetuning_rule.finetuning_settings`): epochs, batch size, and a warm-up and linear decay of the rate
        over this call, unless a callback sets the rate. A model with an optimizer of your own is trained with Keras'
        defaults: one epoch, batches of 32, that optimizer as it is.

        Args:
            x: list, array or pandas Series of strings, or a tuple of two with `pair=True`; or a dataset of batches of
                texts and labels (`tf.data`, grain, `PyDataset`), in its own order, for one epoch by default.
            y: list, array or Series: numbers of the classes, strings of `label_names`, or numbers for regression.
            batch_size: int.
            sample_weight: array of float, one for each example.
            validation_data: tuple of texts, labels and perhaps weights, or a dataset.
            validation_split: float. The share at the end of the examples to validate with, as in Keras before any
                shuffling: labels that stand in order need `validation_data`.
            epochs: int.
            shuffle: bool. Defaults to `True`.
            **kwargs: as `keras.Model.fit`; the keys of `class_weight` may be `label_names` too.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: if a label is none of the classes, before anything is trained.
        """
        if kwargs.get("class_weight"):
            kwargs["class_weight"] = self._by_number(kwargs["class_weight"])
        arguments = (x, y, batch_size, sample_weight, validation_data, validation_split)
        return super().fit(*arguments, epochs=epochs, shuffle=shuffle, **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        return super().preprocess_samples(x, None if y is None else self._classes(y), sample_weight)

    def _examples(self, x, y, sample_weight):
        examples = super()._examples(x, y, sample_weight)
        if y is None:
            raise ValueError("A classifier learns and is judged by labels: give y, one label for each text.")
        x, y, *weights = examples
        return (x, self._classes(y), *weights)

    def _check_texts(self, x):
        if isinstance(x, tuple) != self.pair:
            raise ValueError(
                "This classifier reads two texts: pass a tuple (first, second)."
                if self.pair
                else "This classifier reads one text, not a tuple: make it with pair=True for two."
            )

    def _classes(self, labels):
        """The numbers of the classes; what another loss than that of one class each wants is left as it is."""
        sparse = isinstance(self.loss, keras.losses.SparseCategoricalCrossentropy)
        ignored = getattr(self.loss, "ignore_class", None)
        sparse = sparse or self.loss == "sparse_categorical_crossentropy"
        return classes_of(labels, self.num_classes, self.label_names, sparse, ignored)

    def _by_number(self, class_weight):
        """The weights of classes, by number where they are by name."""
        names = {name: number for number, name in enumerate(self.label_names or ())}
        return {names.get(key, key): weight for key, weight in class_weight.items()}

    def without_activation(self):
        """Returns a `keras.Model` of the same layers whose output is the logits."""
        if self.activation is keras.activations.linear:
            return self
        return keras.Model(self.input, self.logits.output)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pooler_dim": self.pooler_dim,
            "dropout": self.dropout,
            "label_names": self.label_names,
            "pair": self.pair,
            "apart": self.apart,
            "pooling": self.pooling,
            "activation": keras.activations.serialize(self.activation),
        }


def _check_apart(pair, apart, pooling):
    """Raises a `ValueError` where texts cannot be encoded as asked for."""
    if apart and not pair:
        raise ValueError("`apart=True` encodes two texts apart, and this classifier reads one: give pair=True too.")
    if pooling not in (None, "first", "mean"):
        raise ValueError(f"`pooling` must be 'first' or 'mean'. Received: {pooling!r}")


def _checked_classes(num_classes, label_names):
    """The number of classes as an int.

    Raises:
        ValueError: if it is none, or `label_names` are not as many strings that differ.
    """
    try:
        count = operator.index(num_classes)
    except TypeError:
        count = 0
    if count < 1 or isinstance(num_classes, bool):
        raise ValueError(f"`num_classes` must be an int of 1 (regression) or more. Received: {num_classes!r}")
    if label_names is None:
        return count
    if isinstance(label_names, str) or len(label_names) != count:
        counted = "is one string" if isinstance(label_names, str) else f"are {len(label_names)} label_names"
        raise ValueError(
            f"There {counted} for num_classes={count}: give label_names as a list of {count} strings, or "
            "label_names=None."
        )
    if not all(isinstance(name, str) for name in label_names) or len(set(label_names)) < count:
        raise ValueError(f"`label_names` must be strings, each another. Received: {list(label_names)!r}")
    return count
