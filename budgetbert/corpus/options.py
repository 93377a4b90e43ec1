"""The options of a preparation, each written once: its type, default, help and what it may be.

The keyword arguments of `prepare_corpus`, the flags of `recipes/prepare_corpus.py`, the checks of both and the
`options` of the manifest follow from the fields of one class.
"""

import dataclasses
import hashlib
import importlib.util
import re
import typing

from absl import flags

from budgetbert.corpus.checks import ORDERS, ROW_KINDS, ROW_STARTS, SORTED
from budgetbert.corpus.sources.cleaning import LEVELS
from budgetbert.corpus.stages import filters
from budgetbert.errors import InputError
from budgetbert.tokenization.normalizer import KINDS, Normalizer

VOCABULARY_SIZE = 32_768
_LEAST_SUBSTRING = 20  # Cramming takes 75, Lee et al. 2022 take 50 tokens, which are some 200 bytes.
_EXTRAS = {"near": ("datasketch", "xxhash"), "substring": ("pydivsufsort",)}
_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}


def _option(default, help, choices=None, least=None, most=None):
    limits = {"choices": choices, "least": least, "most": most}
    return dataclasses.field(default=default, metadata={"help": help, **limits})


@dataclasses.dataclass(frozen=True)
class Options:
    """What decides the rows of a prepared corpus, beside the text. The help of each field says what it does.

    There are as many fields as options, so that each is written in one place.

    Raises:
        InputError: if an option is none of its choices, out of its range, or does not go with another.

    Example:

    >>> Options(rows="pairs").sequence_length
    128
    """

    vocabulary: str | None = _option(None, "A vocabulary file to use instead of training one.")
    vocabulary_from: str | None = _option(
        None,
        "A model whose vocabulary and normaliser the corpus gets: a .keras file, a preset or Hugging Face folder, a "
        "name on the hub; or a prepared corpus.",
    )
    extend_vocabulary: int | None = _option(
        None,
        "Entries to add to the vocabulary of --vocabulary_from: those that save the most pieces of this text.",
        least=1,
        most=2**20,
    )
    # Of fewer than 256 entries hardly any is more than a character; 2**20 are 8 times those of the largest models.
    vocabulary_size: int | None = _option(
        None, "Entries to train; 32,768 by default, 8,192 for demo.", least=256, most=2**20
    )
    # Lower-case English takes some 70 characters; Unicode has a million code points.
    alphabet_size: int | None = _option(
        None, "Characters that a trained vocabulary holds; as many as the text needs by default.", least=32, most=2**20
    )
    lowercase: bool = _option(True, "Fold the case.")
    strip_accents: bool = _option(True, "Drop combining marks.")
    normalizer: str = _option(
        "bert",
        "bert; checkpoint: as the tokenizers of published BERT checkpoints; or cramming: English only, what is not "
        "ASCII is dropped.",
        KINDS,
    )
    # 8 tokens are the shortest row with a token to predict: 0.15 x 8 rounds to 1.
    sequence_length: int = _option(128, "Tokens in a row.", least=8, most=65_536)
    rows: str = _option(
        "packed",
        "packed: documents run on from row to row; sentences: whole ones; or pairs.",
        ROW_KINDS,
    )
    row_start: str = _option("none", "none, or cls: every packed row starts with [CLS].", ROW_STARTS)
    order: str = _option(
        "shuffled", f"shuffled, {', '.join(SORTED)}, or stored: as the source has them.", ("shuffled", *ORDERS)
    )
    clean: str = _option(
        "auto",
        "none; minimal: wrong decoding, control characters, white space; wiki: what is left of markup, too. "
        "auto is wiki for dumps, WikiExtractor and Wikipedia from the hub, else minimal.",
        ("auto", *LEVELS),
    )
    # What stands twice in a corpus is read twice as often, and no published recipe means that.
    dedup: str = _option("exact", "none, exact, near (similar documents) or substring:N (stretches of N bytes).")
    filter: str = _option("none", "none, or t=0.3: keep a document of less than 0.3 tokens per character.")
    min_characters: int = _option(0, "Leave shorter documents out.", least=0, most=2**31)
    language: str | None = _option(None, "Leave documents in other languages out; a code such as en.")
    drop_repeated_lines: bool = _option(False, "Drop lines that stood in the same document before.")
    validation_fraction: float | None = _option(
        None, "Share of documents held out, by hash; 0.005, for demo 0.03.", least=0.0, most=0.5
    )
    text_field: str = _option("text", "The field or column with the text, in JSON, tables and hf: sources.")
    split: str = _option("train", "The split of hf: sources.")
    document: str = _option(
        "auto",
        "auto, or file: all of a .txt is one document, as of books, not what lies between blank lines.",
        ("auto", "file"),
    )
    # What `--vocabulary_from` gave; no flag.
    normalizer_of_model: Normalizer | None = None

    def __post_init__(self):
        for field in _options():
            self._check(field, getattr(self, field.name))
        if self.extend_vocabulary and not self.vocabulary_from:
            raise InputError("--extend_vocabulary adds to a model's vocabulary: give the model as --vocabulary_from.")
        for name in ("vocabulary", "vocabulary_size", "alphabet_size"):
            if self.vocabulary_from and getattr(self, name):
                raise InputError(
                    f"--vocabulary_from and --{name} exclude each other: give one of them (new entries are "
                    "--extend_vocabulary)."
                )
        if self.vocabulary and self.vocabulary_size:
            raise InputError("--vocabulary and --vocabulary_size exclude each other: give one of them.")
        if self.vocabulary and self.alphabet_size:
            raise InputError("--alphabet_size is for a vocabulary that is trained: leave it out beside --vocabulary.")
        if self.row_start == "cls" and self.rows != "packed":
            raise InputError(f"--row_start=cls is for packed rows: those of --rows={self.rows} have [CLS] anyway.")
        self._check_dedup()
        if self.filter_threshold is not None and not 0 < self.filter_threshold < 1:
            raise InputError(_other_filter(self.filter))
        if self.language:
            filters.in_language("", self.language)  # An unknown one is refused now and not after hours.

    @staticmethod
    def _check(field, value):
        choices, least, most = (field.metadata[name] for name in ("choices", "least", "most"))
        if choices and value not in choices:
            raise InputError(f"--{field.name}={value} is unknown: give {' or '.join(choices)}.")
        if least is None or value is None:
            return
        if not (least <= value and (most is None or value <= most)):
            wanted = f"{least} or more" if most is None else f"{least} to {most}"
            raise InputError(f"--{field.name}={value} is out of range: give {wanted}.")

    def _check_dedup(self):
        if not re.fullmatch(r"none|exact|near|substring:[0-9]{1,7}", self.dedup):
            raise InputError(f"--dedup={self.dedup} is unknown: give none, exact, near or substring:N.")
        if self.substring_bytes is not None and self.substring_bytes < _LEAST_SUBSTRING:
            raise InputError(
                f"--dedup={self.dedup} would drop common phrases: give at least substring:{_LEAST_SUBSTRING} (bytes)."
            )
        for name in _EXTRAS.get(self.dedup.partition(":")[0], ()):
            if not importlib.util.find_spec(name):
                raise InputError(
                    f"--dedup={self.dedup} needs {name}, which is not installed: pip install budgetbert[deduplication]."
                )

    @property
    def filter_threshold(self):
        """float or `None`. The t of `--filter t=0.3`."""
        if self.filter == "none":
            return None
        match = re.fullmatch(r"t=([0-9]*\.?[0-9]+)", self.filter)
        if not match:
            raise InputError(_other_filter(self.filter))
        return float(match[1])

    @property
    def substring_bytes(self):
        """int or `None`. The N of `--dedup substring:N`."""
        length = self.dedup.partition(":")[2]
        return int(length) if length else None

    def cleaning_level(self, is_wiki):
        """Returns how (str, of `cleaning.LEVELS`) text is cleaned that comes from a wiki or not (bool)."""
        if self.clean != "auto":
            return self.clean
        return "wiki" if is_wiki else "minimal"

    def make_normalizer(self):
        """Returns the `Normalizer` of these options."""
        return self.normalizer_of_model or Normalizer(self.lowercase, self.strip_accents, self.normalizer)

    def with_normalizer(self, normalizer):
        """Returns these options with the `Normalizer` of the model that `vocabulary_from` names.

        Raises:
            InputError: if an option asks for another one.
        """
        taken = {
            "lowercase": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "normalizer": normalizer.kind,
        }
        for field in _options():
            asked = getattr(self, field.name)
            if field.name in taken and asked not in (field.default, taken[field.name]):
                flag = field.name if isinstance(asked, str) or asked else f"no{field.name}"
                told = f"--{flag}={asked}" if isinstance(asked, str) else f"--{flag}"
                raise InputError(
                    f"{told} is not what {self.vocabulary_from} was trained with ({normalizer}): leave it out."
                )
        return dataclasses.replace(self, normalizer_of_model=normalizer, **taken)

    def for_sources(self, sources):
        """Returns these options with the defaults that depend on the sources, and the vocabulary's size rounded up.

        The demo text has 10 MB. Most of 32,768 entries would occur too rarely in it to be learnt, and 0.5 % of it would
        be 100 rows, whose loss is noisy; 3 % are 600.

        Args:
            sources: str, as for `--corpus`.

        Raises:
            InputError: if the alphabet does not fit into the vocabulary.
        """
        size, fraction = (8_192, 0.03) if sources == "demo" else (VOCABULARY_SIZE, 0.005)
        if self.validation_fraction is not None:
            fraction = self.validation_fraction
        size = None if self.vocabulary or self.vocabulary_from else -(-(self.vocabulary_size or size) // 64) * 64
        if self.alphabet_size and 2 * self.alphabet_size > size:
            raise InputError(
                f"--alphabet_size={self.alphabet_size} does not fit into {size} entries, as a character takes one at "
                f"the start of words and one within: give {size // 2} or fewer, or a larger --vocabulary_size."
            )
        return dataclasses.replace(self, vocabulary_size=size, validation_fraction=fraction)

    def for_manifest(self, entries, weights):
        """Returns what the manifest states, a dict: two preparations are the same if it is, and their text.

        Args:
            entries: list of str, of a given vocabulary, or `None`.
            weights: list of float, the shares of the sources, or `None`.
        """
        told = {field.name: getattr(self, field.name) for field in _options()}
        told |= {"filter": self.filter_threshold, "weights": weights}
        size = told.pop("vocabulary_size")
        # Another path to the same vocabulary and normaliser gives the same rows.
        if told.pop("vocabulary_from"):
            told["normalizer"] = self.make_normalizer().config()
        told["vocabulary"] = hashlib.sha256("\n".join(entries).encode()).hexdigest() if entries else size
        return told


def _other_filter(given):
    return f"--filter={given} is unknown: give none, or t=0.3 with another number between 0 and 1."


def _options():
    """Returns the fields of `Options` that are options: what stands there besides was read from the model."""
    return [field for field in dataclasses.fields(Options) if "help" in field.metadata]


def define_flags():
    """Defines a flag for each option."""
    for field in _options():
        kind = (typing.get_args(field.type) or (field.type,))[0]
        _DEFINE[kind](field.name, field.default, field.metadata["help"])


def read_flags():
    """Returns the options that the flags give, as a dict of keyword arguments of `prepare_corpus`."""
    return {field.name: flags.FLAGS[field.name].value for field in _options()}
