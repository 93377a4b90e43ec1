"""Documents become token ids, and those the stream or the rows of each split."""

import dataclasses
from pathlib import Path

import numpy as np

from budgetbert.corpus import store
from budgetbert.corpus.packing import join_documents, pair_rows, sentence_rows, split_sentences, token_dtype
from budgetbert.corpus.stages import parts
from budgetbert.corpus.stages.parts import read_json, record_path
from budgetbert.tokenization.encoder import Encoder
from budgetbert.tokenization.vocabulary import special_ids

# The held-out documents of so much text, some 50, are each other's random segments in validation rows of `pairs`.
_PAIR_GROUP_CHARACTERS = 2**26


@dataclasses.dataclass(frozen=True)
class Encoded:
    """What was encoded of one split, or of both together.

    Attributes:
        folder: `Path` of the files.
        records: list of tuples of the number of the first part that was encoded together with others, and the record.
    """

    folder: Path
    records: list

    def lengths(self, split):
        """Returns a list of tuples of the number of a part, and the length of what was encoded of a split with it."""
        return [(first, record["length"][split]) for first, record in self.records]


def encode(documents, entries, threshold, options, staging):
    """Encodes what is kept.

    Args:
        documents: `parts.Documents`.
        entries: list of str, the vocabulary.
        threshold: int, the highest hash that is held out.
        options: `Options`.
        staging: `Staging`.

    Returns:
        dict of each split to its `Encoded`.
    """
    runs = [("encoded", store.SPLITS, documents.singles())]
    if options.rows == "pairs":
        groups = _pair_groups(documents)
        runs = [("encoded", ("train",), documents.singles()), ("encoded_validation", ("validation",), groups)]
    encoded = {}
    for name, splits, groups in runs:
        arguments = (options.make_normalizer(), entries, threshold, splits, options.rows, options.sequence_length)
        folder = staging.each("Encoding", name, Encode, arguments, documents, groups)
        records = [(group[0], read_json(record_path(folder, group[0]))) for group in groups]
        encoded |= dict.fromkeys(splits, Encoded(folder, records))
    return encoded


def _pair_groups(documents):
    groups, size, source = [], 0, None
    for index, record in enumerate(documents.records):
        if not groups or record["source"] != source or size >= _PAIR_GROUP_CHARACTERS:
            groups.append([])
            size, source = 0, record["source"]
        groups[-1].append(index)
        size += record["characters"]
    return groups


class Encode:
    """Encodes the documents that are kept, and packs those of each split.

    Writes, for each split, what there is of the stream of `packed` rows (1-D), or the rows (2-D), and the labels of
    `pairs`. A task is a list of numbers of parts; the files and the record bear the first of them.

    Args:
        documents: `parts.Documents`.
        folder: `Path`, for what is written.
        normalizer: `budgetbert.tokenization.normalizer.Normalizer`.
        entries: list of str, the vocabulary.
        threshold: int. Documents with this hash or a lower one are held out for validation.
        splits: tuple of str, those to write.
        rows: str, "packed", "sentences" or "pairs".
        sequence_length: int.
    """

    def __init__(self, documents, folder, normalizer, entries, threshold, splits, rows, sequence_length):
        self._all, self._folder = documents, folder
        self._dtype = token_dtype(len(entries))
        self._encode = Encoder(entries, normalizer, self._dtype)
        self._ids = special_ids(entries)
        self._threshold, self._splits = np.uint64(threshold), splits
        self._kind, self._sequence_length = rows, sequence_length

    def __call__(self, group):
        record = {what: dict.fromkeys(self._splits, 0) for what in ("documents", "tokens", "length")}
        record["without_tokens"] = []  # Their lengths in characters.
        packed = {split: [] for split in self._splits}
        labels = {split: [] for split in self._splits}
        for split, documents, hashes in self._together(group, record):
            record["documents"][split] += len(documents)
            rows, row_labels = self._packed(documents, hashes)
            packed[split].append(rows)
            labels[split].append(row_labels)
        for split in self._splits:
            name = f"{group[0]:06d}.{split}"
            joined = np.concatenate(packed[split]) if packed[split] else self._nothing()
            record["length"][split] = len(joined)
            record["tokens"][split] = int(np.count_nonzero(joined != self._ids["[PAD]"]))
            parts.write_array(self._folder / f"{name}.npy", joined)
            if self._kind == "pairs":
                joined_labels = np.concatenate([np.zeros(0, np.uint8), *labels[split]])
                parts.write_array(self._folder / f"{name}.labels.npy", joined_labels)
        parts.write_json(parts.record_path(self._folder, group[0]), record)

    def _together(self, group, record):
        """Yields a split, encoded documents of it that are packed together, and their hashes."""
        batches_of_parts = (batch for index in group for batch in self._documents(index, record))
        if self._kind != "pairs":
            yield from batches_of_parts
            return
        # Random segments come from the documents that are packed together, and one part may hold out a single one.
        gathered = {split: ([], []) for split in self._splits}
        for split, documents, hashes in batches_of_parts:
            gathered[split][0].extend(documents)
            gathered[split][1].extend(hashes)
        for split, (documents, hashes) in gathered.items():
            if documents:
                yield split, documents, hashes

    def _documents(self, index, record):
        """Yields a split, its encoded documents of a piece of a part, and their hashes."""
        hashes = self._all.numbers(index)[0]
        selected, held_out = self._all.selected(index), hashes <= self._threshold
        if len(self._splits) == 1:
            selected &= held_out == (self._splits[0] == "validation")
        hashes, held_out, texts = hashes[selected], held_out[selected], self._all.texts(index, selected)
        for batch in parts.batches(texts):
            found = {split: ([], []) for split in self._splits}
            encoded = self._encoded(texts[batch])
            for text, ids, number, is_held_out in zip(
                texts[batch], encoded, hashes[batch], held_out[batch], strict=True
            ):
                if len(ids):
                    documents, numbers = found["validation" if is_held_out else "train"]
                    documents.append(ids)
                    numbers.append(number)
                else:
                    record["without_tokens"].append(len(text))
            for split, (documents, numbers) in found.items():
                if documents:
                    yield split, documents, numbers

    def _encoded(self, texts):
        """Returns the ids of each text, as an array or as a list of those of its sentences; empty if it has none."""
        if self._kind == "packed":
            return self._encode(texts)
        sentences = [split_sentences(text) for text in texts]
        ids = iter(self._encode([sentence for document in sentences for sentence in document]))
        return [[some for _ in document if len(some := next(ids))] for document in sentences]

    def _packed(self, documents, hashes):
        """Returns the stream or rows of documents, and labels."""
        if self._kind == "packed":
            return join_documents(documents, self._ids["[SEP]"]), None
        generators = map(np.random.default_rng, hashes)
        if self._kind == "pairs":
            return pair_rows(documents, self._sequence_length, self._ids, generators)
        rows = (
            sentence_rows(sentences, self._sequence_length, self._ids, generator)
            for sentences, generator in zip(documents, generators, strict=True)
        )
        return np.concatenate(list(rows)), None

    def _nothing(self):
        shape = 0 if self._kind == "packed" else (0, self._sequence_length)
        return np.zeros(shape, self._dtype)
