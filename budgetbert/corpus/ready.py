"""Ready corpora: samples of token ids with their tokenizer become the rows of a prepared corpus.

Samples of one length are rows, and stay as they are; the few that are shorter, as the last of a file, are left out.
Samples of many lengths are documents: they are joined, with [SEP] behind each that does not end in one, and cut into
rows, as text is. Which samples are held out depends on their ids
alone. They are read twice, some at a time: first they are checked, so that nothing is written of what is damaged.
"""

import collections
import dataclasses
import shutil

import numpy as np

from budgetbert import files
from budgetbert.corpus import manifest, ordering, store
from budgetbert.corpus.options import Options
from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.stages.parts import mixed, write_array
from budgetbert.errors import InputError
from budgetbert.tokenization.published import read_tokenizer
from budgetbert.tokenization.vocabulary import read_vocabulary, special_ids, standalone_tokenizer

# The options that say something about ids; what a vocabulary of lines was made with is in the second.
_APPLY = ("vocabulary", "sequence_length", "order", "validation_fraction", "text_field", "split")
_NORMALIZER = ("normalizer", "lowercase", "strip_accents")
_LONGEST_SAMPLE = 2**24
# Samples are rows if so many of them have the length of the longest.
_SHARE_OF_ROWS = 0.99


def open_tokenizer(source, options):
    """Returns the vocabulary (list of str) and the `Normalizer` of ids, and a note (str) or `None`.

    Args:
        source: `sources.token_ids.TokenIds`.
        options: `Options`.

    Raises:
        InputError: if there is no tokenizer or none that can be read, or an option says nothing about ids.
    """
    path = options.vocabulary or source.tokenizer
    if path is None:
        raise InputError(
            f"{source.name} holds token ids, and neither tokenizer.json nor vocab.txt: put the tokenizer that they "
            "were made with beside them, or name it by --vocabulary."
        )
    described = str(path).endswith(".json")
    for field in dataclasses.fields(Options):
        applies = field.name in _APPLY or (field.name in _NORMALIZER and not described)
        if not applies and getattr(options, field.name) != field.default:
            raise InputError(
                f"{source.name} holds token ids, of which --{field.name} changes nothing any more: leave it out."
            )
    if not described:
        return read_vocabulary(path), options.make_normalizer(), None
    try:
        vocabulary, normalizer, differs = read_tokenizer(path)
    except ValueError as error:
        raise InputError(
            f"{path} cannot be read here ({str(error).rstrip('.')}): give the WordPiece that the ids were made with by "
            "--vocabulary."
        ) from error
    return vocabulary, normalizer, differs and f"{path}: {differs}."


def write_rows(corpus, source, tokenizer, options, stage):
    """Writes the rows of a ready corpus with its vocabulary; the counterpart of `prepare.prepare_rows` for text.

    Args:
        corpus: `Path` of the folder for them.
        source: `sources.token_ids.TokenIds`.
        tokenizer: what `open_tokenizer` returned.
        options: `Options`.
        stage: `staging.Staging`.

    Returns:
        dict, what the manifest says of the result.
    """
    entries, normalizer, note = tokenizer
    ledger = manifest.Ledger(1)
    ledger.notes += [note] if note else []
    ordering.check(options.order, entries)
    ids = special_ids(entries)
    with stage.progress.stage("Checking the ids") as show:
        found = _check(source, entries, ids, options, show)
    shutil.rmtree(corpus)  # What a killed preparation left.
    corpus.mkdir()
    splits = {split: _Split(corpus, split, found.row_length, entries, ids) for split in store.SPLITS}
    with stage.progress.stage("Writing the rows", found.samples) as show:
        done = 0
        for tokens, lengths, hashes in _samples(source, ids, found):
            for split, chosen in zip(store.SPLITS, (hashes > found.highest, hashes <= found.highest), strict=True):
                splits[split].add(tokens[np.repeat(chosen, lengths)], lengths[chosen], found.are_documents)
            done += len(lengths)
            show(done, done)
    for split in splits.values():
        split.finish()
    store.write_vocabulary(corpus / store.VOCABULARY, entries)
    files.write(corpus / "tokenizer.json", standalone_tokenizer(entries, normalizer).to_str(pretty=True))
    return _facts(corpus, source, found, splits, entries, normalizer, options, stage, ledger)


@dataclasses.dataclass
class _Found:
    """What the samples are.

    Attributes:
        samples, empty, short: int. How many are taken, how many have no id but [PAD], and how many are too short a row.
        are_documents: bool. Whether they have many lengths.
        row_length: int.
        highest: int, the highest hash of those that are held out.
    """

    samples: int
    empty: int
    short: int
    are_documents: bool
    row_length: int
    highest: int


def _check(source, entries, ids, options, show):
    """Reads all samples, and returns what was `_Found`.

    Raises:
        InputError: if an id is not in the vocabulary, or there are too few samples or too short ones.
    """
    samples, empty, by_length = 0, 0, collections.Counter()
    lowest, held = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for tokens, lengths in source.batches():
        if len(tokens) and not 0 <= tokens.min() <= tokens.max() < len(entries):
            wrong = tokens[(tokens < 0) | (tokens >= len(entries))][0]
            raise InputError(
                f"{source.name} holds the id {wrong}, and its vocabulary has {len(entries):,} entries: give the "
                "tokenizer that the ids were made with by --vocabulary."
            )
        if lengths.max(initial=0) > _LONGEST_SAMPLE:
            raise InputError(f"{source.name} has a sample of {lengths.max():,} ids: split it into documents.")
        number = len(lengths)
        tokens, lengths = _with_tokens(tokens, lengths, ids["[PAD]"])
        empty += number - len(lengths)
        samples += len(lengths)
        show(samples, samples)
        by_length.update(lengths.tolist())
        lowest = np.concatenate([lowest, _hashes(tokens, lengths)])
        held = np.concatenate([held, lengths])
        order = np.argsort(lowest, kind="stable")
        # Those of lowest hash that fill a row, of whatever length it will be, are the fewest to be held out.
        order = order[: np.searchsorted(np.cumsum(held[order]), options.sequence_length) + 1]
        lowest, held = lowest[order], held[order]
    if samples < 2:
        raise InputError(f"{source.name} holds {samples} samples with token ids: at least two are needed.")
    longest, length, short = max(by_length), options.sequence_length, 0
    are_documents = by_length[longest] < _SHARE_OF_ROWS * samples
    if not are_documents:
        if length not in (Options.sequence_length, longest):
            raise InputError(f"the rows of {source.name} have {longest} ids: leave --sequence_length out.")
        if not 8 <= longest <= 65_536:
            raise InputError(f"the rows of {source.name} have {longest} ids: rows of 8 to 65,536 can be trained on.")
        length, lowest, short = longest, lowest[held == longest][:1], samples - by_length[longest]
    highest = max(int(lowest[-1]) if len(lowest) else 0, int(options.validation_fraction * 2**64) - 1)
    return _Found(samples - short, empty, short, are_documents, length, highest)


def _samples(source, ids, found):
    """Yields the ids, the lengths and the hashes of the samples that are taken."""
    for tokens, lengths in source.batches():
        tokens, lengths = _with_tokens(tokens, lengths, ids["[PAD]"])
        if found.short:
            whole = lengths == found.row_length
            tokens, lengths = tokens[np.repeat(whole, lengths)], lengths[whole]
        yield tokens, lengths, _hashes(tokens, lengths)


def _with_tokens(tokens, lengths, pad):
    """Returns ids and lengths without those samples that have no id but [PAD]."""
    before = np.concatenate([[0], np.cumsum(tokens != pad)])
    ends = np.cumsum(lengths)
    kept = before[ends] > before[ends - lengths]
    return tokens[np.repeat(kept, lengths)], lengths[kept]


def _hashes(tokens, lengths):
    """Returns a hash (uint64) of the ids of each sample, none of which is empty."""
    if not len(lengths):
        return np.zeros(0, np.uint64)
    starts = np.cumsum(lengths) - lengths
    places = np.arange(len(tokens)) - np.repeat(starts, lengths)
    factors = mixed(np.arange(lengths.max()).astype(np.uint64), 3) | np.uint64(1)
    sums = np.add.reduceat((tokens + 1).astype(np.uint64) * factors[places], starts)
    return mixed(sums + lengths.astype(np.uint64), 4)


class _Split:
    """Writes the rows of a split, shard by shard.

    Attributes:
        shards: list of dict, what the manifest says of the shards.
        frequencies: int64 array. How often each entry occurs in the rows.
        samples: int.
        starts_with_cls: bool. Whether every row does.
    """

    def __init__(self, corpus, split, length, entries, ids):
        self._corpus, self._split, self._length, self._ids = corpus, split, length, ids
        self._dtype = token_dtype(len(entries))
        self._per_shard = store.rows_per_shard(length, self._dtype)
        self._pending, self._held = [], 0
        self.shards, self.frequencies = [], np.zeros(len(entries), np.int64)
        self.samples, self.starts_with_cls = 0, True

    @property
    def rows(self):
        """int."""
        return sum(shard["rows"] for shard in self.shards)

    def add(self, tokens, lengths, are_documents):
        """Adds samples, whose ids stand one after another; documents get the [SEP] that they lack."""
        self.samples += len(lengths)
        if are_documents and len(lengths):
            ends = np.cumsum(lengths)
            without = ends[tokens[ends - 1] != self._ids["[SEP]"]]
            tokens = np.insert(tokens, without, self._ids["[SEP]"])
        self._pending.append(tokens.astype(self._dtype))
        self._held += len(tokens)
        while self._held >= self._per_shard * self._length:
            self._write(self._per_shard)

    def finish(self):
        """Writes what is left; a rest shorter than a row is dropped."""
        if rows := self._held // self._length:
            self._write(rows)

    def _write(self, rows):
        joined = np.concatenate(self._pending)
        size = rows * self._length
        self._pending, self._held = [joined[size:]], len(joined) - size
        joined = joined[:size].reshape(rows, self._length)
        name = f"{self._split}-{len(self.shards):05d}.npy"
        write_array(self._corpus / name, joined, sync=True)
        # bincount makes int64 of what it counts, four times the shard, so it counts piece by piece.
        for some in np.array_split(joined, 64):
            self.frequencies += np.bincount(some.ravel(), minlength=len(self.frequencies))
        self.starts_with_cls &= bool((joined[:, 0] == self._ids["[CLS]"]).all())
        sha256 = files.sha256(self._corpus / name)
        self.shards.append({"file": name, "split": self._split, "rows": rows, "sha256": sha256})


def _facts(corpus, source, found, splits, entries, normalizer, options, stage, ledger):
    """Returns the parts of the manifest that tell what the corpus holds.

    Raises:
        InputError: if a split has no row, or the rows are of no use.
    """
    if not all(split.rows for split in splits.values()):
        raise InputError(
            f"{source.name} is too small: its {found.samples:,} documents do not fill a row of {found.row_length} ids "
            "for training and one for validation: give more, or make --sequence_length smaller."
        )
    frequencies = {name: split.frequencies for name, split in splits.items()}
    about_tokens, unknown_rate = manifest.of_tokens(source.name, entries, frequencies, ledger)
    ids = about_tokens["vocabulary"]["special_ids"]
    everywhere = sum(frequencies.values())
    if everywhere[ids["[MASK]"]]:
        ledger.notes.append(
            f"{everywhere[ids['[MASK]']]:,} of the ids are [MASK]: the model learns from text, which is masked anew at "
            "each use."
        )
    left_out = {"empty": found.empty, "short_row": found.short}
    shards = [shard for split in splits.values() for shard in split.shards]
    is_padded = bool(everywhere[ids["[PAD]"]])
    counts = {
        "documents": {name: split.samples for name, split in splits.items()},
        "tokens": {name: int(seen.sum() - seen[ids["[PAD]"]]) for name, seen in frequencies.items()},
        "rows": {name: split.rows for name, split in splits.items()},
        "documents_read": found.samples + found.empty + found.short,
        "documents_without_tokens": 0,
        "unknown_token_rate": unknown_rate,
    }
    manifest.check_held_out(counts, options.validation_fraction, ledger)
    train, validation = (splits[name].samples for name in store.SPLITS)
    told = {
        "documents_read": counts["documents_read"],
        "removed": {reason: number for reason, number in left_out.items() if number},
        "cleaned": {},
        "documents": found.samples,
        "training": train,
        "held_out": validation,
        "tokens": sum(counts["tokens"].values()),
        "tokenizer": str(options.vocabulary or source.tokenizer),
    }
    facts = {
        "normalizer": normalizer.config(),
        # Rows that hold [PAD] are attended to as those of sentences are.
        "rows_kind": "sentences" if is_padded else "packed",
        "row_start": "cls" if not is_padded and all(split.starts_with_cls for split in splits.values()) else "none",
        "order": options.order,
        "sequence_length": found.row_length,
        **about_tokens,
        "counts": counts,
        "filters": {},
        "source_counts": [told],
        "validation_fraction": options.validation_fraction,
        "shards": shards,
        "notes": ledger.notes,
    }
    if options.order in ordering.SORTED:
        train = frequencies["train"]
        facts["order_sha256"] = ordering.sort_rows(corpus, shards, options.order, entries, train, stage)
    return facts
