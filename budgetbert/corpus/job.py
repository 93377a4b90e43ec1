"""What the stages of a preparation share: the text, the options, the processes, and what is known so far."""

import collections

from budgetbert.corpus import passes
from budgetbert.corpus.parts import read_json, record_path, write_json
from budgetbert.corpus.vocabulary import train_vocabulary

# Distinct pieces that are counted for a vocabulary, about 600 MB. Beyond, the rarest are dropped: what occurs once in
# several GB of text never gets an entry of its own.
_COUNTED_PIECES = 4_000_000
_LARGE_TEXT = 2**28  # characters; a process that has worked on so many holds some 500 MB


class Job:
    """A preparation that goes on where one with the same text and options ended.

    Args:
        sources: list of what `sources.parse_sources` returns.
        directory: `Path`, for what is kept between the stages. What is to be published goes into its folder `corpus`.
        options: dict, see `prepare.prepare_corpus`.
        normalizer: `budgetbert.normalization.Normalizer`.
        workers: `parallel.Workers`.
        stages: `console.Stages`.

    Attributes:
        corpus: `Path` of the folder `corpus`.
        names: str, the names of the sources.
        parts: `parts.Parts`, the documents, once they are read.
        kept: bool array over all documents, those that were not left out; `kept_path` is where it is stored.
        removed: list of a `collections.Counter` for each source: how many documents were left out, by reason.
        examples: dict of reason to the starts of the first documents that were left out.
        notes: list of str, what the user should know.
    """

    def __init__(self, sources, directory, options, normalizer, workers, stages):
        self.sources, self.directory, self.options = sources, directory, options
        self.normalizer, self.workers, self.stages = normalizer, workers, stages
        self.names = ", ".join(source.name for source in sources)
        self.corpus = self.folder("corpus")
        self.parts = self.kept = self.kept_path = None
        self.removed = [collections.Counter() for _ in sources]
        self.examples = collections.defaultdict(list)
        self.notes = []

    def folder(self, name):
        """Returns the `Path` of a folder for what a stage leaves."""
        folder = self.directory / name
        folder.mkdir(exist_ok=True)
        return folder

    def add_examples(self, reason, examples):
        """Keeps the first few of all `examples` (list of str) of what was left out."""
        self.examples[reason] += examples[: passes.EXAMPLES - len(self.examples[reason])]

    def numbers(self):
        """Yields for each part its number, and hashes, characters and words of the documents that are kept in it."""
        for index in range(len(self.parts)):
            kept = self.kept[self.parts.range(index)]
            yield index, *(numbers[kept] for numbers in self.parts.numbers(index))

    def each(self, description, folder, make, arguments, groups):
        """Applies a pass to the parts that have no record yet.

        Args:
            description: str, for the progress.
            folder: `Path`, for what the pass leaves.
            make: one of the classes of `passes`.
            arguments: tuple, its arguments behind documents, kept and folder.
            groups: list of lists of numbers of parts, each of which is a task.
        """
        left = [group for group in groups if not record_path(folder, group[0]).exists()]
        if not left:
            return
        arguments = (self.parts.folder, self.kept_path, folder, *arguments)
        total = sum(record["characters"] for record in self.parts.records)
        waiting = sum(self.parts.records[part]["characters"] for group in left for part in group)
        with self.stages.stage(description, total) as tell:
            documents = characters = 0
            for group, _ in zip(left, self.workers.map(make, arguments, left), strict=True):
                documents += sum(self.parts.records[part]["documents"] for part in group)
                characters += sum(self.parts.records[part]["characters"] for part in group)
                tell(total - waiting + characters, documents, characters)

    def trained(self, name, size, characters):
        """Returns the entries (list of str) of a vocabulary, trained on a sample of about so many characters."""
        path = self.directory / f"{name}.json"
        if not path.exists():
            folder = self.folder(f"pieces_for_{name}")
            kept = sum(int(lengths.sum()) for _, _, lengths, _ in self.numbers())
            arguments = (self.normalizer, characters / max(kept, 1))
            self.each("Counting words", folder, passes.CountPieces, arguments, self.single_parts())
            with self.stages.stage(f"Training the {name}"):  # by a worker, whose memory is given back
                (entries,) = self.workers.map(_TrainVocabulary, (folder, len(self.parts)), [size])
                write_json(path, entries)
            self.release_memory()
        return read_json(path)

    def release_memory(self):
        """Ends the worker processes, if what they hold is worth the second that it takes to start others."""
        if sum(record["characters"] for record in self.parts.records) > _LARGE_TEXT:
            self.workers.release()

    def single_parts(self):
        """Returns groups for `each`: every part is a task."""
        return [[index] for index in range(len(self.parts))]


class _TrainVocabulary:
    """Trains a vocabulary on the pieces that `passes.CountPieces` counted in `parts` parts; a task is the size."""

    def __init__(self, folder, parts):
        self._folder, self._parts = folder, parts

    def __call__(self, size):
        pieces = collections.Counter()
        for index in range(self._parts):
            pieces.update(read_json(record_path(self._folder, index)))
            _drop_rare(pieces)
        return train_vocabulary(pieces, size)


def _drop_rare(pieces):
    """Makes room in a Counter that has grown too large by dropping what was seen once, then twice ..."""
    seen = 0
    while len(pieces) > _COUNTED_PIECES:
        seen += 1
        for piece in [piece for piece, count in pieces.items() if count <= seen]:
            del pieces[piece]
