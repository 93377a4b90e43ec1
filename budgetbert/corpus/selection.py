"""Which documents are kept, and which of them are held out for validation."""

import numpy as np

from budgetbert.command_line import InputError
from budgetbert.corpus import deduplication, passes
from budgetbert.corpus.parts import Parts, mixed, record_path, write_array

# What the filter's vocabulary is trained on, as it decides nothing but a ratio.
_FILTER_VOCABULARY_CHARACTERS = 2**26
_FILTER_ENTRIES = 32_768  # where a vocabulary is given
_TOLD_SHARE = 0.05  # how far a source may be from its share of the characters before that is noted


def select(job):
    """Leaves out documents of a `Job`, stage by stage: each leaves a bool array over all of them."""
    job.source_of = np.repeat(
        np.array([record["source"] for record in job.parts.records], np.int64), np.diff(job.parts.starts)
    )
    job.kept, job.kept_path = np.ones(job.parts.documents, bool), job.directory / "kept-read.npy"
    if not job.kept_path.exists():
        write_array(job.kept_path, job.kept)
    dedup, t = job.options["dedup"], job.options["filter"]
    if dedup != "none":
        _select(job, "duplicate", lambda: _without_duplicates(job))
    if dedup == "near":
        _select(job, "near_duplicate", lambda: _without_near_duplicates(job))
    if dedup.startswith("substring:"):
        _drop_repeats(job, int(dedup.partition(":")[2]))
        _select(job, "repeated", lambda: _without_emptied(job))
    if t is not None:
        _select(job, "incompressible", lambda: _compressible(job, t))
    if job.options["weights"]:
        _select(job, "over_weight", lambda: _weighed(job))
        _check_shares(job)
    documents = int(np.count_nonzero(job.kept))
    if documents < 2:
        what = "only one document" if documents else "no text"
        left = f" that is kept, of {job.parts.documents_read:,}" if job.parts.documents_read > 1 else ""
        raise InputError(f"{job.names} holds {what}{left}: at least two documents are needed, one for validation.")


def _select(job, reason, decide):
    path = job.directory / f"kept-{reason}.npy"
    if not path.exists():
        write_array(path, decide())
    kept = np.load(path, allow_pickle=False)
    lost = np.flatnonzero(job.kept & ~kept)
    for number, count in zip(*np.unique(job.source_of[lost], return_counts=True), strict=True):
        job.removed[number][reason] += int(count)
    job.add_examples(reason, [job.parts.example(place) for place in lost[: passes.EXAMPLES]])
    job.kept, job.kept_path = kept, path


def _without_duplicates(job):
    with job.stages.stage("Finding duplicates"):
        return deduplication.exact(job.parts, job.kept)


def _without_near_duplicates(job):
    folder = job.folder("signatures")
    job.each("Computing signatures", folder, deduplication.Signatures, (), job.single_parts())
    with job.stages.stage("Finding near-duplicates", len(job.parts)) as tell:
        return deduplication.near(job.parts, job.kept, folder, tell)


def _drop_repeats(job, length):
    folder = job.folder("without_repeats")
    groups = deduplication.groups(job.parts)
    with job.stages.stage("Dropping repeats", len(groups)) as tell:
        drop = deduplication.DropRepeats(job.parts.folder, job.kept_path, folder, length)
        documents = characters = 0
        for done, group in enumerate(groups, start=1):  # one at a time, as each takes GBs of memory
            if not all(record_path(folder, index).exists() for index in group):
                drop(group)
            documents += sum(job.parts.records[index]["documents"] for index in group)
            characters += sum(job.parts.records[index]["characters"] for index in group)
            tell(done, documents, characters)
    job.parts = Parts(folder)


def _without_emptied(job):
    least = max(1, job.options["min_characters"])
    lengths = [job.parts.numbers(index)[1] for index in range(len(job.parts))]
    return job.kept & (np.concatenate(lengths) >= least)


def _compressible(job, t):
    wanted = job.options["vocabulary"]
    size = wanted if isinstance(wanted, int) else _FILTER_ENTRIES
    entries = job.trained("filter", size, _FILTER_VOCABULARY_CHARACTERS)
    folder = job.folder("compressible")
    arguments = (job.normalizer, entries, t)
    job.each("Filtering", folder, passes.FilterCompressible, arguments, job.single_parts())
    return np.concatenate([np.load(folder / f"{index:06d}.npy") for index in range(len(job.parts))])


def _weighed(job):
    """Leaves out, at random by hash, what sources have too much for their shares of the characters."""
    characters, bins = np.zeros(len(job.sources)), 2**20
    spread = np.zeros((len(job.sources), bins))  # of the characters, over the highest 20 bits of the mixed hash
    for index, hashes, lengths, _ in job.numbers():
        places = (mixed(hashes, 2) >> np.uint64(44)).astype(np.int64)
        spread[job.parts.records[index]["source"]] += np.bincount(places, lengths, bins)
    characters = spread.sum(axis=1)
    weights = np.array(job.options["weights"])
    for source, count in zip(job.sources, characters, strict=True):
        if not count:
            raise InputError(f"{source.name} has no document that is kept, so it can have no share.")
    wanted = weights * (characters / weights).min()
    # the bins that fit, whole; of the source that is scarcest all of them
    limits = (np.cumsum(spread, axis=1) <= wanted[:, None] * (1 + 1e-9)).sum(axis=1)
    kept = job.kept.copy()
    for index, record in enumerate(job.parts.records):
        places = mixed(job.parts.numbers(index)[0], 2) >> np.uint64(44)
        kept[job.parts.range(index)] &= places < limits[record["source"]]
    return kept


def _check_shares(job):
    """Refuses shares that leave a source nothing, and notes those that whole documents could not reach."""
    if len(job.sources) == 1:
        job.notes.append(f"{job.names} is the only source: its weight changes nothing.")
        return
    characters = np.zeros(len(job.sources))
    for index, _, lengths, _ in job.numbers():
        characters[job.parts.records[index]["source"]] += lengths.sum()
    shares = characters / characters.sum()
    for source, wanted, share in zip(job.sources, job.options["weights"], shares, strict=True):
        if not share:
            raise InputError(
                f"{source.name} has no document short enough for its share of {wanted:.1%}: give it a larger weight, "
                "or split its documents."
            )
        if abs(share - wanted) > _TOLD_SHARE:
            job.notes.append(
                f"{source.name} has {share:.1%} of the characters, not {wanted:.1%}: its documents are long."
            )


def highest_held_out(job):
    """The highest hash of the documents that are held out."""
    length = job.options["sequence_length"]
    lowest, words = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for _, hashes, _, counts in job.numbers():
        lowest, words = np.concatenate([lowest, hashes]), np.concatenate([words, counts])
        order = np.argsort(lowest, kind="stable")
        # as many as fill a row; words, because a document has at least as many tokens
        order = order[: np.searchsorted(np.cumsum(words[order]), length) + 1]
        lowest, words = lowest[order], words[order]
    threshold = int(job.options["validation_fraction"] * 2**64) - 1  # hashes are spread evenly over 64 bits
    if int(lowest[-1]) > threshold:
        threshold = int(lowest[-1])
        job.notes.append("so many documents of lowest hash are held out that they fill a row.")
    return threshold
