"""Files as the sources of a corpus read them."""

import bz2
import gzip
import lzma

import pyarrow as pa

from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources import text as sources

COMPRESS = {
    **{"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress},
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}


def parsed(path, block_bytes=2**20, **options):
    """The texts of a source, and why other documents cannot be used."""
    (source,) = sources.parse_sources(str(path), **options)
    texts, problems = [], []
    for block, _ in source.blocks(block_bytes):
        problems += [(reason, None) for reason in block.removed.elements()]
        for text, problem in formats.parse(block, options.get("text_field", "text")):
            texts.append(text) if problem is None else problems.append(problem)
    return texts, problems


def read(path, **options):
    texts, problems = parsed(path, **options)
    assert not problems
    return texts
