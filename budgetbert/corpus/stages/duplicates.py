"""Which documents, and which stretches of them, stood in the corpus before.

Exact duplicates cost 9 bytes of memory per document and no time. The two others need memory that grows with the text:
near-duplicates about 10 kB per document that stays (datasketch keeps its tables in memory), repeated stretches 13 bytes
per byte of text, which is why these are looked for in groups of parts.
"""

import dataclasses
import itertools
from pathlib import Path

import numpy as np

from budgetbert.corpus.stages import parts

# Hashes that are sorted at a time: 200 MB with the sort's own arrays.
HASHES_AT_ONCE = 2**23
# MinHash as for C4 and The Pile's deduplicated versions: 5-grams of words (`parts.words_or_letters`); 128
# permutations; similar from 0.8 on.
_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
# datasketch holds 1 kB for each, and a document may have millions.
_SHINGLES_AT_ONCE = 2**16
_SIMILARITY = 0.8
# datasketch has schemes of 4 and of 8 bytes a value.
_SCHEME, _SEED = "affine32", 1
# The text in which a stretch is looked for: 3.5 GB of memory. Larger corpora are deduplicated group by group.
_GROUP_BYTES = 2**28


def exact(documents):
    """Finds documents that are equal, white space aside, to an earlier one.

    Args:
        documents: `parts.Documents`.

    Returns:
        bool array over all documents, false also for those.
    """
    kept = np.array(documents.kept)
    ranges = -(-len(documents) // HASHES_AT_ONCE) or 1
    bounds = [2**64 * index // ranges for index in range(ranges + 1)]
    for low, high in itertools.pairwise(bounds):
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for index in range(len(documents.records)):
            part = documents.numbers(index)[0]
            wanted = kept[documents.range(index)] & (part >= np.uint64(low)) & (part <= np.uint64(high - 1))
            hashes.append(part[wanted])
            places.append(np.flatnonzero(wanted) + documents.starts[index])
        places = np.concatenate(places)
        _, first = np.unique(np.concatenate(hashes), return_index=True)
        repeated = np.ones(len(places), bool)
        repeated[first] = False
        kept[places[repeated]] = False
    return kept


@dataclasses.dataclass(frozen=True)
class Signatures:
    """Writes the MinHash signatures (uint32 array [documents, 128]) of the documents of a part that are kept.

    A task is a list of the number of one part.

    Args:
        documents: `parts.Documents`.
        folder: `Path`, for what is written.

    Source: Broder 1997; the parameters are those of Lee et al. 2022, section 4.2 (5-grams, similarity of 0.8).
    """

    documents: parts.Documents
    folder: Path

    def __call__(self, group):
        (index,) = group
        texts = self.documents.texts(index, self.documents.selected(index))
        signatures = np.empty((len(texts), _PERMUTATIONS), np.uint32)
        for row, text in zip(signatures, texts, strict=True):
            row[:] = _signature(text)
        parts.write_array(self.folder / f"{index:06d}.npy", signatures)
        parts.write_json(parts.record_path(self.folder, index), {})


def _signature(text):
    import datasketch
    import xxhash

    words = [word.encode() for word in parts.words_or_letters(text.lower())]
    shingles = {b" ".join(words[i : i + _SHINGLE_WORDS]) for i in range(max(1, len(words) - _SHINGLE_WORDS + 1))}
    shingles = list(shingles)
    minhash = datasketch.MinHash(_PERMUTATIONS, _SEED, hashfunc=xxhash.xxh32_intdigest, scheme=_SCHEME)
    for start in range(0, len(shingles), _SHINGLES_AT_ONCE):
        minhash.update_batch(shingles[start : start + _SHINGLES_AT_ONCE])
    return minhash.hashvalues


def near(documents, staging):
    """Finds documents that are similar to an earlier one that stays; the arguments and what is returned as `exact`."""
    import datasketch

    folder = staging.each("Computing signatures", "signatures", Signatures, (), documents)
    index_of_similar = datasketch.MinHashLSH(threshold=_SIMILARITY, num_perm=_PERMUTATIONS)
    kept, earlier = np.array(documents.kept), {}
    with staging.progress.stage("Finding near-duplicates", len(documents.records)) as show:
        for index in range(len(documents.records)):
            places = np.flatnonzero(documents.selected(index)) + documents.starts[index]
            for place, values in zip(places.tolist(), np.load(folder / f"{index:06d}.npy"), strict=True):
                minhash = datasketch.LeanMinHash(seed=_SEED, hashvalues=values, scheme=_SCHEME)
                candidates = index_of_similar.query(minhash)
                if any(minhash.jaccard(earlier[candidate]) >= _SIMILARITY for candidate in candidates):
                    kept[place] = False
                else:
                    index_of_similar.insert(place, minhash, check_duplication=False)
                    earlier[place] = minhash
            show(index + 1, int(documents.starts[index + 1]))
    return kept


def groups(documents):
    """Returns lists of numbers of parts, each of so much text as `without_repeats` can look through at once."""
    groups, size = [[]], 0
    for index, record in enumerate(documents.records):
        if groups[-1] and size + record["bytes"] > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += record["bytes"]
    return groups


def without_repeats(texts, length):
    """Drops what stood before: every stretch of at least `length` bytes, in these texts, but its first occurrence.

    Args:
        texts: list of str.
        length: int, in bytes of UTF-8.

    Returns:
        list of str. Where something was taken out, a line ends.

    Source: Lee et al. 2022, section 4.1, as used in Geiping & Goldstein 2022.
    """
    import pydivsufsort

    encoded = [text.encode() for text in texts]
    # A byte that is in no UTF-8 keeps a stretch from reaching from one text into the next.
    data = np.frombuffer(bytearray(b"\xff".join(encoded)), np.uint8)
    if len(data) <= length:
        return texts
    suffixes = pydivsufsort.divsufsort(data)
    # This is how many bytes each suffix has in common with the next one in their sorted order.
    common = pydivsufsort.kasai(data, suffixes)
    repeated = _repeated_starts(data, suffixes, common, length)
    del suffixes, common
    # A byte is covered if a repeated stretch starts at most length - 1 bytes before it.
    last = np.where(repeated, np.arange(len(data), dtype=np.int32), np.int32(-length))
    np.maximum.accumulate(last, out=last)
    dropped = np.arange(len(data), dtype=np.int32) - last < length
    result, start = [], 0
    for text, piece in zip(texts, encoded, strict=True):
        here = dropped[start : start + len(piece)]
        result.append(_remaining(piece, here) if here.any() else text)
        start += len(piece) + 1
    return result


def _repeated_starts(data, suffixes, common, length):
    """Where a stretch starts that started before: a bool array over the bytes."""
    repeated = np.zeros(len(data), bool)
    alike = common[: len(suffixes) - 1] >= length
    linked = np.flatnonzero(alike)
    if not len(linked):
        return repeated
    # These are runs of suffixes that share their first `length` bytes; the one that stands first in the text stays.
    members = np.union1d(linked, linked + 1)
    begins = (members == 0) | ~alike[members - 1]
    places = suffixes[members]
    first = np.minimum.reduceat(places, np.flatnonzero(begins))
    repeated[places[places != first[np.cumsum(begins) - 1]]] = True
    separators = np.flatnonzero(data == 0xFF)
    # Stretches that would hold a separator are none.
    places = np.flatnonzero(repeated)
    ends = np.concatenate([separators, [len(data)]])[np.searchsorted(separators, places)]
    repeated[places[places + length > ends]] = False
    return repeated


def _remaining(piece, dropped):
    edges = np.flatnonzero(np.diff(np.concatenate([[True], dropped, [True]]).astype(np.int8)))
    # Half a character at a cut goes, too.
    kept = (piece[start:stop].decode(errors="ignore").strip() for start, stop in edges.reshape(-1, 2))
    return "\n".join(filter(None, kept))


def drop_repeats(documents, length, normalizer, staging):
    """Drops stretches that stood before.

    Args:
        documents: `parts.Documents`.
        length: int, the bytes of the shortest.
        normalizer: str, as for `parts.count_words`.
        staging: `Staging`.

    Returns:
        `parts.Documents`, of what is left.
    """
    folder, tasks = staging.folder("without_repeats"), groups(documents)
    drop = DropRepeats(documents, folder, length, normalizer)
    with staging.progress.stage("Dropping repeats", len(tasks)) as show:
        number = characters = 0
        for done, group in enumerate(tasks, start=1):  # One at a time, as each takes GBs of memory.
            if not all(parts.record_path(folder, index).exists() for index in group):
                drop(group)
            number += sum(documents.records[index]["documents"] for index in group)
            characters += sum(documents.records[index]["characters"] for index in group)
            show(done, number, characters)
    return parts.Documents(folder, documents.kept_path)


@dataclasses.dataclass(frozen=True)
class DropRepeats:
    """Writes groups of parts again, without what stood before in the group.

    Args:
        documents: `parts.Documents`; those that are not kept become empty.
        folder: `Path`, for what is written.
        length: int, as for `without_repeats`.
        normalizer: str, as for `parts.count_words`.

    A task is a list of numbers of parts.
    """

    documents: parts.Documents
    folder: Path
    length: int
    normalizer: str

    def __call__(self, group):
        selected = {index: self.documents.selected(index) for index in group}
        texts = [text for index in group for text in self.documents.texts(index, selected[index])]
        remaining = iter(without_repeats(texts, self.length))
        for index in group:
            texts = [next(remaining) if is_kept else "" for is_kept in selected[index]]
            words = [parts.count_words(text, self.normalizer) for text in texts]
            # The hashes stay: they decide on which side of the split a document is.
            hashes = self.documents.numbers(index)[0]
            parts.write_documents(self.folder / f"{index:06d}.arrow", texts, hashes, words)
            record = self.documents.records[index] | parts.sizes(texts)
            parts.write_json(parts.record_path(self.folder, index), record)
