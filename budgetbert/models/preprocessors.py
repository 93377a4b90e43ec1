"""From strings to model inputs, in KerasHub's terms."""

import threading

import keras
import keras_hub
import numpy as np

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.tokenizer import BertBudgetTokenizer

# KerasHub's preprocessors say that they are built before they have their packer, and grain's threads call them at once.
_BUILDING = threading.RLock()


class _BuiltOnce:
    """Lets no thread call a preprocessor that another one is building."""

    def build(self, input_shape):
        with _BUILDING:
            if self.packer is None:
                super().build(input_shape)

    def call(self, x, y=None, sample_weight=None):
        self.build(None)
        return super().call(x, y, sample_weight)


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetMaskedLMPreprocessor(_BuiltOnce, keras_hub.models.MaskedLMPreprocessor):
    """Tokenizes, packs to `[CLS] text [SEP]` (`[CLS] a [SEP] b [SEP]` for a tuple) and masks at random.

    It masks each time it is called, in `predict` too: to fill masks use `BertBudgetMaskedLM.fill_mask`. A random
    replacement is any entry of the tokenizer's vocabulary, never an id that only the model's padded table has.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Tokens per row, special tokens included. Defaults to `128`.
        mask_selection_rate: float. Share of the tokens to predict. Defaults to `0.15`.
        mask_selection_length: int. Prediction slots per row. Defaults to `20`.
        **kwargs: as `keras_hub.models.MaskedLMPreprocessor`.

    Returns:
        `(x, y, sample_weight)`: `x` a dictionary of `token_ids`, `padding_mask` and `segment_ids`
        `[batch, sequence_length]` and `mask_positions` `[batch, mask_selection_length]`; `y` the ids that were there
        and `sample_weight` 0 at empty slots, both `[batch, mask_selection_length]`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old"])
    preprocessor = BertBudgetMaskedLMPreprocessor(tokenizer, sequence_length=8, mask_selection_length=1)
    x, y, sample_weight = preprocessor(["Paris is old"])
    ```
    """

    backbone_cls = BertBudget
    tokenizer_cls = BertBudgetTokenizer

    def __init__(self, tokenizer, sequence_length=128, mask_selection_rate=0.15, mask_selection_length=20, **kwargs):
        super().__init__(
            tokenizer,
            sequence_length=sequence_length,
            mask_selection_rate=mask_selection_rate,
            mask_selection_length=mask_selection_length,
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTextClassifierPreprocessor(_BuiltOnce, keras_hub.models.TextClassifierPreprocessor):
    """Tokenizes and packs to `[CLS] text [SEP]`, or `[CLS] a [SEP] b [SEP]` for a tuple of two texts.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Tokens per row, special tokens included; longer texts are cut. Defaults to `128`.
        apart: bool. Each of two texts becomes a row of its own, `[CLS] a [SEP]` and `[CLS] b [SEP]`. Defaults to
            `False`.
        **kwargs: as `keras_hub.models.TextClassifierPreprocessor`.

    Returns:
        `x`, `(x, y)` or `(x, y, sample_weight)`: `x` a dictionary of `token_ids`, `padding_mask` and `segment_ids`
        `[batch, sequence_length]`, or, apart, `[batch, 2, sequence_length]`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old"])
    preprocessor = BertBudgetTextClassifierPreprocessor(tokenizer, sequence_length=8)
    x = preprocessor((["Paris is old"], ["Is Paris old"]))
    ```
    """

    backbone_cls = BertBudget
    tokenizer_cls = BertBudgetTokenizer

    def __init__(self, tokenizer, sequence_length=128, apart=False, **kwargs):
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)
        self.apart = apart

    def call(self, x, y=None, sample_weight=None):
        if not self.apart:
            return super().call(x, y, sample_weight)
        if not isinstance(x, tuple) or len(x) != 2:
            raise ValueError("This preprocessor has apart=True and packs two texts: pass a tuple (first, second).")
        first, y, sample_weight = keras.utils.unpack_x_y_sample_weight(super().call((x[0],), y, sample_weight))
        second = super().call((x[1],))
        x = {name: _stack(first[name], second[name]) for name in first}
        return keras.utils.pack_x_y_sample_weight(x, y, sample_weight)

    def get_config(self):
        return {**super().get_config(), "apart": self.apart}


def _stack(first, second):
    """Stacks rows or batches of rows, which in a grain pipeline are arrays and in one of `tf.data` TensorFlow's."""
    if isinstance(first, np.ndarray):
        return np.stack([first, second], axis=-2)
    if keras.ops.is_tensor(first):
        return keras.ops.stack([first, second], axis=-2)
    import tensorflow as tf

    return tf.stack([first, second], axis=-2)


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTextEmbedderPreprocessor(_BuiltOnce, keras_hub.models.TextEmbedderPreprocessor):
    """Tokenizes and packs to `[CLS] text [SEP]`.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Tokens per row, special tokens included; longer texts are cut. Defaults to `128`.
        **kwargs: as `keras_hub.models.TextEmbedderPreprocessor`.

    Returns:
        `x`, `(x, y)` or `(x, y, sample_weight)`: `x` a dictionary of `token_ids`, `padding_mask` and `segment_ids`
        `[batch, sequence_length]`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "old"])
    preprocessor = BertBudgetTextEmbedderPreprocessor(tokenizer, sequence_length=8)
    x = preprocessor(["Paris is old"])
    ```
    """

    backbone_cls = BertBudget
    tokenizer_cls = BertBudgetTokenizer

    def __init__(self, tokenizer, sequence_length=128, **kwargs):
        super().__init__(tokenizer, sequence_length=sequence_length, **kwargs)

    def _format_output(self, token_ids, segment_ids):
        padding_mask = token_ids != self.tokenizer.pad_token_id
        return {**super()._format_output(token_ids, segment_ids), "padding_mask": padding_mask}
