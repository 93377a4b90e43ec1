"""The encoder as a model of vectors: texts that mean the same are near each other."""

import keras
import keras_hub
import numpy as np
from keras import ops

from budgetbert.layers.pooling import MeanPooling
from budgetbert.models.automatic import AutomaticFinetuning
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.contrastive import EmbeddingLoss, contrast_labels, score_labels
from budgetbert.models.datasets import as_texts, is_dataset
from budgetbert.models.labelled_examples import batches_of, to_arrays
from budgetbert.models.preprocessors import BertBudgetTextEmbedderPreprocessor
from budgetbert.models.task import PresetTask, check_parts

POOLINGS = ("mean", "first")
# Each text has the others of its batch as what it is not, so that batches are larger than a classifier's.
BATCH_SIZE = 64


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTextEmbedder(AutomaticFinetuning, PresetTask, keras_hub.models.TextEmbedder):
    """`BertBudget`, and of its hidden states one vector for a text.

    The inputs are the encoder's; the output is a float32 vector `[batch, width]`. With a preprocessor, `fit`, `predict`
    and `encode_text` take strings. `fit` learns from

    - pairs, `fit((anchors, positives))`: the other positives of a batch are what each anchor is not near to;
    - triplets, `fit((anchors, positives, negatives))`: so are its hard negatives, of which there may be several lists;
    - pairs with scores, `fit((first, second), scores)`: pairs with a higher score are to have a higher cosine;
    - texts alone, `fit(texts)`: each is read twice with other dropout, and is to find itself (SimCSE).

    Args:
        backbone: `BertBudget`.
        preprocessor: `BertBudgetTextEmbedderPreprocessor`, or `None` (default) for inputs that are token ids.
        pooling: `"mean"` (default) over the tokens of a text, or `"first"`, the vector of [CLS].
        normalize: bool. Vectors have the length 1, so that their products are cosines. Defaults to `True`.
        sizes: list of int. The first so many numbers of a vector are trained to be useful alone (Kusupati et al. 2022,
            Matryoshka), for `encode_text(texts, size=...)`. Defaults to `None`: no part is.
        temperature: float. By which the default loss divides cosines. Defaults to `0.05`.
        **kwargs: `name`, `trainable` and `compile`, as of any KerasHub task. Anything else is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "old", "aged", "new", "fresh"])
    embedder = BertBudgetTextEmbedder.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        preprocessor=BertBudgetTextEmbedderPreprocessor(tokenizer, sequence_length=16),
    )
    embedder.fit((["old", "new"] * 8, ["aged", "fresh"] * 8), epochs=1, verbose=0)
    embedder.encode_text(["old", "aged"], verbose=0)  # [2, 128], each of the length 1
    ```

    Source: Reimers & Gurevych 2019 (Sentence-BERT).
    """

    backbone_cls = BertBudget
    preprocessor_cls = BertBudgetTextEmbedderPreprocessor
    head_name = "text_embedder"

    def __init__(
        self, backbone, preprocessor=None, pooling="mean", normalize=True, sizes=None, temperature=0.05, **kwargs
    ):
        check_parts(type(self), backbone, preprocessor)
        if pooling not in POOLINGS:
            raise ValueError(f"`pooling` must be one of {POOLINGS}. Received: {pooling!r}")
        if not temperature > 0:
            raise ValueError(f"`temperature` must be positive. Received: {temperature!r}")
        self.sizes = _checked_sizes(sizes, backbone.hidden_dim)
        self.temperature = temperature
        self.backbone = backbone
        self.preprocessor = preprocessor
        inputs = backbone.input
        hidden = backbone(inputs)
        if pooling == "mean":
            outputs = MeanPooling(dtype="float32", name="mean_pooling")(hidden, inputs["padding_mask"])
        else:
            outputs = ops.cast(hidden[:, 0, :], "float32")
        if normalize:
            outputs = keras.layers.UnitNormalization(dtype="float32", name="unit_length")(outputs)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.pooling = pooling
        self.normalize = bool(normalize)

    def compile(self, optimizer="auto", loss="auto", *, metrics=None, **kwargs):
        """As `keras.Model.compile`.

        By default the optimizer is `FinetuningAdam`, and the loss `EmbeddingLoss` with the embedder's temperature and
        sizes, which tells pairs from scores by the labels that `fit` makes.
        """
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if loss == "auto":
            loss = EmbeddingLoss(self.temperature, self.sizes)
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def encode_text(self, text, size=None, **kwargs):
        """Turns texts into vectors.

        Args:
            text: str, or list, array or Series of them.
            size: int. Of each vector the first so many numbers, of the length 1 again if the vectors are. Defaults to
                `None`: all.
            **kwargs: as `predict`.

        Returns:
            float32 array `[texts, width]`, of one str `[1, width]`.
        """
        vectors = self.predict([text] if isinstance(text, str) else text, **kwargs)
        return vectors if size is None else shortened(vectors, size, self.normalize)

    def evaluate(self, x=None, y=None, batch_size=None, sample_weight=None, **kwargs):
        """As `keras.Model.evaluate`, on texts and scores as `fit` takes them."""
        if not is_dataset(x) and not kwargs.get("_use_cached_eval_dataset"):
            x = batches_of(self._examples(x, y, sample_weight), batch_size or BATCH_SIZE, shuffle=False)
            y = batch_size = sample_weight = None
        return super().evaluate(x, y, batch_size, sample_weight, **kwargs)

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if self.preprocessor is None or isinstance(x, dict):
            return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)
        if y is None:
            return super().preprocess_samples(x)
        if not isinstance(y, np.ndarray):
            raise ValueError("A text embedder learns from lists of texts, not from a dataset of them: give lists.")
        # One text behind another: the rows of an example follow each other.
        texts = [text for row in zip(*x, strict=True) for text in row]
        labels, weights = (part.reshape(len(texts), *part.shape[2:]) for part in (y, sample_weight))
        return keras.utils.pack_x_y_sample_weight(self.preprocessor(texts), labels, weights)

    def _examples(self, x, y, sample_weight):
        if self.preprocessor is None or isinstance(x, dict):
            return super()._examples(x, y, sample_weight)
        if getattr(y, "ndim", 0) == 3:  # labels of a part that was split off
            return x, y, sample_weight
        columns = x if isinstance(x, tuple) else (x,)
        columns, *scores = to_arrays((as_texts(columns), *([] if y is None else [y])))
        if len(columns) == 1:
            self._check_dropout()
            columns = (*columns, *columns)
        if scores and (len(columns) != 2 or scores[0].ndim != 1 or scores[0].dtype.kind not in "biuf"):
            raise ValueError(
                "Scores are a number for each of two lists of texts, fit((first, second), scores). Without scores "
                "pairs are one tuple, fit((anchors, positives)), as validation_data ((anchors, positives),)."
            )
        labels = score_labels(scores[0]) if scores else contrast_labels(columns)
        weights = np.zeros(labels.shape[:2], np.float32)
        weights[:, 0] = 1.0 if sample_weight is None else np.asarray(sample_weight, np.float32)
        return columns, labels, weights

    def _check_dropout(self):
        if not self.backbone.dropout and not self.backbone.attention_dropout:
            raise ValueError(
                "Texts alone are learned from two readings with other dropout, and the encoder has none: make it with "
                "dropout=0.1, or give pairs."
            )

    def _check_texts(self, x):
        if isinstance(x, tuple):
            raise ValueError("This embedder reads one text at a time: give one list of texts, not a tuple of them.")

    def _defaults(self, examples, batch_size, epochs):
        return super()._defaults(examples, batch_size or BATCH_SIZE, epochs)

    def get_config(self):
        return {
            **super().get_config(),
            "pooling": self.pooling,
            "normalize": self.normalize,
            "sizes": list(self.sizes) or None,
            "temperature": self.temperature,
        }


def shortened(vectors, size, normalize=True):
    """Returns the first `size` (int) numbers of vectors `[texts, width]`, of the length 1 again if so wanted."""
    if not 0 < size <= vectors.shape[1]:
        raise ValueError(f"`size` must be 1 to {vectors.shape[1]}, the width of the vectors. Received: {size}")
    vectors = vectors[:, :size]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12) if normalize else vectors


def _checked_sizes(sizes, width):
    sizes = () if sizes is None else tuple(sizes)
    if not all(isinstance(size, int) and 0 < size < width for size in sizes) or len(set(sizes)) < len(sizes):
        raise ValueError(f"`sizes` must be ints under the encoder's width of {width}, each another. Received: {sizes}")
    return tuple(sorted(sizes, reverse=True))
