"""What the workers do with the parts of the documents. Each callable is applied to tasks, and leaves files behind.

What a task gives depends on the task alone, so a part may be made by any process, and again after a kill.
"""

import collections

import numpy as np

from budgetbert.corpus import cleaning, formats, parts, quality, store
from budgetbert.corpus.encoding import Encoder, PieceCounter
from budgetbert.corpus.packing import cut_rows, join_documents, pair_rows, sentence_rows, split_sentences, token_dtype
from budgetbert.corpus.vocabulary import special_ids

EXAMPLES = 5  # of what a filter removed
EXAMPLE_CHARACTERS = 300
_BATCH_CHARACTERS = 2**22  # whose words a process holds at a time, some 60 MB


def batches(texts):
    """Yields slices of a list of str that cover it, of about four million characters each."""
    start = size = 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield slice(start, index + 1)
            start, size = index + 1, 0
    if start < len(texts):
        yield slice(start, len(texts))


class ReadPart:
    """Parses, cleans and filters the documents of blocks, and writes them as a part.

    Args:
        folder: `Path`.
        options: dict of `text_field`, `min_characters`, `language` and `drop_repeated_lines`, as in `prepare_corpus`.

    A task is a tuple of the part's number, its source's number, its blocks, and the position behind them. The record
    is returned.
    """

    def __init__(self, folder, options):
        self._folder, self._options = folder, options

    def __call__(self, task):
        index, source, blocks, position = task
        self._removed, self._examples, self._first = collections.Counter(), {}, {}
        characters = documents = empty_files = 0
        texts, hashes, words = [], [], []
        for block in blocks:
            block.removed = collections.Counter(block.removed)
            empty_files += block.removed.pop("empty_file", 0)
            self._removed.update(block.removed)
            documents += block.removed.total()
            for raw, problem in formats.parse(block, self._options["text_field"]):
                documents += 1
                characters += len(raw)
                text = self._passed(raw, problem)
                if text is not None:
                    texts.append(text)
                    hashes.append(parts.document_hash(text))
                    words.append(1 + text.count(" ") + text.count("\n"))
        parts.write_documents(self._folder / f"{index:06d}.arrow", texts, hashes, words)
        record = {
            "source": source,
            "next": position,
            "documents": len(texts),
            "characters": sum(map(len, texts)),
            "documents_read": documents,
            "characters_read": characters,
            "empty_files": empty_files,
            "removed": dict(self._removed),
            "examples": self._examples,
            "first": self._first,
        }
        parts.write_json(parts.record_path(self._folder, index), record)
        return record

    def _passed(self, raw, problem):
        """Returns the cleaned text, or None if it is left out, after counting why."""
        options, reason = self._options, None
        text = raw
        if problem:
            reason, sentence = problem
            self._first.setdefault(reason, sentence)
        else:
            text = cleaning.clean(raw)
            if options["drop_repeated_lines"]:
                text = cleaning.drop_repeated_lines(text)
            if not text.strip():
                reason = "empty"
            elif len(text) > formats.LONGEST_DOCUMENT_BYTES:
                reason = "too_long"
            elif not quality.long_enough(text, options["min_characters"]):
                reason = "too_short"
            elif options["language"] and not quality.in_language(text, options["language"]):
                reason = "other_language"
        if reason is None:
            return text
        self._removed[reason] += 1
        if len(examples := self._examples.setdefault(reason, [])) < EXAMPLES:
            examples.append(text[:EXAMPLE_CHARACTERS])
        return None


class _OnParts:
    """What the passes over parts share: the documents, and which of them are kept.

    Args:
        documents: `Path` of the folder of the documents.
        kept: `Path` of a bool array over all documents.
        folder: `Path`, for what is written.
    """

    def __init__(self, documents, kept, folder):
        self._parts, self._folder = parts.Parts(documents), folder
        self._kept = np.load(kept, mmap_mode="r", allow_pickle=False)

    def _selected(self, index):
        return np.array(self._kept[self._parts.range(index)])


class CountPieces(_OnParts):
    """Counts the pieces that a vocabulary is trained on, in a sample of the documents that are kept.

    A task is a list of the number of one part.

    Args:
        normalizer: `budgetbert.normalization.Normalizer`.
        rate: float, the share of the documents in the sample.
    """

    def __init__(self, documents, kept, folder, normalizer, rate):
        super().__init__(documents, kept, folder)
        self._count, self._rate = PieceCounter(normalizer), rate

    def __call__(self, group):
        (index,) = group
        selected = self._selected(index)
        if self._rate < 1:
            selected &= parts.sampled(self._parts.numbers(index)[0], self._rate, stream=1)
        texts = self._parts.texts(index, selected)
        pieces = collections.Counter()
        for batch in batches(texts):
            pieces.update(self._count(texts[batch]))
        parts.write_json(parts.record_path(self._folder, index), pieces)


class FilterCompressible(_OnParts):
    """Writes which of the documents that are kept pass the compressibility filter.

    A task is a list of the number of one part.

    Args:
        normalizer: `budgetbert.normalization.Normalizer`.
        entries: list of str, the vocabulary of the unfiltered text.
        t: float, see `quality.compressible`.
    """

    def __init__(self, documents, kept, folder, normalizer, entries, t):
        super().__init__(documents, kept, folder)
        self._encode, self._t = Encoder(entries, normalizer, token_dtype(len(entries))), t

    def __call__(self, group):
        (index,) = group
        selected = self._selected(index)
        texts = self._parts.texts(index, selected)
        passed = []
        for batch in batches(texts):
            encoded = self._encode(texts[batch])
            passed += map(self._passes, texts[batch], encoded)
        selected[selected] = passed
        parts.write_array(self._folder / f"{index:06d}.npy", selected)
        parts.write_json(parts.record_path(self._folder, index), {})

    def _passes(self, text, ids):
        return quality.compressible(len(text), len(ids), self._t)


class Encode(_OnParts):
    """Encodes the documents that are kept, and packs those of each split.

    Writes, for each split, what there is of the stream of `packed` rows (1-D), or the rows (2-D), and the labels of
    `pairs`. A task is a list of numbers of parts; the files and the record bear the first of them.

    Args:
        normalizer: `budgetbert.normalization.Normalizer`.
        entries: list of str, the vocabulary.
        threshold: int. Documents with this hash or a lower one are held out for validation.
        splits: tuple of str, those to write.
        rows: str, "packed", "sentences" or "pairs".
        sequence_length: int.
    """

    def __init__(self, documents, kept, folder, normalizer, entries, threshold, splits, rows, sequence_length):
        super().__init__(documents, kept, folder)
        self._dtype = token_dtype(len(entries))
        self._encode = Encoder(entries, normalizer, self._dtype)
        self._ids = special_ids(entries)
        self._threshold, self._splits = np.uint64(threshold), splits
        self._kind, self._sequence_length = rows, sequence_length

    def __call__(self, group):
        record = {what: dict.fromkeys(self._splits, 0) for what in ("documents", "tokens", "length")}
        record["without_tokens"] = 0
        packed = {split: [] for split in self._splits}
        labels = {split: [] for split in self._splits}
        for split, documents, hashes in self._together(group, record):
            record["documents"][split] += len(documents)
            rows, row_labels = self._packed(documents, hashes)
            packed[split].append(rows)
            labels[split].append(row_labels)
        for split in self._splits:
            name = f"{group[0]:06d}.{split}"
            joined = np.concatenate([*packed[split]]) if packed[split] else self._nothing()
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
        # random segments come from the documents that are packed together, and one part may hold out a single one
        gathered = {split: ([], []) for split in self._splits}
        for split, documents, hashes in batches_of_parts:
            gathered[split][0].extend(documents)
            gathered[split][1].extend(hashes)
        for split, (documents, hashes) in gathered.items():
            if documents:
                yield split, documents, hashes

    def _documents(self, index, record):
        """Yields a split, its encoded documents of a piece of a part, and their hashes."""
        hashes = self._parts.numbers(index)[0]
        selected, held_out = self._selected(index), hashes <= self._threshold
        if len(self._splits) == 1:
            selected &= held_out == (self._splits[0] == "validation")
        hashes, held_out, texts = hashes[selected], held_out[selected], self._parts.texts(index, selected)
        for batch in batches(texts):
            found = {split: ([], []) for split in self._splits}
            for ids, number, is_held_out in zip(
                self._encoded(texts[batch]), hashes[batch], held_out[batch], strict=True
            ):
                if len(ids):
                    documents, numbers = found["validation" if is_held_out else "train"]
                    documents.append(ids)
                    numbers.append(number)
                else:
                    record["without_tokens"] += 1
            for split, (documents, numbers) in found.items():
                if documents:
                    yield split, documents, numbers

    def _encoded(self, texts):
        """Returns the ids of each text, as an array or as a list of those of its sentences; empty if it has none."""
        if self._kind == "packed":
            return self._encode(texts)
        encoded = []
        for batch in batches(texts):
            sentences = [split_sentences(text) for text in texts[batch]]
            ids = iter(self._encode([sentence for document in sentences for sentence in document]))
            for document in sentences:
                encoded.append([some for _ in document if len(some := next(ids))])
        return encoded

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


class WriteShard:
    """Puts a shard together from pieces of what `Encode` wrote.

    Args:
        folder: `Path` of `Encode`'s files.
        corpus: `Path`, where the shards go.
        records: `Path`, where their records go.
        sequence_length: int.
        start_id: int or `None`. The id that each row starts with.
        entries: int, the size of the vocabulary.
        labelled: bool. Whether the rows have labels.

    A task is a tuple of the split, the number of the shard in it, the number of its rows, and a list of pieces: tuples
    of a part and where in it they start and stop. Returns what the manifest says of the shard.
    """

    def __init__(self, folder, corpus, records, sequence_length, start_id, entries, labelled):
        self._folder, self._corpus, self._records = folder, corpus, records
        self._sequence_length, self._start_id = sequence_length, start_id
        self._entries, self._labelled = entries, labelled

    def __call__(self, task):
        split, number, rows, pieces = task
        name = f"{split}-{number:05d}"
        joined = self._joined(f"{split}.npy", pieces)
        if joined.ndim == 1:
            joined, _ = cut_rows(joined, self._sequence_length, self._start_id)
        # bincount makes int64 of what it counts, four times the shard: so in pieces
        frequencies = sum(np.bincount(some.ravel(), minlength=self._entries) for some in np.array_split(joined, 64))
        parts.write_array(self._records / f"{name}.npy", frequencies)
        shard = {"file": f"{name}.npy", "split": split, "rows": rows}
        shard["sha256"] = store.write_shard(self._corpus / shard["file"], joined)
        if self._labelled:
            labels = self._joined(f"{split}.labels.npy", pieces)
            shard["labels_sha256"] = store.write_shard(self._corpus / store.labels_name(shard["file"]), labels)
        parts.write_json(self._records / f"{name}.json", shard)
        return shard

    def _joined(self, name, pieces):
        return np.concatenate([self._piece(f"{part:06d}.{name}")[start:stop] for part, start, stop in pieces])

    def _piece(self, name):
        return np.load(self._folder / name, mmap_mode="r", allow_pickle=False)
