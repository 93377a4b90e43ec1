import collections

import numpy as np
import pytest

from budgetbert.corpus.options import Options
from budgetbert.corpus.stages import parts
from budgetbert.corpus.stages.select import highest_held_out
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS

pytestmark = pytest.mark.without_backend


def test_candidates_for_validation_are_read_once_a_part(monkeypatch, tmp_path):
    """Three parts of documents of one to nine words, each word a token."""
    draw = np.random.default_rng(0)
    hashes, sizes = draw.integers(0, 2**64, 300, dtype=np.uint64), draw.integers(1, 10, 300)
    for index in range(3):
        here = slice(100 * index, 100 * index + 100)
        texts = [" ".join(["word"] * size) for size in sizes[here]]
        parts.write_documents(tmp_path / f"{index:06d}.arrow", texts, hashes[here].tolist(), sizes[here].tolist())
        parts.write_json(parts.record_path(tmp_path, index), parts.sizes(texts))
    documents, read = parts.Documents(tmp_path), collections.Counter()
    original = parts.Documents.texts

    def texts(self, index, selected):
        read[index] += 1
        return original(self, index, selected)

    monkeypatch.setattr(parts.Documents, "texts", texts)
    options = Options(sequence_length=128, validation_fraction=0.0, vocabulary_size=256)
    order = np.argsort(hashes)
    last = np.searchsorted(np.cumsum(sizes[order] + 1), 128)  # [SEP] stands behind each.
    assert 10 < last < 50
    assert highest_held_out(documents, [*SPECIAL_TOKENS, "word"], options) == hashes[order][last]
    assert read == {0: 1, 1: 1, 2: 1}
    assert documents.texts_at([250, 3, 250]) == ["word" + " word" * (sizes[place] - 1) for place in (250, 3, 250)]
