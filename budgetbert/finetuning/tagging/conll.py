"""Words with tags, as CoNLL's files and CoNLL-U have them: one word a line, an empty line between sentences.

Imports no Keras.
"""

import dataclasses
import io
import os
import zlib
from pathlib import Path

from budgetbert.corpus.sources import compression
from budgetbert.errors import InputError, one_line
from budgetbert.files import DamagedArchive

# CoNLL-U's columns of the word and of its part of speech, by position from 1, and how many it has.
_UNIVERSAL = (2, 4, 10)


@dataclasses.dataclass(frozen=True)
class TaggedSentences:
    """The sentences of a file.

    Args:
        words: list of lists of str.
        tags: list of lists of str, as many.
        documents: int. How many the file marks (`-DOCSTART-`, `# newdoc`), 1 where it marks none.
    """

    words: list
    tags: list
    documents: int

    def __len__(self):
        return len(self.words)

    @property
    def labels(self):
        """list of str, the tags that occur: `O` first, the others in the alphabet's order, types together."""
        found = {tag for tags in self.tags for tag in tags}
        return sorted(found, key=lambda tag: (tag != "O", tag.partition("-")[2], tag))


# What CoNLL's files are called, a packed one before the ending of its packing.
_NAMES = (".conll", ".conllu", ".iob", ".iob2", ".bio", ".conll03", ".conll2003")


def is_conll(path):
    """Returns whether a path (str) is that of CoNLL's columns: by its name, or because its first line is no record.

    Turku's `.tsv` has words and tags without a header, so that a table is read as columns where its first word's tag
    is `O` or has a prefix.
    """
    name = os.path.basename(path).lower()
    if any(name.endswith(ending) or f"{ending}." in name for ending in _NAMES):
        return True
    if (".txt" not in name and ".tsv" not in name) or not os.path.isfile(path):
        return False
    first = next(filter(str.strip, _lines(path)), "").split()
    return len(first) > 1 and (first[-1] == "O" or first[0] == "-DOCSTART-" or first[-1][:2] in ("B-", "I-", "S-"))


def read_conll(path, word_column=None, tag_column=None):
    """Reads a file of words and tags, also compressed (`.gz`, `.bz2`, `.xz`, `.zst`).

    Columns are parted by tabs where the first line with a word has one, else by spaces. A file with ten columns whose
    name has `.conllu` is CoNLL-U: its comments, words of several (`3-4`) and empty nodes (`8.1`) are left aside.

    Args:
        path: str.
        word_column: int, the position of the word, from 1, or from the end, as -1. Defaults to the first, of CoNLL-U
            the second.
        tag_column: int, the position of the tag. Defaults to the last, of CoNLL-U the fourth, the part of speech.

    Returns:
        `TaggedSentences`.

    Raises:
        InputError: if the file cannot be read, is not UTF-8, a line has not as many columns as the first, or no tag.
    """
    universal = ".conllu" in os.path.basename(path)
    words, tags, documents = [[]], [[]], 0
    width = separator = None
    for number, line in enumerate(_lines(path), 1):
        is_comment = universal and line.startswith("#")
        documents += line.startswith("-DOCSTART-") or (universal and line.startswith("# newdoc"))
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words[-1]:
                words.append([])
                tags.append([])
            continue
        if is_comment:
            continue
        if width is None:
            separator = "\t" if "\t" in line else None
            width = len(line.split(separator))
            places = _places(path, number, width, word_column, tag_column, universal)
        cells = line.split(separator)
        if universal and not cells[0].isdecimal():
            continue
        word, tag = (cells[place].strip() if place < len(cells) else "" for place in places)
        if len(cells) != width or not word or not tag:
            raise InputError(
                f"{path}, line {number:,}: it has {len(cells)} columns ({line.strip()[:50]!r}), the first line with a "
                f"word {width}: each word needs a tag, and an empty line ends a sentence."
            )
        words[-1].append(word)
        tags[-1].append(tag)
    if not words[-1]:
        words, tags = words[:-1], tags[:-1]
    if not words:
        raise InputError(f"{path} holds no words: give a word and its tag in each line.")
    return TaggedSentences(words, tags, max(1, documents))


def _lines(path):
    """Yields the lines (str) of a file without their ends."""
    number = 0
    try:
        with open(path, "rb") as raw, io.BufferedReader(compression.decompressed(Path(path), raw)) as stream:
            for number, line in enumerate(stream, 1):
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number:,} is not UTF-8: save the file as UTF-8.") from error
    except (DamagedArchive, EOFError, zlib.error, OSError) as error:
        reason = getattr(error, "strerror", None) or one_line(error).rstrip(".")
        raise InputError(f"{path} cannot be read behind line {number:,} ({reason}): copy it again.") from error


def _places(path, number, width, word_column, tag_column, universal):
    """Returns the indices of the columns of word and tag."""
    if width < 2:
        raise InputError(f"{path}, line {number:,} has one column: give a word and its tag in each line.")
    usual = _UNIVERSAL if universal and width == _UNIVERSAL[2] else (1, width)
    chosen = [given or default for given, default in zip((word_column, tag_column), usual, strict=False)]
    for column in chosen:
        if not 1 <= abs(column) <= width:
            raise InputError(f"{path} has {width} columns, and column {column} was asked for: give one from 1 on.")
    places = [column - 1 if column > 0 else width + column for column in chosen]
    if places[0] == places[1]:
        raise InputError(f"{path}: column {places[0] + 1} is asked for as word and as tag: give each another.")
    return places
