"""The first stage: text of any format becomes documents, in parts."""

import os

from budgetbert.command_line import InputError
from budgetbert.corpus import formats, passes
from budgetbert.corpus.parts import Parts, record_path, write_json
from budgetbert.corpus.sources import FileSource

# Parts are 1/64 of the text, so that all processes have work to the end, but no smaller than what starting a task is
# worth and no larger than what several processes hold in memory.
_PARTS, _LEAST_PART_BYTES, _MOST_PART_BYTES = 64, 2**19, 2**24


def read(job):
    """Reads what is left to read of the sources of a `Job`."""
    folder, done = job.folder("documents"), job.directory / "read.json"
    total = sum(source.total_bytes for source in job.sources) or None
    if not done.exists():
        with job.stages.stage("Reading", total) as tell:
            documents = characters = 0
            by_files = job.workers.reads_files
            records = _by_files(job, folder) if by_files else _by_blocks(job, folder)
            for record in records:
                documents += record["documents"]
                characters += record["characters"]
                tell(sum(source.bytes_read for source in job.sources), documents, characters)
        write_json(done, {})
    job.parts = Parts(folder)
    for record in job.parts.records:
        job.removed[record["source"]].update(record["removed"])
        for reason, examples in record["examples"].items():
            job.add_examples(reason, examples)
    _note_problems(job)


def _part_bytes(job):
    expected = sum(source.expected_bytes for source in job.sources)
    return min(_MOST_PART_BYTES, max(_LEAST_PART_BYTES, expected // _PARTS))


def _by_blocks(job, folder):
    """Reads the files in this process, whose workers parse what is read; yields the records of parts."""
    return job.workers.map(passes.ReadPart, (folder, job.options), _unread(job, folder))


def _by_files(job, folder):
    """Reads each file in a process of its own, then puts the parts of all files in order; yields their records."""
    for source in job.sources:
        if not isinstance(source, FileSource):
            raise InputError(f"{source.name} can only be read by this machine: give files, or leave --engine out.")
    files = [(number, *file) for number, source in enumerate(job.sources) for file in enumerate(source.files)]
    apart = job.folder("files")
    tasks = [(place, *file) for place, file in enumerate(files) if not record_path(apart, place).exists()]
    for _ in job.workers.map(ReadFile, (apart, job.options, _part_bytes(job)), tasks):
        pass
    index = 0
    for place in range(len(files)):
        parts = Parts(apart / f"{place:06d}")
        for number, record in enumerate(parts.records):
            for suffix in (".arrow", ".json"):
                linked = folder / f"{index:06d}{suffix}"
                linked.unlink(missing_ok=True)
                os.link(parts.folder / f"{number:06d}{suffix}", linked)
            yield record
            index += 1


class ReadFile:
    """Reads a file, and writes the parts of its documents into a folder of its own.

    Args:
        folder: `Path`.
        options: dict, as for `passes.ReadPart`.
        part_bytes: int. About what a part has.

    A task is a tuple of the number of the file among all, that of its source, that of the file in it, and the path.
    """

    def __init__(self, folder, options, part_bytes):
        self._folder, self._options, self._part_bytes = folder, options, part_bytes

    def __call__(self, task):
        place, source, number, path = task
        folder = self._folder / f"{place:06d}"
        folder.mkdir(exist_ok=True)
        read_part = passes.ReadPart(folder, self._options)
        blocks = FileSource(str(path), self._options["text_field"]).blocks(self._part_bytes)
        for index, (block, behind) in enumerate(blocks):
            behind = (number, behind[1]) if behind[0] == 0 else (number + 1, 0)
            read_part((index, source, [block], behind))
        write_json(record_path(self._folder, place), {})


def _unread(job, folder):
    """Yields the tasks of `ReadPart` that are not done; the files are read from the first of them on."""
    part_bytes, done = _part_bytes(job), Parts(folder)
    first, position, index = 0, None, len(done)
    if done.records:
        first, position = done.records[-1]["source"], done.records[-1]["next"]
    for number, source in enumerate(job.sources[first:], start=first):
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


def _note_problems(job):
    """Notes what was left out because it is damaged; refuses a source that has nothing else."""
    for number, source in enumerate(job.sources):
        records = [record for record in job.parts.records if record["source"] == number]
        first = {}
        for record in records:
            first = record["first"] | first
        removed = job.removed[number]
        if records and not any(record["documents"] for record in records):
            if first:
                raise InputError(f"{next(iter(first.values()))}; nothing in {source.name} can be used.")
            if removed["too_long"]:
                raise InputError(
                    f"{source.name} has no document of less than {formats.LONGEST_DOCUMENT_BYTES:,} bytes: put "
                    "blank lines between the documents of a text file, or write one per line as JSON."
                )
        for reason, sentence in first.items():
            job.notes.append(f"{removed[reason]:,} documents were left out as {reason}. The first: {sentence}.")
        if removed["too_long"]:
            job.notes.append(
                f"{removed['too_long']:,} documents of {source.name} were left out: they have over "
                f"{formats.LONGEST_DOCUMENT_BYTES:,} bytes."
            )
