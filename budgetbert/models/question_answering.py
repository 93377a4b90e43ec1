"""The encoder with a head that marks the answer to a question in a text."""

import keras
import keras_hub
import numpy as np

from budgetbert.layers.dense import Dense, float32_unless_quantized
from budgetbert.models.answer_rows import BertBudgetQuestionAnsweringPreprocessor
from budgetbert.models.answer_spans import best_spans, checked_answers, checked_pairs, span_labels, target_columns
from budgetbert.models.automatic import AutomaticFinetuning
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.datasets import is_dataset
from budgetbert.models.span_loss import SpanCrossentropy, exact_span
from budgetbert.models.task import PresetTask, check_parts


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetQuestionAnswering(AutomaticFinetuning, PresetTask, keras_hub.models.Task):
    """`BertBudget`, and for each token a logit of being an answer's first and one of being its last.

    The inputs are the encoder's; the output is float32 logits `[batch, length, 2]`. With a preprocessor, `fit`,
    `evaluate` and `predict` take a tuple of questions and of the contexts that hold their answers. A context that is
    longer than a row is read in rows that overlap, and the best answer of all is taken. [CLS] stands for no answer.

    Args:
        backbone: `BertBudget`.
        preprocessor: `BertBudgetQuestionAnsweringPreprocessor`, or `None` (default) for inputs that are token ids.
        no_answer_threshold: float, or `None` (default): every question has an answer. Else there is none where the sum
            of [CLS]'s logits, in the row in which it is least, exceeds that of the best answer by more. It may be set
            at any time, as `model.no_answer_threshold = 0.5`, and is saved with the model.
        max_answer_length: int. The most pieces of an answer. Defaults to `30`, as for BERT.
        **kwargs: `name`, `trainable` and `compile`, as of any KerasHub task. Anything else is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old", "which"])
    model = BertBudgetQuestionAnswering.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        preprocessor=BertBudgetQuestionAnsweringPreprocessor(tokenizer, sequence_length=16),
    )
    x = ["Which is old?"] * 8, ["Paris is old."] * 8
    model.fit(x, [{"text": "Paris", "start": 0}] * 8, epochs=1, verbose=0)
    model.predict(("Which is old?", "Paris is old."), verbose=0)
    # [{"text": "Paris", "start": 0, "end": 5, "score": 0.9}]
    ```
    """

    backbone_cls = BertBudget
    preprocessor_cls = BertBudgetQuestionAnsweringPreprocessor
    head_name = "question_answering"
    # What is chosen after the training of the weights, and goes into files with them.
    learned_settings = ("no_answer_threshold",)

    def __init__(self, backbone, preprocessor=None, no_answer_threshold=None, max_answer_length=30, **kwargs):
        check_parts(type(self), backbone, preprocessor)
        if type(max_answer_length) is not int or max_answer_length < 1:
            raise ValueError(f"`max_answer_length` must be an int of 1 or more. Received: {max_answer_length!r}")
        self.backbone = backbone
        self.preprocessor = preprocessor
        policy = float32_unless_quantized(backbone.dtype_policy, "span_logits")
        self.logits = Dense(2, backbone.initializer_range, dtype=policy, name="span_logits")
        inputs = backbone.input
        super().__init__(inputs=inputs, outputs=self.logits(backbone(inputs)), **kwargs)
        self.no_answer_threshold = no_answer_threshold
        self.max_answer_length = max_answer_length

    def compile(self, optimizer="auto", loss="auto", *, weighted_metrics="auto", **kwargs):
        """As `keras.Model.compile`.

        By default the optimizer is `FinetuningAdam`, the loss `SpanCrossentropy`, and the metric the share of rows with
        the right first and last token.
        """
        if optimizer == "auto":
            optimizer = self.default_optimizer()
        if loss == "auto":
            loss = SpanCrossentropy()
        if weighted_metrics == "auto":
            weighted_metrics = [keras.metrics.MeanMetricWrapper(exact_span, name="exact_span")]
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)

    def fit(self, x=None, y=None, *args, **kwargs):
        """As `keras.Model.fit`, on questions and contexts, which are shuffled every epoch.

        Where some have no answer and `no_answer_threshold` is `None`, it becomes 0. A better one is found on questions
        that the model has not learned from (docs/ANSWERS.md).

        Args:
            x: tuple of two lists of str, questions and contexts.
            y: list of answers, one for each: `(start, end)` in code points of the context; a dict with `start` and
                `text`, or `end`; a dict with lists of `answer_start` and `text`, as data sets of the hub have, of which
                the first is learned; or `None` where the context holds none.
            *args: as `PresetTask.fit`.
            **kwargs: the same.

        Returns:
            `keras.callbacks.History`.

        Raises:
            ValueError: if an answer is not at its place, before anything is trained.
        """
        history = super().fit(x, y, *args, **kwargs)
        if self.no_answer_threshold is None and self._is_text(x):
            _, contexts = checked_pairs(x)
            if None in checked_answers(contexts, y):
                self.no_answer_threshold = 0.0
        return history

    def encode(self, x, y, sample_weight=None):
        """Turns questions, contexts and answers into what a Keras model learns from.

        Args:
            x: tuple of two lists of str.
            y: list of answers, as `fit` takes them.
            sample_weight: array of float, one for each question. Defaults to `None`.

        Returns:
            Tuple: dict of int32 arrays `[rows, length]`; labels, int8 `[rows, length, 2]`, as `span_cross_entropy`
            takes them; weights, float32 `[rows]`. A row that does not hold the whole answer has none.

        Raises:
            ValueError: as `fit`.
        """
        questions, contexts = checked_pairs(x)
        spans = checked_answers(contexts, y)
        count = len(questions)
        weights = np.ones(count, np.float32) if sample_weight is None else np.asarray(sample_weight, np.float32)
        if weights.shape != (count,):
            raise ValueError(
                f"Weights have the shape {weights.shape}: give one for each of {len(questions)} questions."
            )
        rows = self._rows_of(questions, contexts)
        inputs = self.preprocessor.packed(rows)
        labels = span_labels(rows, target_columns(rows, spans), inputs["token_ids"].shape[1])
        return inputs, labels, weights[rows.examples]

    def predict(self, x=None, batch_size=None, **kwargs):
        """Answers questions.

        Args:
            x: tuple of two lists of str, or of two strings; or inputs of the model, of which it returns the logits.
            batch_size: int. Rows at a time. Defaults to `32`.
            **kwargs: as `keras.Model.predict`.

        Returns:
            A dict for each question: `text`, of the context as it was given; `start` and `end`, in its code points;
            and `score`, the probability of the first token times that of the last. Of no answer, which a model has
            whose `no_answer_threshold` is set, `text` is `""`, and `start` and `end` are -1.
        """
        if not self._is_text(x):
            return self._logits(x, batch_size, **kwargs)
        found = self.best_spans(x, batch_size, **kwargs)
        return self.answers(checked_pairs(x)[1], found)

    def best_spans(self, x, batch_size=None, **kwargs):
        """Returns the `budgetbert.models.answer_spans.BestSpans` of questions and contexts; arguments as `predict`."""
        rows = self._rows_of(*checked_pairs(x))
        logits = self._logits(self.preprocessor.packed(rows), batch_size, **kwargs)
        return best_spans(rows, np.asarray(logits, np.float32), self.max_answer_length)

    def answers(self, contexts, found):
        """Returns what `predict` returns, of `BestSpans` in contexts (list of str), by the present threshold."""
        threshold = np.inf if self.no_answer_threshold is None else self.no_answer_threshold
        none = (found.differences > threshold) | (found.starts < 0)
        spans = zip(contexts, none, found.starts, found.ends, found.scores, found.no_answer_scores, strict=True)
        return [
            {"text": "", "start": -1, "end": -1, "score": float(no_answer)}
            if is_none
            else {"text": context[start:end], "start": int(start), "end": int(end), "score": float(score)}
            for context, is_none, start, end, score, no_answer in spans
        ]

    def preprocess_samples(self, x, y=None, sample_weight=None):
        if self._is_text(x):
            raise ValueError(
                "A dataset for a question-answering model gives batches of its inputs: make them with "
                "encode((questions, contexts), answers), or give these as lists."
            )
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def _is_text(self, x):
        if isinstance(x, dict) and "token_ids" not in x:
            raise ValueError(
                "Questions and contexts are a tuple of two lists, (questions, contexts), and not a dict of "
                f"{', '.join(map(repr, x)):.100}."
            )
        return not (self.preprocessor is None or is_dataset(x) or isinstance(x, dict))

    def _logits(self, inputs, batch_size, **kwargs):
        if isinstance(inputs, dict):  # `PresetTask` would look for texts in it.
            return keras_hub.models.Task.predict(self, inputs, batch_size, **kwargs)
        return super().predict(inputs, batch_size, **kwargs)

    def _examples(self, x, y, sample_weight):
        if not self._is_text(x):
            return super()._examples(x, y, sample_weight)
        return self.encode(x, y, sample_weight)

    def _check_texts(self, x):
        """Texts are looked at in `encode`; inputs of the model are none."""

    def _rows_of(self, questions, contexts):
        length, positions = self.preprocessor.sequence_length, self.backbone.max_sequence_length
        if not 3 < length <= positions:
            raise ValueError(f"Rows have 4 to {positions} tokens, the model's positions. Received: {length}")
        return self.preprocessor.rows_of(questions, contexts)

    def get_config(self):
        return {
            **super().get_config(),
            "no_answer_threshold": self.no_answer_threshold,
            "max_answer_length": self.max_answer_length,
        }
