"""The one text normaliser, in Python and as TensorFlow ops.

Hugging Face `tokenizers`, KerasHub and TensorFlow Text each lower-case in their own way and disagree on 0.8 % of real
lines (ß, final sigma, ½, ², µ ...). So the corpus and the model's tokenizer put this normaliser in front of all
three, which themselves neither lower-case nor strip accents. A model that continues a published BERT reads text as its
checkpoint did: for it the normaliser is Hugging Face's own (`budgetbert.tokenization.checkpoint`).
"""

import dataclasses
import functools
import re
import sys
import unicodedata

from tokenizers import Regex, normalizers

from budgetbert.tokenization import characters, checkpoint, words

_RESERVED_PYTHON, _RESERVED_RE2 = re.compile(f"[{characters.RESERVED}]"), characters.re2(characters.RESERVED)
_DROPPED_PYTHON, _DROPPED_RE2 = re.compile(f"[{characters.DROPPED}]"), characters.re2(characters.DROPPED)
# Python's strings may also hold halves of surrogate pairs, which no UTF-8 can.
_CONTROL_PYTHON, _CONTROL_RE2 = re.compile(f"[{characters.CONTROL}\ud800-\udfff]"), characters.re2(characters.CONTROL)
# What Cramming's normaliser makes a space: also the white space beyond ASCII, which the original deletes like any other
# such character, and so joins the words around it.
_SPACE_PYTHON, _SPACE_RE2 = re.compile(f"[{characters.SPACES}\ud800-\udfff]"), characters.re2(characters.SPACES)
# What it deletes.
_KEPT = "\x00-\x7f" + characters.RESERVED
_NOT_ASCII_PYTHON, _NOT_ASCII_RE2 = re.compile(f"[^{_KEPT}]+"), f"[^{characters.re2(_KEPT)[1:]}+"
_ACCENTS_PYTHON, _ACCENTS_RE2 = re.compile(f"[{characters.ACCENTS}]+"), characters.re2(characters.ACCENTS) + "+"
# The Stream-Safe Text Format's limit (Unicode Standard Annex 15): no language needs as many marks on a letter, and
# normalising takes a time that grows with the square of their number.
MOST_MARKS = 30


def _too_many(marks):
    return f"({marks}{{{MOST_MARKS}}}){marks}+"


_TOO_MANY_PYTHON = re.compile(_too_many(f"[{characters.MARKS}]"))
_TOO_MANY_RE2 = _too_many(characters.re2(characters.MARKS))
# `tokenizers` replaces by what does not depend on the match.
_TOO_MANY_LEFT = "{0}(?<={0}{{{1}}})".format(characters.re2(characters.MARKS), MOST_MARKS + 1)

_SPACES = re.compile(" {2,}")

KINDS = ("bert", "cramming", "checkpoint")
_OF_ALL_KINDS = ("lowercase", "strip_accents", "kind")


@dataclasses.dataclass(frozen=True)
class Normalizer:
    """Unicode normalisation, optionally with case folding and without accents, and where a word ends.

    `bert` and `cramming` drop private-use characters and cut what has no spaces (`budgetbert.tokenization.words`).

    `bert`: control characters become spaces, default-ignorable code points are dropped, and the text is brought to
    NFKC (`lowercase=False`) or to NFKC_Casefold (`lowercase=True`).

    `cramming`: control characters and all white space become spaces, two back-ticks or two apostrophes a double quote;
    then NFD (`strip_accents=True`) or NFKC, lower case, all that is not ASCII is deleted, and several spaces are one.
    With NFD é is left as e and ½ as nothing; with NFKC é is deleted and ½ becomes 12.

    `checkpoint`: what the tokenizers of published BERT checkpoints do. Control characters, private-use and invisible
    ones are dropped, white space becomes spaces and Chinese characters stand apart; with `strip_accents` the text is
    brought to NFD without accents; each letter is lower-cased by itself (ß stays). A word of more than 100 characters
    is unknown.

    Args:
        lowercase: bool. Fold the case, as Unicode defines it (ß becomes ss). Defaults to `True`.
        strip_accents: bool. Drop combining marks. Defaults to `True`.
        kind: `"bert"` (default), `"cramming"` or `"checkpoint"`.
        clean_text: bool. Of `checkpoint` alone: drop control characters. Defaults to `True`.
        handle_chinese_chars: bool. Of `checkpoint` alone: put spaces around Chinese characters. Defaults to `True`.

    Source: `cramming` is that of Geiping & Goldstein's code (`tokenizer_preparation.py`), `checkpoint` the
    `BertNormalizer` of Hugging Face `tokenizers`.

    Example:

    >>> Normalizer()("Straße  Café")
    'strasse  cafe'
    >>> Normalizer(kind="cramming")("Straße  Café ``½´´")
    'strae cafe "'
    >>> Normalizer(kind="checkpoint")("Straße  Café")
    'straße  cafe'
    """

    lowercase: bool = True
    strip_accents: bool = True
    kind: str = "bert"
    clean_text: bool = True
    handle_chinese_chars: bool = True

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(map(repr, KINDS))}. Received: kind={self.kind!r}")
        if self.kind != "checkpoint" and not (self.clean_text and self.handle_chinese_chars):
            raise ValueError(
                "`clean_text` and `handle_chinese_chars` can be False for kind='checkpoint' alone. Received: "
                f"kind={self.kind!r}"
            )

    def config(self):
        """Returns the arguments (dict) that make an equal normaliser, which manifests and models carry."""
        arguments = dataclasses.asdict(self)
        return arguments if self.kind == "checkpoint" else {name: arguments[name] for name in _OF_ALL_KINDS}

    @property
    def longest_word(self):
        """int. A word of more characters is [UNK]; more than any word has where long ones are cut."""
        return checkpoint.LONGEST_WORD if self.kind == "checkpoint" else words.LONGEST_PIECE

    @property
    def ascii_spaces(self):
        """bytes. The ASCII characters that separate words; BERT's own normaliser drops two as control characters."""
        return checkpoint.ASCII_SPACES if self.kind == "checkpoint" else words.ASCII_SPACES

    def _flags(self):
        """Returns what `budgetbert.tokenization.checkpoint` asks for (dict)."""
        return {
            "lowercase": self.lowercase,
            "strip_accents": self.strip_accents,
            "clean_text": self.clean_text,
            "handle_chinese_chars": self.handle_chinese_chars,
        }

    def separated(self, text):
        """Normalises a text and separates it, but for what Hugging Face's `BertPreTokenizer` then separates.

        Args:
            text: str.

        Returns:
            str.
        """
        return self(text) if self.kind == "checkpoint" else words.separate(self(text))

    def __call__(self, text, mark=None):
        """Normalises a text.

        Args:
            text: str.
            mark: function of a text, which may put characters of `characters.RESERVED` in, and returns the text. The
                normalisation leaves them, but for that of `checkpoint`. Defaults to `None`.

        Returns:
            str.
        """
        if self.kind == "checkpoint":
            return checkpoint.normalize(text, **self._flags())
        if not text.isascii():
            text = _RESERVED_PYTHON.sub("\ue000" if mark else "", text)
        if mark:
            text = mark(text)
        if not text.isascii():
            text = _DROPPED_PYTHON.sub("", text)
            if len(text) > MOST_MARKS:
                text = _TOO_MANY_PYTHON.sub(r"\1", text)
        return self._as_bert(text) if self.kind == "bert" else self._as_cramming(text)

    def in_graph(self, strings, mark=None):
        """The same as TensorFlow ops. Bytes that are not UTF-8 become spaces; `checkpoint` drops them.

        Args:
            strings: string tensor of any shape.
            mark: as for `__call__`, a function of string tensors, which every kind leaves. Defaults to `None`.

        Returns:
            String tensor of the same shape, of `checkpoint` with spaces around each word.
        """
        import tensorflow as tf

        strings = tf.ragged.map_flat_values(_valid_in_graph, strings)
        strings = tf.strings.regex_replace(strings, _RESERVED_RE2, "\ue000" if mark else "")
        if mark:
            strings = mark(strings)
        if self.kind == "checkpoint":
            return tf.ragged.map_flat_values(checkpoint.separate_in_graph, strings, **self._flags())
        strings = tf.strings.regex_replace(strings, _DROPPED_RE2, "")
        strings = tf.strings.regex_replace(strings, _TOO_MANY_RE2, r"\1")
        return self._as_bert_in_graph(strings) if self.kind == "bert" else self._as_cramming_in_graph(strings)

    def separated_in_graph(self, strings, mark=None):
        """Normalises and separates as TensorFlow ops; arguments and result as `in_graph`."""
        strings = self.in_graph(strings, mark)
        return strings if self.kind == "checkpoint" else words.separate_in_graph(strings)

    def steps(self):
        """Returns the same as a list of `tokenizers.normalizers.Normalizer`, without `mark`."""
        if self.kind == "checkpoint":
            return [checkpoint.berts_normalizer(**self._flags())]
        dropped = characters.re2(characters.DROPPED + characters.RESERVED)
        steps = [_replace(pattern, "") for pattern in (dropped, _TOO_MANY_LEFT)]
        return steps + (self._bert_steps() if self.kind == "bert" else self._cramming_steps())

    def _as_bert(self, text):
        if text.isascii() and text.isprintable():
            return text.lower() if self.lowercase else text
        text = unicodedata.normalize("NFKC", _CONTROL_PYTHON.sub(" ", text))
        if self.lowercase:
            text = text.casefold()
        # Nothing is left to do, and stripping accents is the slowest part.
        if text.isascii():
            return text
        if self.lowercase:
            text = unicodedata.normalize("NFKC", text)
        if self.strip_accents:
            text = unicodedata.normalize("NFC", _ACCENTS_PYTHON.sub("", unicodedata.normalize("NFD", text)))
        return text

    def _as_bert_in_graph(self, strings):
        import tensorflow as tf
        import tensorflow_text as tf_text

        strings = tf_text.normalize_utf8(tf.strings.regex_replace(strings, _CONTROL_RE2, " "), "NFKC")
        if self.lowercase:
            # It is NFKC_Casefold, but makes a letter of U+0345 where it stands, before marks are in their order.
            strings = tf_text.case_fold_utf8(strings)
        if self.strip_accents:
            marked = tf_text.normalize_utf8(strings, "NFD")
            strings = tf_text.normalize_utf8(tf.strings.regex_replace(marked, _ACCENTS_RE2, ""), "NFC")
        return strings

    def _bert_steps(self):
        steps = [_replace(_CONTROL_RE2, " "), normalizers.NFKC()]
        if self.lowercase:
            folded = [normalizers.Replace(character, character.casefold()) for character in _folded_beyond_lower_case()]
            steps += [normalizers.Lowercase(), *folded, normalizers.NFKC()]
        if self.strip_accents:
            steps += [normalizers.NFD(), _replace(_ACCENTS_RE2, ""), normalizers.NFC()]
        return steps

    def _as_cramming(self, text):
        text = _SPACE_PYTHON.sub(" ", text).replace("``", '"').replace("''", '"')
        text = unicodedata.normalize("NFD" if self.strip_accents else "NFKC", text)
        if self.lowercase:
            text = text.lower()
        return _SPACES.sub(" ", _NOT_ASCII_PYTHON.sub("", text))

    def _as_cramming_in_graph(self, strings):
        import tensorflow as tf
        import tensorflow_text as tf_text

        for pattern, replacement in ((_SPACE_RE2, " "), ("``|''", '"')):
            strings = tf.strings.regex_replace(strings, pattern, replacement)
        strings = tf_text.normalize_utf8(strings, "NFD" if self.strip_accents else "NFKC")
        if self.lowercase:
            strings = tf.strings.lower(strings, encoding="utf-8")
        for pattern, replacement in ((_NOT_ASCII_RE2, ""), (" {2,}", " ")):
            strings = tf.strings.regex_replace(strings, pattern, replacement)
        return strings

    def _cramming_steps(self):
        steps = [_replace(_SPACE_RE2, " "), normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
        steps.append(normalizers.NFD() if self.strip_accents else normalizers.NFKC())
        if self.lowercase:
            steps.append(normalizers.Lowercase())
        return [*steps, _replace(_NOT_ASCII_RE2, "")]


def _valid_in_graph(strings):
    import tensorflow as tf

    return tf.strings.unicode_transcode(strings, "UTF-8", "UTF-8", errors="replace")


def _replace(pattern, replacement):
    return normalizers.Replace(Regex(pattern), replacement)


@functools.cache
def _folded_beyond_lower_case():
    """The 134 lower-case characters (list of str) that case folding changes: ß, ς, Greek with iota subscript, Cherokee.

    `tokenizers` has no case folding. A step for each takes 0.3 s more for a million characters.
    """
    return [
        character
        for character in map(chr, range(128, sys.maxunicode + 1))
        if character.lower() == character != character.casefold()
        and unicodedata.is_normalized("NFKC", character)
        and unicodedata.normalize("NFKC", character.casefold()) != character
    ]
