"""The first stage: text of any format becomes documents, in parts."""

import collections
import dataclasses
import os
from pathlib import Path

from budgetbert.corpus import account
from budgetbert.corpus.sources import cleaning, formats
from budgetbert.corpus.sources.text import FileSource
from budgetbert.corpus.stages import filters, parts
from budgetbert.corpus.stages.parts import Documents, record_path
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import counted

# Parts are 1/64 of the text, so that all processes have work to the end, but no smaller than what starting a task is
# worth and no larger than what several processes hold in memory.
_PARTS, LEAST_PART_BYTES, MOST_PART_BYTES = 64, 2**19, 2**24
# The share of its characters that a source may lose to the normaliser, and that from which on it is told.
_MOST_DELETED, _TOLD_DELETED = 0.5, 0.05
# What is damaged, and the share of its documents that may be.
_UNUSABLE, _MOST_UNUSABLE = ("undecodable", "malformed"), 0.5


def read(sources, options, staging, ledger):
    """Reads what is left to read.

    Args:
        sources: list of what `sources.text.parse_sources` returns.
        options: `Options`.
        staging: `Staging`.
        ledger: `manifest.Ledger`, for what is left out and noted.

    Returns:
        `parts.Documents`, all of which are kept.

    Raises:
        InputError: if a source cannot be read to its end, or holds nothing that can be used.
    """
    folder, done = staging.folder("documents"), staging.directory / "kept-read.npy"
    if not done.exists():
        total = sum(source.total_bytes for source in sources) or None
        read_parts = _by_files if staging.workers.reads_files else _by_blocks
        with staging.progress.stage("Reading", total) as show:
            number = characters = 0
            for record in read_parts(sources, options, staging, folder):
                number += record["documents"]
                characters += record["characters"]
                show(sum(source.bytes_read for source in sources), number, characters)
        parts.write_array(done, Documents(folder).kept)
    documents = Documents(folder, done)
    for record in documents.records:
        for reason, count in record["removed"].items():
            ledger.leave_out(record["source"], reason, count, record["examples"].get(reason, ()))
    for number, source in enumerate(sources):
        records = [record for record in documents.records if record["source"] == number]
        _note_problems(number, source, records, options, ledger)
    return documents


def _part_bytes(sources):
    expected = sum(source.expected_bytes for source in sources)
    return min(MOST_PART_BYTES, max(LEAST_PART_BYTES, expected // _PARTS))


def _by_blocks(sources, options, staging, folder):
    """Reads the files in this process, whose workers parse what is read; yields the records of parts."""
    return staging.workers.map(ReadPart, (folder, options), _unread(sources, folder))


def _unread(sources, folder):
    """Yields the tasks of `ReadPart` that are not done; the files are read from the first of them on."""
    part_bytes, done = _part_bytes(sources), Documents(folder).records
    first, position, index = 0, None, len(done)
    if done:
        first, position = done[-1]["source"], done[-1]["next"]
    for number, source in enumerate(sources[first:], start=first):
        blocks, size, behind = [], 0, None
        for block, behind in source.blocks(part_bytes, position if number == first else None):
            blocks.append(block)
            size += block.size
            if size >= part_bytes:
                if not record_path(folder, index).exists():
                    yield index, number, blocks, behind
                blocks, size, index = [], 0, index + 1
        if blocks:
            if not record_path(folder, index).exists():
                yield index, number, blocks, behind
            index += 1


def _by_files(sources, options, staging, folder):
    """Reads each file in a process of its own, then puts the parts of all files in order; yields their records."""
    for source in sources:
        if not isinstance(source, FileSource):
            raise InputError(f"{source.name} can only be read by this machine: give files, or leave --engine out.")
    files = [(number, *file) for number, source in enumerate(sources) for file in enumerate(source.files)]
    apart = staging.folder("files")
    tasks = [(place, *file) for place, file in enumerate(files) if not record_path(apart, place).exists()]
    for _ in staging.workers.map(ReadFile, (apart, options, _part_bytes(sources)), tasks):
        pass
    index = 0
    for place in range(len(files)):
        of_file = Documents(apart / f"{place:06d}")
        for number, record in enumerate(of_file.records):
            for suffix in (".arrow", ".json"):
                linked = folder / f"{index:06d}{suffix}"
                linked.unlink(missing_ok=True)
                os.link(of_file.folder / f"{number:06d}{suffix}", linked)
            yield record
            index += 1


@dataclasses.dataclass(frozen=True)
class ReadPart:
    """Parses, cleans and filters the documents of blocks, and writes them as a part.

    Args:
        folder: `Path`.
        options: `Options`.

    A task is a tuple of the part's number, its source's number, its blocks, and the position behind them. The record
    is returned.
    """

    folder: Path
    options: object

    def __call__(self, task):
        index, source, blocks, position = task
        removed, examples, first = collections.Counter(), {}, {}
        characters = documents = empty_files = deleted = 0
        texts, hashes, words, cleaned = [], [], [], collections.Counter()
        for block in blocks:
            level = self.options.cleaning_level(block.is_wiki)
            of_block = collections.Counter(block.removed)
            empty_files += of_block.pop("empty_file", 0)
            removed.update(of_block)
            documents += of_block.total()
            for raw, problem in formats.parse(block, self.options.text_field):
                documents += 1
                characters += len(raw)
                text, reason = self._cleaned(raw, level, cleaned) if problem is None else (raw, problem[0])
                if reason is not None:
                    if problem:
                        first.setdefault(*problem)
                    removed[reason] += 1
                    if len(shown := examples.setdefault(reason, [])) < parts.EXAMPLES:
                        shown.append(text[: parts.EXAMPLE_CHARACTERS])
                    continue
                texts.append(text)
                hashes.append(parts.document_hash(" ".join(text.split()) if level == "none" else text))
                deleted += self._deleted(text)
                words.append(parts.count_words(text, self.options.normalizer))
        parts.write_documents(self.folder / f"{index:06d}.arrow", texts, hashes, words)
        record = {
            "source": source,
            "next": position,
            **parts.sizes(texts),
            "documents_read": documents,
            "characters_read": characters,
            "empty_files": empty_files,
            "deleted": deleted,
            "removed": dict(removed),
            "cleaned": dict(cleaned),
            "examples": examples,
            "first": first,
        }
        parts.write_json(record_path(self.folder, index), record)
        return record

    def _deleted(self, text):
        """Returns the number of characters (int) that the normaliser deletes."""
        strip_accents = self.options.strip_accents
        if self.options.normalizer == "cramming":
            return filters.deleted_by_cramming(text, strip_accents)
        return filters.deleted_by_bert(text, strip_accents)

    def _cleaned(self, raw, level, cleaned):
        """Returns the cleaned text, and why it is left out (str), or `None`; counts what cleaning changed."""
        options, changes = self.options, set()
        text = cleaning.clean(raw, level, changes)
        cleaned.update(changes)
        if options.drop_repeated_lines:
            text = cleaning.drop_repeated_lines(text)
        if not text.strip():
            return text, "empty"
        # A column of a data set or a parquet file is not measured by what reads it.
        if len(text) > formats.LONGEST_DOCUMENT_BYTES:
            return text, "too_long"
        if not filters.long_enough(text, options.min_characters):
            return text, "too_short"
        if options.language and not filters.in_language(text, options.language):
            return text, "other_language"
        return text, None


@dataclasses.dataclass(frozen=True)
class ReadFile:
    """Reads a file, and writes the parts of its documents into a folder of its own.

    Args:
        folder: `Path`.
        options: `Options`.
        part_bytes: int. About what a part has.

    A task is a tuple of the number of the file among all, that of its source, that of the file in it, and the path.
    """

    folder: Path
    options: object
    part_bytes: int

    def __call__(self, task):
        place, source, number, path = task
        folder = self.folder / f"{place:06d}"
        folder.mkdir(exist_ok=True)
        read_part = ReadPart(folder, self.options)
        blocks = FileSource(str(path), self.options.text_field, self.options.document).blocks(self.part_bytes)
        for index, (block, behind) in enumerate(blocks):
            behind = (number, behind[1]) if behind[0] == 0 else (number + 1, 0)
            read_part((index, source, [block], behind))
        parts.write_json(record_path(self.folder, place), {})


def _note_problems(number, source, records, options, ledger):
    """Notes what was left out as it is damaged; refuses a source that has nothing else, or more of it than half."""
    removed, first = ledger.removed[number], {}
    for record in records:
        for reason, sentence in record["first"].items():
            first.setdefault(reason, sentence)
    read = sum(record["documents_read"] for record in records)
    unusable = {reason: removed[reason] for reason in _UNUSABLE if removed[reason]}
    most = sum(unusable.values())
    if most > _MOST_UNUSABLE * read:
        problem = next(sentence for reason, sentence in first.items() if reason in unusable)
        if most == read:
            raise InputError(f"{problem}; nothing in {source.name} can be used.")
        raise InputError(
            f"{most:,} of the {read:,} documents of {source.name} cannot be used, which is more than half; the first: "
            f"{problem}."
        )
    long = removed["too_long"]
    if long > read / 2 and not any(record["documents"] for record in records):
        raise InputError(
            f"{source.name} has no document that can be used, as {long:,} of {read:,} have more than "
            f"{formats.longest()}: put blank lines between the documents of a text file, or write one per line as JSON."
        )
    _check_deleted(source, records, options, ledger)
    for reason, sentence in first.items():
        told = f"{_left_out(removed[reason], source)} as {account.REASONS[reason][0].lower()}"
        ledger.notes.append(f"{told}{'. The first' if removed[reason] > 1 else ''}: {sentence}.")
    if long:
        ledger.notes.append(f"{_left_out(long, source)}: more than {formats.longest()}.")


def _left_out(number, source):
    return f"{counted(number, 'document')} of {source.name} {'was' if number == 1 else 'were'} left out"


def _check_deleted(source, records, options, ledger):
    """Refuses or notes a source of whose characters the normaliser deletes many."""
    deleted, characters = (sum(record[what] for record in records) for what in ("deleted", "characters"))
    if options.normalizer == "cramming":
        what, mend = "are not ASCII", "prepare it with --normalizer bert to keep them"
    elif options.strip_accents:
        what = "are accents and signs of vowels, private-use or invisible characters"
        mend = "prepare it with --nostrip_accents to keep the former"
    else:
        what, mend = "are private-use or invisible characters", "write letters in their place"
    problem = (
        f"the normaliser {options.normalizer} deletes {deleted / max(1, characters):.0%} of the characters of "
        f"{source.name}, which {what}: {mend}"
    )
    if deleted > _MOST_DELETED * characters:
        raise InputError(f"{problem}.")
    if deleted > _TOLD_DELETED * characters:
        ledger.notes.append(f"{problem}.")
