"""WordPiece behind the one normaliser of `budgetbert.tokenization.normalizer`."""

import keras
import keras_hub

from budgetbert.models.bert_budget import BertBudget
from budgetbert.tokenization.normalizer import Normalizer

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "start_token": "[CLS]",  # KerasHub's packers ask for these two names
    "end_token": "[SEP]",
}
# While the text is normalised, a private-use character stands for each special token, as case folding would make [mask]
# of [MASK]. Those of the text itself the `Normalizer` has dropped before.
_STAND_INS = {token: chr(0x10FFF0 + i) for i, token in enumerate(dict.fromkeys(SPECIAL_TOKENS.values()))}


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTokenizer(keras_hub.tokenizers.WordPieceTokenizer):
    """A WordPiece tokenizer that normalises its text first and recognises special tokens written in it.

    The text goes through the `Normalizer`, in Python or, inside a TensorFlow graph, as TensorFlow ops; WordPiece itself
    then neither lower-cases nor strips accents. `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` are found in the
    vocabulary by name and keep their ids; written in the text (exactly so, in capitals) they stand for themselves.

    Args:
        vocabulary: list of strings, or path of a text file with one token per line. `None` if it follows as an asset.
        lowercase: bool. Fold the case. Defaults to `True`.
        strip_accents: bool. Drop combining marks. Defaults to `True`.
        normalizer: str, the kind of the `Normalizer`: `"bert"` (default) or `"cramming"`.
        special_tokens_in_strings: bool. Whether "[MASK]" in a text is the special token. Defaults to `True`; `False`
            makes it three pieces of text, as in a prepared corpus.
        **kwargs: as `keras_hub.tokenizers.WordPieceTokenizer`.

    Call arguments:
        inputs: string, or list or tensor of strings.

    Returns:
        Int32 token ids, ragged over the strings unless `sequence_length` is set. A vocabulary without one of the
        special tokens is a `ValueError`.

    Example:

    ```python
    tokenizer = BertBudgetTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "paris", "is", "##land"])
    tokenizer("Paris [MASK] Island")  # 5, 4, 6, 7
    ```
    """

    backbone_cls = BertBudget

    def __init__(
        self,
        vocabulary=None,
        lowercase=True,
        strip_accents=True,
        normalizer="bert",
        special_tokens_in_strings=True,
        **kwargs,
    ):
        for name, token in SPECIAL_TOKENS.items():
            self._add_special_token(token, name)
        super().__init__(
            vocabulary,
            lowercase=False,
            strip_accents=False,
            special_tokens_in_strings=special_tokens_in_strings,
            **kwargs,
        )
        self.normalizer = Normalizer(lowercase=lowercase, strip_accents=strip_accents, kind=normalizer)
        self._stand_ins = _STAND_INS if special_tokens_in_strings else {}
        self.built = True  # else `quantize` refuses a model whose tokenizer has not been called

    def tokenize(self, inputs):
        normalize = self._normalize_in_graph if self._use_tf_workflow() else self._normalize
        return super().tokenize(normalize(inputs))

    def _normalize(self, strings):
        """Normalises a string, or a nested list or tensor of strings."""
        if hasattr(strings, "to_list"):  # a ragged tensor
            strings = strings.to_list()
        elif hasattr(strings, "numpy"):
            strings = strings.numpy()
        if hasattr(strings, "tolist"):
            strings = strings.tolist()
        if isinstance(strings, bytes):
            strings = strings.decode("utf-8", errors="ignore")
        if not isinstance(strings, str):
            return [self._normalize(string) for string in strings]
        strings = self.normalizer(strings, self._mark)
        for token, stand_in in self._stand_ins.items():
            strings = strings.replace(stand_in, token)
        return strings

    def _mark(self, text):
        for token, stand_in in self._stand_ins.items():
            text = text.replace(token, stand_in)
        return text

    def _normalize_in_graph(self, strings):
        import tensorflow as tf

        if not isinstance(strings, tf.RaggedTensor):
            strings = tf.convert_to_tensor(strings)
        strings = self.normalizer.in_graph(strings, self._mark_in_graph)
        for token, stand_in in self._stand_ins.items():
            strings = tf.strings.regex_replace(strings, stand_in, token)
        return strings

    def _mark_in_graph(self, strings):
        import tensorflow as tf

        for token, stand_in in self._stand_ins.items():
            strings = tf.strings.regex_replace(strings, rf"\[{token[1:-1]}\]", stand_in)
        return strings

    def get_config(self):
        return {
            **super().get_config(),
            "lowercase": self.normalizer.lowercase,
            "strip_accents": self.normalizer.strip_accents,
            "normalizer": self.normalizer.kind,
        }
