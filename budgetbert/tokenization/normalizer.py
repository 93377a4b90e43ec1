"""The one text normaliser, in Python and as TensorFlow ops.

Hugging Face `tokenizers`, KerasHub and TensorFlow Text each lower-case in their own way and disagree on 0.8 % of real
lines (ß, final sigma, ½, ², µ ...). So the corpus and the model's tokenizer put this normaliser in front of all
three, which themselves neither lower-case nor strip accents.
"""

import dataclasses
import re
import unicodedata

# Unicode's Default_Ignorable_Code_Point (soft hyphen, zero-width joiners, variation selectors ...): they are invisible
# in print and would split words or become [UNK].
_IGNORABLE = (
    "\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# Private-use code points, and the four that end planes 15 and 16: what a bullet or an icon of a PDF's own font is
# without that font. Hugging Face drops them, and KerasHub makes [UNK] of the whole word that has one.
_PRIVATE_USE = "\ue000-\uf8ff\U000f0000-\U0010ffff"


def _as_re2(ranges):
    return "[" + re.sub(r"[^-]", lambda match: f"\\x{{{ord(match[0]):x}}}", ranges) + "]"


_IGNORABLE_PYTHON, IGNORABLE_RE2 = re.compile(f"[{_IGNORABLE}]"), _as_re2(_IGNORABLE)
_PRIVATE_USE_PYTHON, PRIVATE_USE_RE2 = re.compile(f"[{_PRIVATE_USE}]"), _as_re2(_PRIVATE_USE)
# Control characters, and four more on which the tokenizers disagree whether they are spaces: the Ogham space, line and
# paragraph separator, and what stands for undecodable bytes.
_CONTROL_PYTHON = re.compile(r"[\x00-\x1f\x7f-\x9f\u1680\u2028\u2029\ufffd]")
CONTROL_RE2 = r"[\p{Cc}\x{1680}\x{2028}\x{2029}\x{fffd}]"


# What Cramming's normaliser makes a space: also the white space beyond ASCII, which the original deletes like any other
# such character, and so joins the words around it.
_SPACE_PYTHON = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufffd]")
SPACE_RE2 = r"[\p{Cc}\p{Z}\x{fffd}]"
# What it deletes, without five private-use characters with which `BertBudgetTokenizer` marks special tokens.
_NOT_ASCII_PYTHON = re.compile("[^\x00-\x7f\U0010fff0-\U0010fff4]+")
NOT_ASCII_RE2 = r"[^\x00-\x7f\x{10fff0}-\x{10fff4}]+"

_SPACES = re.compile(" {2,}")

KINDS = ("bert", "cramming")


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """Unicode normalisation, optionally with case folding and without accents. Private-use characters are dropped.

    `bert`: control characters become spaces, default-ignorable code points are dropped, and the text is brought to
    NFKC (`lowercase=False`) or to NFKC_Casefold (`lowercase=True`).

    `cramming`: control characters and all white space become spaces, two back-ticks or two apostrophes a double quote;
    then NFD (`strip_accents=True`) or NFKC, lower case, all that is not ASCII is deleted, and several spaces are one.
    With NFD é is left as e and ½ as nothing; with NFKC é is deleted and ½ becomes 12.

    Args:
        lowercase: bool. Fold the case, as Unicode defines it (ß becomes ss). Defaults to `True`.
        strip_accents: bool. Drop combining marks. Defaults to `True`.
        kind: `"bert"` (default) or `"cramming"`.

    Source: `cramming` is that of Geiping & Goldstein's code (`tokenizer_preparation.py`).

    Example:

    >>> Normalizer()("Straße  Café")
    'strasse  cafe'
    >>> Normalizer(kind="cramming")("Straße  Café ``½´´")
    'strae cafe "'
    """

    lowercase: bool = True
    strip_accents: bool = True
    kind: str = "bert"

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be 'bert' or 'cramming'. Received: kind={self.kind!r}")

    def __call__(self, text, mark=None):
        """Normalises a text.

        Args:
            text: str.
            mark: function of the text without its private-use characters, which may put some of its own in, and
                returns the text. The normalisation leaves them. Defaults to `None`.

        Returns:
            str.
        """
        if not text.isascii():
            text = _PRIVATE_USE_PYTHON.sub("", text)
        if mark:
            text = mark(text)
        return self._as_bert(text) if self.kind == "bert" else self._as_cramming(text)

    def in_graph(self, strings, mark=None):
        """The same as TensorFlow ops.

        Args:
            strings: UTF-8 string tensor of any shape.
            mark: as for `__call__`, a function of string tensors. Defaults to `None`.

        Returns:
            String tensor of the same shape.
        """
        import tensorflow as tf

        strings = tf.strings.regex_replace(strings, PRIVATE_USE_RE2, "")
        if mark:
            strings = mark(strings)
        return self._as_bert_in_graph(strings) if self.kind == "bert" else self._as_cramming_in_graph(strings)

    def _as_bert(self, text):
        text = unicodedata.normalize("NFKC", _CONTROL_PYTHON.sub(" ", text))
        if self.lowercase:
            text = text.casefold()
        # Nothing is left to do, and stripping accents is the slowest part.
        if text.isascii():
            return text
        text = _IGNORABLE_PYTHON.sub("", text)
        if self.lowercase:
            text = unicodedata.normalize("NFKC", text)
        if self.strip_accents:
            marked = unicodedata.normalize("NFD", text)
            text = unicodedata.normalize("NFC", "".join(c for c in marked if unicodedata.category(c) != "Mn"))
        return text

    def _as_bert_in_graph(self, strings):
        import tensorflow as tf
        import tensorflow_text as tf_text

        strings = tf.strings.regex_replace(strings, CONTROL_RE2, " ")
        # case_fold_utf8 is NFKC_Casefold, which drops the ignorable code points too.
        if self.lowercase:
            strings = tf_text.case_fold_utf8(strings)
        else:
            strings = tf.strings.regex_replace(tf_text.normalize_utf8(strings, "NFKC"), IGNORABLE_RE2, "")
        if self.strip_accents:
            marked = tf_text.normalize_utf8(strings, "NFD")
            strings = tf_text.normalize_utf8(tf.strings.regex_replace(marked, r"\p{Mn}", ""), "NFC")
        return strings

    def _as_cramming(self, text):
        text = _SPACE_PYTHON.sub(" ", text).replace("``", '"').replace("''", '"')
        text = unicodedata.normalize("NFD" if self.strip_accents else "NFKC", text)
        if self.lowercase:
            text = text.lower()
        return _SPACES.sub(" ", _NOT_ASCII_PYTHON.sub("", text))

    def _as_cramming_in_graph(self, strings):
        import tensorflow as tf
        import tensorflow_text as tf_text

        for pattern, replacement in ((SPACE_RE2, " "), ("``|''", '"')):
            strings = tf.strings.regex_replace(strings, pattern, replacement)
        strings = tf_text.normalize_utf8(strings, "NFD" if self.strip_accents else "NFKC")
        if self.lowercase:
            strings = tf.strings.lower(strings, encoding="utf-8")
        for pattern, replacement in ((NOT_ASCII_RE2, ""), (" {2,}", " ")):
            strings = tf.strings.regex_replace(strings, pattern, replacement)
        return strings
