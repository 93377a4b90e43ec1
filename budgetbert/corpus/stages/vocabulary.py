"""A vocabulary is trained on the pieces of a sample of the documents."""

import collections
import dataclasses
from pathlib import Path

from budgetbert.corpus.stages import parts
from budgetbert.tokenization.encoder import PieceCounter
from budgetbert.tokenization.extension import most_useful, old_pieces
from budgetbert.tokenization.vocabulary import train_vocabulary

# The trainer itself takes 250 MB (see `tokenization.vocabulary`), and what is rare in 1 GB gets no entry.
CHARACTERS = 2**30
# Distinct pieces that are counted for a vocabulary, about 600 MB. Beyond, the rarest are dropped: what occurs once in
# several GB of text never gets an entry of its own.
_COUNTED_PIECES = 4_000_000


def train(name, size, characters, documents, normalizer, staging, alphabet=None):
    """Trains a vocabulary, unless that is done.

    Args:
        name: str. What it is: the file of its entries bears it.
        size: int, of the vocabulary.
        characters: int. About the size of the sample.
        documents: `parts.Documents`.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
        staging: `Staging`.
        alphabet: int or `None`, as for `tokenization.vocabulary.train_vocabulary`. Defaults to `None`.

    Returns:
        list of str, the entries.
    """
    path = staging.directory / f"{name}.json"
    if not path.exists():
        folder = _count(name, characters, documents, normalizer, staging)
        with staging.progress.stage(f"Training the {name}"):  # A worker does it, whose memory is given back.
            arguments = (folder, len(documents.records), alphabet)
            (entries,) = staging.workers.map(TrainVocabulary, arguments, [size])
            parts.write_json(path, entries)
        staging.release_memory(documents)
    return parts.read_json(path)


def extend(entries, number, characters, documents, normalizer, staging):
    """Finds new entries for a vocabulary, unless that is done; arguments as for `train`, and:

    Args:
        entries: list of str, the vocabulary.
        number: int. At most so many entries are found.

    Returns:
        list of lists of a new entry (str) and its pieces (list of str) by the old ones, the most useful first.
    """
    path = staging.directory / "extension.json"
    if not path.exists():
        folder = _count("extension", characters, documents, normalizer, staging)
        with staging.progress.stage("Choosing new entries"):
            arguments = (folder, len(documents.records), entries)
            (added,) = staging.workers.map(ExtendVocabulary, arguments, [number])
            parts.write_json(path, added)
        staging.release_memory(documents)
    return parts.read_json(path)


def _count(name, characters, documents, normalizer, staging):
    """Counts the pieces of a sample of about so many characters; returns the folder (`Path`) of the counts."""
    kept = sum(int(lengths.sum()) for _, _, lengths, _ in documents.kept_numbers())
    arguments = (normalizer, characters / max(kept, 1))
    return staging.each("Counting words", f"pieces_for_{name}", CountPieces, arguments, documents)


class CountPieces:
    """Counts the pieces that a vocabulary is trained on, in a sample of the documents of a part that are kept.

    Args:
        documents: `parts.Documents`.
        folder: `Path`, for what is written.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
        rate: float, the share of the documents in the sample.

    A task is a list of the number of one part.
    """

    def __init__(self, documents, folder, normalizer, rate):
        self._documents, self._folder = documents, folder
        self._count, self._rate = PieceCounter(normalizer), rate

    def __call__(self, group):
        (index,) = group
        selected = self._documents.selected(index)
        if self._rate < 1:
            selected &= parts.sampled(self._documents.numbers(index)[0], self._rate, stream=1)
        texts, pieces = self._documents.texts(index, selected), collections.Counter()
        for batch in parts.batches(texts):
            pieces.update(self._count(texts[batch]))
        parts.write_json(parts.record_path(self._folder, index), pieces)


@dataclasses.dataclass(frozen=True)
class TrainVocabulary:
    """Trains a vocabulary on what `CountPieces` left in a folder for so many parts; a task is the size."""

    folder: Path
    number: int
    alphabet: int | None = None

    def __call__(self, size):
        return train_vocabulary(_sum(self.folder, self.number), size, self.alphabet)


@dataclasses.dataclass(frozen=True)
class ExtendVocabulary:
    """Finds new entries for a vocabulary by what `CountPieces` left; a task is how many to find at most."""

    folder: Path
    number: int
    entries: list

    def __call__(self, number):
        old = set(self.entries)
        found = most_useful(self.entries, _sum(self.folder, self.number), number)
        return [[entry, old_pieces(entry, old)] for entry in found]


def _sum(folder, number):
    """Returns the Counter of all pieces that `CountPieces` left in a folder for so many parts."""
    pieces = collections.Counter()
    for index in range(number):
        pieces.update(parts.read_json(parts.record_path(folder, index)))
        drop_rare(pieces, _COUNTED_PIECES)
    return pieces


def drop_rare(pieces, most):
    """Makes room in a Counter of more than `most` entries by dropping what was seen once, then twice ..."""
    seen = 0
    while len(pieces) > most:
        seen += 1
        for piece in [piece for piece, count in pieces.items() if count <= seen]:
            del pieces[piece]
