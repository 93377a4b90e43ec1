"""The encoder with its masked-LM head."""

import keras
import keras_hub
import numpy as np
from keras import ops

from budgetbert.layers.heads import MaskedLMHead, NextSentenceHead
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.task import PresetTask, check_parts

_DEFAULT_LOSS = keras.losses.SparseCategoricalCrossentropy


class _MeanPerMaskedToken(keras.metrics.Mean):
    """The mean of the losses of batches, each weighted by its masked tokens, where Keras has the number of its rows."""

    _of_this_batch = None

    def update_state(self, values, sample_weight=None):
        self._of_this_batch = values

    def weigh(self, tokens):
        if self._of_this_batch is not None:  # JAX traces the metrics once without a loss.
            super().update_state(self._of_this_batch, sample_weight=tokens)
        self._of_this_batch = None


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetMaskedLM(PresetTask, keras_hub.models.MaskedLM):
    """`BertBudget` with a head that predicts the tokens at given positions.

    The inputs are the encoder's and `mask_positions`, int `[batch, k]`; the output is float32 logits
    `[batch, k, vocabulary_size]`.

    Args:
        backbone: `BertBudget`.
        preprocessor: `BertBudgetMaskedLMPreprocessor`, or `None` (default) for inputs that are token ids.
        head_transform: bool. Dense, activation and norm before the tied decoder. Defaults to `True`.
        output_bias: bool. A bias per vocabulary entry. Defaults to `True`.
        next_sentence: bool. BERT's second head beside it: the output is then a dictionary of these logits,
            `masked_lm`, and of float32 logits `[batch, 2]`, `next_sentence` (1: the second segment is a random one).
            `fit` on strings knows no such labels: take the `backbone` into a model without it. Defaults to `False`,
            since later work (Liu et al. 2019, section 4.2) found that the task does not help.
        **kwargs: `name`, `trainable` and `compile`, as of any KerasHub task. Anything else is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old"])
    model = BertBudgetMaskedLM.from_preset(
        "tiny_frontier",
        load_weights=False,
        vocabulary_size=64,
        preprocessor=BertBudgetMaskedLMPreprocessor(tokenizer, sequence_length=16),
    )
    model.fill_mask("Paris is [MASK]", k=2)  # One list per mask, of two pairs (token, probability).
    ```
    """

    backbone_cls = BertBudget
    preprocessor_cls = BertBudgetMaskedLMPreprocessor
    head_name = "masked_lm"

    def __init__(
        self, backbone, preprocessor=None, head_transform=True, output_bias=True, next_sentence=False, **kwargs
    ):
        check_parts(type(self), backbone, preprocessor)
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.head = MaskedLMHead(
            backbone.token_embedding,
            transform=head_transform,
            output_bias=output_bias,
            use_bias=backbone.use_bias,
            activation=backbone.activation,
            norm=backbone.norm,
            norm_epsilon=backbone.norm_epsilon,
            initializer_range=backbone.initializer_range,
            dtype=backbone.dtype_policy,
            name="masked_lm_head",
        )

        mask_positions = keras.Input((None,), dtype="int32", name="mask_positions")
        hidden = backbone(backbone.input)
        outputs = self.head(hidden, mask_positions)
        if next_sentence:
            self.next_sentence_head = NextSentenceHead(
                backbone.initializer_range, dtype=backbone.dtype_policy, name="next_sentence_head"
            )
            outputs = {"masked_lm": outputs, "next_sentence": self.next_sentence_head(hidden)}
        super().__init__(
            inputs={**backbone.input, "mask_positions": mask_positions},
            outputs=outputs,
            **kwargs,
        )

        self.head_transform = head_transform
        self.output_bias = output_bias
        self.next_sentence = next_sentence

    def compile(self, optimizer="auto", loss="auto", *, weighted_metrics="auto", **kwargs):
        """As `keras_hub.models.MaskedLM.compile`; the default loss is in nats per masked token.

        The loss is averaged over the masked tokens of a batch, where KerasHub's divides by its slots, empty ones too. A
        logged loss is the mean over the masked tokens of all batches. A loss of your own is reduced as it says.
        """
        if loss == "auto":
            loss = _DEFAULT_LOSS(from_logits=True, reduction="mean_with_sample_weight")
        super().compile(optimizer=optimizer, loss=loss, weighted_metrics=weighted_metrics, **kwargs)
        if getattr(loss, "reduction", None) == "mean_with_sample_weight" and not isinstance(self.output, dict):
            # Keras would track what it sees assigned as one more metric.
            object.__setattr__(self, "_loss_tracker", _MeanPerMaskedToken(name="loss"))

    def compile_from_config(self, config):
        loss = config.get("loss")
        if "optimizer_built" in config and isinstance(loss, dict) and loss["class_name"] == _DEFAULT_LOSS.__name__:
            # Files of before have KerasHub's default loss, which divides by the slots.
            loss = {**loss, "config": {**loss["config"], "reduction": "mean_with_sample_weight"}}
            config = {**config, "loss": loss}
        super().compile_from_config(config)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        if isinstance(self._loss_tracker, _MeanPerMaskedToken):
            self._loss_tracker.weigh(ops.size(y) if sample_weight is None else ops.sum(sample_weight))
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fill_mask(self, strings, k=5):
        """The most probable tokens for each [MASK] in `strings`.

        Args:
            strings: list of strings, each with at least one [MASK], or one string. A text without one, or that with
                [CLS] and [SEP] is longer than the preprocessor's `sequence_length`, is a `ValueError`.
            k: int. Tokens per mask. Defaults to `5`.

        Returns:
            A list per string of a list per mask, in their order, of k pairs (token, probability), the most probable
            first. Probabilities are over the tokenizer's vocabulary. For one string that is not in a list, its list per
            mask.
        """
        if isinstance(strings, str):
            return self.fill_mask([strings], k)[0]
        if not isinstance(k, (int, np.integer)) or k < 1:
            raise ValueError(f"`k` must be an int, 1 or more tokens per mask. Received: k={k}")
        if isinstance(strings, bytes) or not hasattr(strings, "__iter__"):
            raise ValueError(f"fill_mask() reads strings. Received: {strings!r}")
        if self.preprocessor is None:
            raise ValueError("fill_mask() needs a tokenizer: this model has preprocessor=None.")
        tokenizer, length = self.preprocessor.tokenizer, self.preprocessor.sequence_length
        rows, positions = [], []
        for string in strings:
            if not isinstance(string, str):
                raise ValueError(f"fill_mask() reads strings. Received: {string!r}")
            tokens = [int(token) for token in tokenizer(string)]
            row = np.array([tokenizer.cls_token_id, *tokens, tokenizer.sep_token_id])
            masked = np.flatnonzero(row == tokenizer.mask_token_id)
            if not masked.size:
                raise ValueError(f"There is no {tokenizer.mask_token} in {string!r}.")
            if row.size > length:
                raise ValueError(f"{string!r} has {row.size} tokens with [CLS] and [SEP]: the model reads {length}.")
            rows.append(row)
            positions.append(masked)
        return [
            filled
            for start in range(0, len(rows), 32)
            for filled in self.fill_ids(rows[start : start + 32], positions[start : start + 32], k)
        ]

    def fill_ids(self, rows, positions, k=5):
        """`fill_mask` for one batch of token ids.

        Args:
            rows: list of int arrays, at most the preprocessor's `sequence_length` long.
            positions: list of int arrays, where the masks are in each row.
            k: int. Tokens per mask. Defaults to `5`.

        Returns:
            As `fill_mask`.
        """
        tokenizer = self.preprocessor.tokenizer

        def dense(arrays, width, value):
            return np.stack([np.pad(a, (0, width - a.size), constant_values=value) for a in arrays]).astype("int32")

        token_ids = dense(rows, self.preprocessor.sequence_length, tokenizer.pad_token_id)
        inputs = {
            "token_ids": token_ids,
            "padding_mask": dense([np.ones_like(row) for row in rows], token_ids.shape[1], 0),
            "segment_ids": np.zeros_like(token_ids),
            "mask_positions": dense(positions, max(p.size for p in positions), 0),
        }
        outputs = self(inputs, training=False)
        # The model's table may be padded beyond the vocabulary: those rows stand for nothing.
        logits = (outputs["masked_lm"] if self.next_sentence else outputs)[:, :, : tokenizer.vocabulary_size()]
        probabilities = ops.convert_to_numpy(ops.softmax(logits, axis=-1))
        best = np.argsort(-probabilities, axis=-1, kind="stable")[:, :, :k]
        return [
            [[(tokenizer.id_to_token(int(i)), float(row[slot, i])) for i in order[slot]] for slot in range(masked.size)]
            for row, order, masked in zip(probabilities, best, positions, strict=True)
        ]

    def get_config(self):
        return {
            **super().get_config(),
            "head_transform": self.head_transform,
            "output_bias": self.output_bias,
            "next_sentence": self.next_sentence,
        }
