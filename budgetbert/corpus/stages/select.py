"""Which documents are kept, and which of them are held out for validation."""

import numpy as np

from budgetbert.corpus.packing import token_dtype
from budgetbert.corpus.stages import duplicates, filters
from budgetbert.corpus.stages.parts import EXAMPLE_CHARACTERS, EXAMPLES, mixed, write_array
from budgetbert.errors import InputError
from budgetbert.tokenization.encoder import Encoder

# Documents of so many times a row's words are looked through for those whose tokens fill it.
_LOOKED_THROUGH = 8
_TOLD_SHARE = 0.05  # How far a source may be from its share of the characters before that is noted.


def select(documents, sources, weights, options, staging, ledger):
    """Leaves out documents, reason by reason; each leaves a bool array over all of them.

    Args:
        documents: `parts.Documents`.
        sources: list of str, their names.
        weights: list of float, the share of the characters that each source is to have, or `None`.
        options: `Options`.
        staging: `Staging`.
        ledger: `manifest.Ledger`.

    Returns:
        `parts.Documents`.

    Raises:
        InputError: if fewer than two documents are kept, or shares cannot be had.
    """

    def without(reason, find, *arguments):
        path = staging.directory / f"kept-{reason}.npy"
        if not path.exists():
            write_array(path, find(documents, *arguments))
        remaining = documents.keeping(path)
        lost = documents.kept & ~remaining.kept
        for index, record in enumerate(documents.records):
            if count := int(np.count_nonzero(lost[documents.range(index)])):
                ledger.leave_out(record["source"], reason, count)
        examples = documents.texts_at(np.flatnonzero(lost)[:EXAMPLES])
        ledger.add_examples(reason, [text[:EXAMPLE_CHARACTERS] for text in examples])
        return remaining

    if options.dedup != "none":
        with staging.progress.stage("Finding duplicates"):
            documents = without("duplicate", duplicates.exact)
    if options.dedup == "near":
        documents = without("near_duplicate", duplicates.near, staging)
    if options.substring_bytes:
        documents = duplicates.drop_repeats(documents, options.substring_bytes, options.normalizer, staging)
        documents = without("repeated", _without_emptied, options.min_characters)
    if options.filter_threshold is not None:
        documents = without("incompressible", filters.without_incompressible, options, staging)
    if weights:
        documents = without("over_weight", _weighed, sources, weights)
        _check_shares(documents, sources, weights, ledger)
    number, read = int(np.count_nonzero(documents.kept)), sum(record["documents_read"] for record in documents.records)
    if number < 2:
        what = "only one document" if number else "no text"
        left = f" that is kept, of {read:,}" if read > 1 else ""
        told = f"{', '.join(sources)} holds {what}{left}"
        raise InputError(f"{told}: at least two documents are needed, one for validation.")
    return documents


def _without_emptied(documents, min_characters):
    lengths = [documents.numbers(index)[1] for index in range(len(documents.records))]
    return documents.kept & (np.concatenate(lengths) >= max(1, min_characters))


def _weighed(documents, sources, weights):
    """Leaves out, at random by hash, what sources have too much for their shares of the characters."""
    bins = 2**20
    spread = np.zeros((len(sources), bins))  # Of the characters, over the highest 20 bits of the mixed hash.
    for record, hashes, lengths, _ in documents.kept_numbers():
        spread[record["source"]] += np.bincount(_bins(hashes), lengths, bins)
    characters, weights = spread.sum(axis=1), np.array(weights)
    for source, count in zip(sources, characters, strict=True):
        if not count:
            raise InputError(f"{source} has no document that is kept, so it can have no share.")
    wanted = weights * (characters / weights).min()
    # These are the bins that fit as a whole; of the source that is scarcest all of them do.
    limits = (np.cumsum(spread, axis=1) <= wanted[:, None] * (1 + 1e-9)).sum(axis=1)
    kept = np.array(documents.kept)
    for index, record in enumerate(documents.records):
        kept[documents.range(index)] &= _bins(documents.numbers(index)[0]) < limits[record["source"]]
    return kept


def _bins(hashes):
    return (mixed(hashes, 2) >> np.uint64(44)).astype(np.int64)


def _check_shares(documents, sources, weights, ledger):
    """Refuses shares that leave a source nothing, and notes those that whole documents could not reach."""
    if len(sources) == 1:
        ledger.notes.append(f"{sources[0]} is the only source: its weight changes nothing.")
        return
    characters = np.zeros(len(sources))
    for record, _, lengths, _ in documents.kept_numbers():
        characters[record["source"]] += lengths.sum()
    shares = characters / characters.sum()
    for source, wanted, share in zip(sources, weights, shares, strict=True):
        if not share:
            raise InputError(
                f"{source} has no document short enough for its share of {wanted:.1%}: give it a larger weight, "
                "or split its documents."
            )
        if abs(share - wanted) > _TOLD_SHARE:
            ledger.notes.append(
                f"{source} has {share:.1%} of the characters, not {wanted:.1%}: its documents are long."
            )


def highest_held_out(documents, entries, options):
    """Returns the highest hash (int) of the documents that are held out.

    They are the share that the options name, and in any case as many as fill a row with their tokens.

    Args:
        documents: `parts.Documents`.
        entries: list of str, the vocabulary.
        options: `Options`.
    """
    lowest, words, places = np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.int64)
    for index in range(len(documents.records)):
        selected, (hashes, _, counts) = documents.selected(index), documents.numbers(index)
        lowest, words = np.concatenate([lowest, hashes[selected]]), np.concatenate([words, counts[selected]])
        places = np.concatenate([places, np.flatnonzero(selected) + documents.starts[index]])
        order = np.argsort(lowest, kind="stable")
        order = order[: np.searchsorted(np.cumsum(words[order]), _LOOKED_THROUGH * options.sequence_length) + 1]
        lowest, words, places = lowest[order], words[order], places[order]
    encode = Encoder(entries, options.make_normalizer(), token_dtype(len(entries)))
    # [SEP] stands behind each.
    tokens = np.cumsum([len(ids) + 1 for ids in encode(documents.texts_at(places))])
    last = min(int(np.searchsorted(tokens, options.sequence_length)), len(places) - 1)
    threshold = int(options.validation_fraction * 2**64) - 1  # Hashes are spread evenly over 64 bits.
    return max(int(lowest[last]), threshold)
