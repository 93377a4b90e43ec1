"""Which documents, and which stretches of them, stood in the corpus before.

Exact duplicates cost 9 bytes of memory per document and no time. The two others need memory that grows with the text:
near-duplicates about 5 kB per document (datasketch keeps its tables in memory), repeated stretches 13 bytes per byte
of text, which is why these are looked for in groups of parts.
"""

import itertools
import re

import numpy as np

from budgetbert.corpus import parts

# Hashes that are sorted at a time: 200 MB with the sort's own arrays.
_HASHES_AT_ONCE = 2**23
# MinHash as for C4 and The Pile's deduplicated versions: 5-grams of words; 128 permutations; similar from 0.8 on.
_SHINGLE_WORDS = 5
_PERMUTATIONS = 128
_SIMILARITY = 0.8
_SCHEME = "affine32"  # of datasketch, 4 bytes a value
# The text in which a stretch is looked for: 3.5 GB of memory. Larger corpora are deduplicated group by group.
_GROUP_BYTES = 2**28

_WORD = re.compile(r"\w+")


def exact(documents, kept):
    """Drops documents that are equal, white space aside, to an earlier one.

    Args:
        documents: `parts.Parts`.
        kept: bool array over all documents.

    Returns:
        bool array, `kept` without the duplicates.
    """
    kept = kept.copy()
    ranges = -(-documents.documents // _HASHES_AT_ONCE) or 1
    bounds = [2**64 * index // ranges for index in range(ranges + 1)]
    for low, high in itertools.pairwise(bounds):
        hashes, places = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
        for index in range(len(documents)):
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


class Signatures:
    """Writes the MinHash signatures (uint32 array [documents, 128]) of the documents of a part that are kept.

    A task is a list of the number of one part.

    Args:
        documents: `Path` of the folder of the documents.
        kept: `Path` of a bool array over all documents.
        folder: `Path`, for what is written.

    Source: Broder 1997; the parameters are those of Lee et al. 2022, section 4.2 (5-grams, similarity of 0.8).
    """

    def __init__(self, documents, kept, folder):
        self._parts, self._folder = parts.Parts(documents), folder
        self._kept = np.load(kept, mmap_mode="r", allow_pickle=False)

    def __call__(self, group):
        (index,) = group
        texts = self._parts.texts(index, np.array(self._kept[self._parts.range(index)]))
        signatures = np.empty((len(texts), _PERMUTATIONS), np.uint32)
        for row, text in zip(signatures, texts, strict=True):
            row[:] = _signature(text)
        parts.write_array(self._folder / f"{index:06d}.npy", signatures)
        parts.write_json(parts.record_path(self._folder, index), {})


def _signature(text):
    import datasketch
    import xxhash

    words = [word.encode() for word in _WORD.findall(text.lower())]
    shingles = {b" ".join(words[i : i + _SHINGLE_WORDS]) for i in range(max(1, len(words) - _SHINGLE_WORDS + 1))}
    minhash = datasketch.MinHash(_PERMUTATIONS, hashfunc=xxhash.xxh32_intdigest, scheme=_SCHEME)
    minhash.update_batch(shingles)
    return minhash.hashvalues


def near(documents, kept, folder, tell):
    """Drops documents that are similar to an earlier one that stays.

    Args:
        documents: `parts.Parts`.
        kept: bool array over all documents.
        folder: `Path` of what `Signatures` wrote for them.
        tell: function of `console.Stages.stage`.

    Returns:
        bool array, `kept` without the near-duplicates.
    """
    import datasketch

    index_of_similar = datasketch.MinHashLSH(threshold=_SIMILARITY, num_perm=_PERMUTATIONS)
    kept, signatures = kept.copy(), {}
    for index in range(len(documents)):
        places = np.flatnonzero(kept[documents.range(index)]) + documents.starts[index]
        for place, values in zip(places.tolist(), np.load(folder / f"{index:06d}.npy"), strict=True):
            minhash = datasketch.MinHash(hashvalues=values, scheme=_SCHEME)
            candidates = index_of_similar.query(minhash)
            if any(np.mean(values == signatures[candidate]) >= _SIMILARITY for candidate in candidates):
                kept[place] = False
            else:
                index_of_similar.insert(place, minhash, check_duplication=False)
                signatures[place] = values
        tell(index + 1, int(documents.starts[index + 1]))
    return kept


def groups(documents):
    """Returns lists of numbers of parts, each of so much text as `without_repeats` can look through at once."""
    groups, size = [[]], 0
    for index, record in enumerate(documents.records):
        if groups[-1] and size + record["characters"] > _GROUP_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(index)
        size += record["characters"]
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
    # a byte that is in no UTF-8 keeps a stretch from reaching from one text into the next
    data = np.frombuffer(bytearray(b"\xff".join(encoded)), np.uint8)
    if len(data) <= length:
        return texts
    suffixes = pydivsufsort.divsufsort(data)
    common = pydivsufsort.kasai(data, suffixes)  # of each suffix with the next, in their sorted order
    repeated = _repeated_starts(data, suffixes, common, length)
    del suffixes, common
    # a byte is covered if a repeated stretch starts at most length - 1 bytes before it
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
    # runs of suffixes that share their first `length` bytes; the one that stands first in the text stays
    members = np.union1d(linked, linked + 1)
    begins = (members == 0) | ~alike[members - 1]
    places = suffixes[members]
    first = np.minimum.reduceat(places, np.flatnonzero(begins))
    repeated[places[places != first[np.cumsum(begins) - 1]]] = True
    separators = np.flatnonzero(data == 0xFF)
    # stretches that would hold a separator are none
    places = np.flatnonzero(repeated)
    ends = np.concatenate([separators, [len(data)]])[np.searchsorted(separators, places)]
    repeated[places[places + length > ends]] = False
    return repeated


def _remaining(piece, dropped):
    edges = np.flatnonzero(np.diff(np.concatenate([[True], dropped, [True]]).astype(np.int8)))
    # half a character at a cut goes, too
    kept = (piece[start:stop].decode(errors="ignore").strip() for start, stop in edges.reshape(-1, 2))
    return "\n".join(filter(None, kept))


class DropRepeats:
    """Writes groups of parts again, without what stood before in the group.

    Args:
        documents: `Path` of the folder of the documents.
        kept: `Path` of a bool array over all documents; the others become empty.
        folder: `Path`, for what is written.
        length: int, as for `without_repeats`.

    A task is a list of numbers of parts.
    """

    def __init__(self, documents, kept, folder, length):
        self._parts, self._folder, self._length = parts.Parts(documents), folder, length
        self._kept = np.load(kept, mmap_mode="r", allow_pickle=False)

    def __call__(self, group):
        selected = {index: np.array(self._kept[self._parts.range(index)]) for index in group}
        texts = [text for index in group for text in self._parts.texts(index, selected[index])]
        remaining = iter(without_repeats(texts, self._length))
        for index in group:
            texts = [next(remaining) if is_kept else "" for is_kept in selected[index]]
            words = [len(text.split()) for text in texts]
            # the hashes stay: they decide on which side of the split a document is
            hashes = self._parts.numbers(index)[0]
            parts.write_documents(self._folder / f"{index:06d}.arrow", texts, hashes, words)
            record = self._parts.records[index] | {"characters": sum(map(len, texts))}
            parts.write_json(parts.record_path(self._folder, index), record)
