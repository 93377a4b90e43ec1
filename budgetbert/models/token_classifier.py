"""The encoder with a head that gives each word a tag: named entities, parts of speech."""

import itertools

import keras
import keras_hub
import numpy as np
from keras import ops

from budgetbert.layers.dense import Dense, float32_unless_quantized
from budgetbert.layers.dropout import Dropout
from budgetbert.models.automatic import AutomaticFinetuning
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.datasets import is_dataset
from budgetbert.models.tagging_labels import checked_names, checked_texts, labels_of
from budgetbert.models.tagging_rows import BertBudgetTokenClassifierPreprocessor
from budgetbert.models.task import PresetTask, check_parts
from budgetbert.tokenization.tags import TagScheme, entities_of


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTokenClassifier(AutomaticFinetuning, PresetTask, keras_hub.models.Task):
    """`BertBudget`, dropout, and one logit per tag for each token.

    The inputs are the encoder's; the output is float32 logits `[batch, length, tags]`. With a preprocessor, `fit`,
    `evaluate` and `predict` take texts: a list of strings, or a list of lists of words. A word is judged by its first
    piece, and only first pieces have a loss. The words of a string are its stretches between spaces, with punctuation
    apart.

    Args:
        backbone: `BertBudget`.
        label_names: list of strings, the tags: `O` and `B-PER`, `I-PER` ... (BIO, IOBES, BILOU), or tags without a
            prefix, as parts of speech.
        preprocessor: `BertBudgetTokenClassifierPreprocessor`, or `None` (default) for inputs that are token ids.
        dropout: float. Dropout before the logits. Defaults to `0.1`.
        **kwargs: `name`, `trainable` and `compile`, as of any KerasHub task. Anything else is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "in", "paris"])
    tagger = BertBudgetTokenClassifier.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        label_names=["O", "B-LOC", "I-LOC"],
        preprocessor=BertBudgetTokenClassifierPreprocessor(tokenizer, sequence_length=16),
    )
    tagger.fit([["in", "Paris"]] * 8, [["O", "B-LOC"]] * 8, epochs=1, verbose=0)
    tagger.predict(["In Paris"], verbose=0)  # [[{"start": 3, "end": 8, "label": "LOC", "text": "Paris", "score": 0.9}]]
    tagger.predict([["In", "Paris"]], verbose=0)  # [["O", "B-LOC"]]
    ```
    """

    backbone_cls = BertBudget
    preprocessor_cls = BertBudgetTokenClassifierPreprocessor
    head_name = "token_classifier"
    head_argument = "label_names"

    def __init__(self, backbone, label_names, preprocessor=None, dropout=0.1, **kwargs):
        check_parts(type(self), backbone, preprocessor)
        self.label_names = checked_names(label_names)
        self.backbone = backbone
        self.preprocessor = preprocessor
        policy = backbone.dtype_policy
        self.dropout_layer = Dropout(dropout, dtype=policy, name="token_classifier_dropout")
        self.logits = Dense(
            len(self.label_names),
            backbone.initializer_range,
            dtype=float32_unless_quantized(policy, "token_logits"),
            name="token_logits",
        )
        inputs = backbone.input
        super().__init__(inputs=inputs, outputs=self.logits(self.dropout_layer(backbone(inputs))), **kwargs)
        self.dropout = dropout

    @property
    def num_classes(self):
        """int, the number of tags."""
        return len(self.label_names)

    @property
    def scheme(self):
        """`budgetbert.tokenization.tags.TagScheme` of the tags."""
        return TagScheme(self.label_names)

    def compile(self, optimizer="auto", loss="auto", *, weighted_metrics="auto", **kwargs):
        """As `keras.Model.compile`.

        By default the optimizer is `FinetuningAdam`, the loss the mean cross-entropy of the first pieces of a batch,
        and the metric their accuracy.
        """
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)

    def encode(self, x, y, sample_weight=None):
        """Turns texts with their labels into what a Keras model learns from.

        Args:
            x: list of str, or of lists of str, the words.
            y: of words, lists of their tags, strings or numbers; of strings, lists of entities: tuples
                `(start, end, label)` in code points, or dicts with these keys, with labels as `"PER"`.
            sample_weight: array of float, one for each text. Defaults to `None`.

        Returns:
            Tuple: dict of int32 arrays, labels int32 `[rows, length]`, weights float32 `[rows, length]`: 0 but at first
            pieces.

        Raises:
            ValueError: if tags do not match the words, a label is not known, or an entity is at no word of its text.
        """
        x = checked_texts(x)
        rows = self.rows_of(x)
        tags = labels_of(x, y, rows, self.scheme)
        labels = np.zeros(rows.inputs["token_ids"].shape, np.int32)
        weights = np.zeros(labels.shape, np.float32)
        labels[rows.rows, rows.columns] = tags
        of_texts = np.ones(len(x), np.float32) if sample_weight is None else np.asarray(sample_weight, np.float32)
        if of_texts.shape != (len(x),):
            raise ValueError(f"Weights have the shape {of_texts.shape}: give one for each of the {len(x)} texts.")
        weights[rows.rows, rows.columns] = of_texts[rows.texts]
        return rows.inputs, labels, weights

    def predict(self, x=None, batch_size=None, **kwargs):
        """Tags texts.

        Args:
            x: list of str; list of lists of str, the words; or inputs of the model, of which it returns the logits.
            batch_size: int. Rows at a time. Defaults to `32`.
            **kwargs: as `keras.Model.predict`.

        Returns:
            For strings a list per text of entities: dicts with `start` and `end`, in code points of the text as it was
            given, `label`, `text` and `score`, the mean probability of the tags of its words. Tags that are no
            entities, as parts of speech, are each one. For words a list per text of their tags, a wrong prefix
            repaired as CoNLL's evaluation reads it; a word of which the tokenizer keeps nothing is `O`.
        """
        if self.preprocessor is None or is_dataset(x) or isinstance(x, dict):
            return self._logits(x, batch_size, **kwargs)
        x = checked_texts([x] if isinstance(x, str) else x)
        rows = self.rows_of(x)
        return self.read(x, rows, self._logits(rows.inputs, batch_size, **kwargs)[rows.rows, rows.columns])

    def read(self, x, rows, logits):
        """Returns what `predict` returns, of texts, their `TaggingRows` and the logits `[words, tags]` of their words.

        Logits are those of first pieces, in the order of `rows.words`.
        """
        scores = ops.convert_to_numpy(ops.softmax(logits, axis=-1)) if len(logits) else logits
        best = scores.argmax(-1) if len(logits) else np.zeros(0, int)
        bounds = np.searchsorted(rows.texts, np.arange(len(x) + 1))
        read = self._entities if isinstance(x[0], str) else self._tags
        return [
            read(text, count, rows, slice(first, last), best[first:last], scores[first:last].max(-1, initial=0))
            for text, count, (first, last) in zip(x, rows.counts, itertools.pairwise(bounds), strict=True)
        ]

    def _logits(self, inputs, batch_size, **kwargs):
        if isinstance(inputs, dict):  # `PresetTask` would look for texts in it.
            return keras_hub.models.Task.predict(self, inputs, batch_size, **kwargs)
        return super().predict(inputs, batch_size, **kwargs)

    def _entities(self, text, count, rows, mine, best, scores):
        starts, ends = rows.starts[mine], rows.ends[mine]
        return [
            {
                "start": int(starts[first]),
                "end": int(ends[behind - 1]),
                "label": kind,
                "text": text[starts[first] : ends[behind - 1]],
                "score": float(scores[first:behind].mean()),
            }
            for first, behind, kind in entities_of([self.label_names[tag] for tag in best])
        ]

    def _tags(self, text, count, rows, mine, best, scores):
        tags = [self.label_names[self.scheme.outside]] * count
        for word, tag in zip(rows.words[mine], best, strict=True):
            tags[word] = self.label_names[tag]
        return self.scheme.repaired(tags)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if self.preprocessor is not None and not isinstance(x, dict):
            raise ValueError(
                "A dataset for a token classifier gives batches of its inputs: make them with "
                "encode(texts, labels), or give texts and labels as lists."
            )
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _examples(self, x, y, sample_weight):
        if self.preprocessor is None or isinstance(x, dict):
            return super()._examples(x, y, sample_weight)
        return self.encode(x, y, sample_weight)

    def _check_texts(self, x):
        """Texts are looked at in `encode`; inputs of the model are none."""

    def rows_of(self, x):
        """Returns the `TaggingRows` of texts, a list of str or of lists of str."""
        length, positions = self.preprocessor.sequence_length, self.backbone.max_sequence_length
        if not 2 < length <= positions:
            raise ValueError(f"Rows have 3 to {positions} tokens, the model's positions. Received: {length}")
        return self.preprocessor.rows_of(x)

    def get_config(self):
        return {**super().get_config(), "label_names": list(self.label_names), "dropout": self.dropout}
