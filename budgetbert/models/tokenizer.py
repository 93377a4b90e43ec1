"""WordPiece behind the one normaliser of `budgetbert.tokenization.normalizer`."""

import re
import sys

import keras
import keras_hub

from budgetbert.models.bert_budget import BertBudget
from budgetbert.tokenization import checkpoint, words
from budgetbert.tokenization.alignment import Aligner
from budgetbert.tokenization.characters import RESERVED
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import word_piece, written_tokens

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "start_token": "[CLS]",  # KerasHub's packers ask for these two names
    "end_token": "[SEP]",
}
_SURROGATE = re.compile("[\ud800-\udfff]")


@keras.saving.register_keras_serializable(package="budgetbert")
class BertBudgetTokenizer(keras_hub.tokenizers.WordPieceTokenizer):
    """A WordPiece tokenizer that normalises its text first and recognises special tokens written in it.

    The text goes through the `Normalizer`, in Python or, inside a TensorFlow graph, as TensorFlow ops; WordPiece itself
    then neither lower-cases nor strips accents. `[PAD]`, `[UNK]`, `[CLS]`, `[SEP]` and `[MASK]` are found in the
    vocabulary by name and keep their ids; written in the text (exactly so, in capitals) all but `[PAD]` stand for
    themselves. A stretch without spaces is cut (see `budgetbert.tokenization.words`) and never [UNK] for its length.
    Bytes that are not UTF-8, and halves of surrogate pairs, are spaces.

    With `normalizer="checkpoint"` the ids are those of `transformers`' tokenizer for BERT, which also makes [UNK] of a
    word of more than 100 characters, drops bytes that are not UTF-8, and reads a `[PAD]` in the text as such.

    Args:
        vocabulary: list of strings, or path of a text file with one token per line. `None` if it follows as an asset.
        lowercase: bool. Fold the case. Defaults to `True`.
        strip_accents: bool. Drop combining marks. Defaults to `True`.
        normalizer: str, the kind of the `Normalizer`: `"bert"` (default), `"cramming"` or `"checkpoint"`.
        clean_text: bool. Of `"checkpoint"` alone: drop control characters. Defaults to `True`.
        handle_chinese_chars: bool. Of `"checkpoint"` alone: Chinese characters are words. Defaults to `True`.
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
        clean_text=True,
        handle_chinese_chars=True,
        **kwargs,
    ):
        # `set_vocabulary`, which the base class calls, asks for it.
        self.normalizer = Normalizer(lowercase, strip_accents, normalizer, clean_text, handle_chinese_chars)
        if normalizer == "checkpoint":
            # KerasHub splits by other tables, so it is given words.
            kwargs["split"] = False
        for name, token in SPECIAL_TOKENS.items():
            self._add_special_token(token, name)
        super().__init__(
            vocabulary,
            lowercase=False,
            strip_accents=False,
            special_tokens_in_strings=special_tokens_in_strings,
            **kwargs,
        )
        # While the text is normalised, a private-use character stands for each special token, as case folding would
        # make [mask] of [MASK]. Those of the text itself the `Normalizer` has dropped before.
        written = written_tokens(normalizer) if special_tokens_in_strings else []
        self._stand_ins = {token: chr(ord(RESERVED[0]) + index) for index, token in enumerate(written)}
        self._written = re.compile("({})".format("|".join(map(re.escape, written)))) if written else None
        self._aligner = Aligner(written, normalizer)
        self.built = True  # else `quantize` refuses a model whose tokenizer has not been called

    @classmethod
    def from_normalizer(cls, vocabulary, normalizer):
        """Makes the tokenizer of a vocabulary (list of str) and a `Normalizer`."""
        return cls(vocabulary, **_arguments(normalizer))

    def set_vocabulary(self, vocabulary):
        super().set_vocabulary(vocabulary)
        options = {"unk_token": self.oov_token, "continuing_subword_prefix": self.suffix_indicator}
        longest = self.normalizer.longest_word
        self._word_piece = word_piece(self.vocabulary, longest, **options) if self.vocabulary else None

    def _set_vocabulary_tf(self):
        import tensorflow_text as tf_text

        # As in KerasHub, but for the limit: it takes a word of more than 100 bytes for [UNK].
        self._fast_word_piece = tf_text.FastWordpieceTokenizer(
            vocab=self.vocabulary,
            token_out_type=self.compute_dtype,
            suffix_indicator=self.suffix_indicator,
            max_bytes_per_word=words.LONGEST_PIECE,
            unknown_token=self.oov_token,
            no_pretokenization=True,
            support_detokenization=True,
        )

    def _tokenize_word_python(self, word):
        return [token.value for token in self._word_piece.tokenize(word)]

    def _use_tf_workflow(self):
        # KerasHub's own choice may change with a release: text is read in Python everywhere but in a graph.
        tensorflow = sys.modules.get("tensorflow")
        return tensorflow is not None and not tensorflow.executing_eagerly()

    def tokenize(self, inputs):
        if not self._use_tf_workflow():
            return super().tokenize(self._normalize(inputs))
        strings = self._normalize_in_graph(inputs)
        if self.normalizer.kind != "checkpoint":
            return super().tokenize(strings)
        # A single string would be taken for a batch of its words.
        batch = self._words_in_graph(strings if strings.shape.rank else strings[None])
        return super().tokenize(batch) if strings.shape.rank else super().tokenize(batch)[0]

    def tokenize_with_offsets(self, inputs):
        """Tokenizes and says where in the text each piece was, in code points of the text as it was given.

        Args:
            inputs: str; or in a TensorFlow graph a string tensor `[batch]`.

        Returns:
            `budgetbert.tokenization.alignment.Pieces`, whose ids are those of `tokenize`.
        """
        if self._use_tf_workflow():
            return self._aligner.in_graph(inputs, self._split_in_graph, self._pieces_in_graph)
        return self._aligner(inputs, self._split, self._pieces)

    def _split(self, text):
        """Returns the words of a text, normalised, as WordPiece takes them."""
        if self.normalizer.kind == "checkpoint":
            return [word for word in self._words(text) if word]
        return words.split(self._normalize(text), list(self._stand_ins))

    def _split_in_graph(self, strings):
        strings = self._normalize_in_graph(strings)
        if self.normalizer.kind == "checkpoint":
            import tensorflow as tf

            return tf.strings.split(strings)
        return words.split_in_graph(strings, list(self._stand_ins))

    def _pieces(self, word):
        return [(token.id, *token.offsets) for token in self._word_piece.tokenize(word)]

    def _pieces_in_graph(self, split):
        import tensorflow as tf

        if self._fast_word_piece is None:
            self._set_vocabulary_tf()
        ids, starts, ends = self._fast_word_piece.tokenize_with_offsets(self._known_in_graph(split))
        # Of an unknown word, which may have been too long, the piece is all of it.
        whole = tf.gather(tf.strings.length(split.flat_values), ids.values.value_rowids())
        unknown = tf.equal(ids.flat_values, tf.cast(self.token_to_id(self.oov_token), ids.dtype))
        return ids, starts, ends.with_flat_values(tf.where(unknown, whole, tf.cast(ends.flat_values, tf.int32)))

    def _normalize(self, strings):
        """Normalises a string, or a nested list or tensor of strings; of a checkpoint each becomes a list of words."""
        strings = _as_lists(strings)
        if not isinstance(strings, str):
            return [self._normalize(string) for string in strings]
        if self.normalizer.kind == "checkpoint":
            return self._words(strings)
        strings = words.separate(self.normalizer(strings, self._mark))
        if self._stand_ins:
            # What became the name of a special token is none.
            strings = strings.replace("[", "[ ")
        for token, stand_in in self._stand_ins.items():
            strings = strings.replace(stand_in, token)
        return strings

    def _words(self, text):
        """Returns the words of a text, special tokens among them, as the tokenizer of a checkpoint splits it."""
        parts = self._written.split(text) if self._written else [text]
        parts = [[part] if part in self._stand_ins else checkpoint.split(self.normalizer(part)) for part in parts]
        # KerasHub takes no words at all for no text at all.
        return [word for part in parts for word in part] or [""]

    def _mark(self, text):
        for token, stand_in in self._stand_ins.items():
            text = text.replace(token, stand_in)
        return text

    def _normalize_in_graph(self, strings):
        import tensorflow as tf

        if not isinstance(strings, (tf.Tensor, tf.RaggedTensor)):
            stand_in = "" if self.normalizer.kind == "checkpoint" else " "
            strings = tf.convert_to_tensor(_without_surrogates(strings, stand_in), tf.string)
        strings = self.normalizer.separated_in_graph(strings, self._mark_in_graph)
        if self._stand_ins and self.normalizer.kind != "checkpoint":
            strings = tf.strings.regex_replace(strings, r"\[", "[ ")
        for token, stand_in in self._stand_ins.items():
            strings = tf.strings.regex_replace(strings, stand_in, token)
        return strings

    def _words_in_graph(self, strings):
        """Returns the words of a batch of separated strings, ragged; those that are too long become [UNK]."""
        import tensorflow as tf

        return self._known_in_graph(tf.strings.split(strings))

    def _known_in_graph(self, split):
        import tensorflow as tf

        too_long = tf.strings.length(split.flat_values, unit="UTF8_CHAR") > self.normalizer.longest_word
        return split.with_flat_values(tf.where(too_long, self.oov_token, split.flat_values))

    def _mark_in_graph(self, strings):
        import tensorflow as tf

        for token, stand_in in self._stand_ins.items():
            strings = tf.strings.regex_replace(strings, rf"\[{token[1:-1]}\]", stand_in)
        return strings

    def get_config(self):
        return super().get_config() | _arguments(self.normalizer)


def _arguments(normalizer):
    """Returns the arguments (dict) of `BertBudgetTokenizer` for a `Normalizer`."""
    return {"normalizer" if name == "kind" else name: value for name, value in normalizer.config().items()}


def _as_lists(strings):
    """Returns a str, or what holds strings or bytes as (nested) lists and tuples, with bytes decoded."""
    if hasattr(strings, "to_list"):  # a ragged tensor
        strings = strings.to_list()
    elif hasattr(strings, "numpy"):
        strings = strings.numpy()
    if hasattr(strings, "tolist"):
        strings = strings.tolist()
    return strings.decode("utf-8", errors="replace") if isinstance(strings, bytes) else strings


def _without_surrogates(strings, stand_in):
    """Returns the same with `stand_in` (str) for halves of surrogate pairs, which no tensor can hold."""
    strings = _as_lists(strings)
    if isinstance(strings, str):
        return _SURROGATE.sub(stand_in, strings)
    return [_without_surrogates(string, stand_in) for string in strings]
