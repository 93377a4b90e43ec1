"""Damaged files: each is read whole, or what is lost is counted, or the preparation ends with one sentence.

What no reader can tell, and is not asked for: a bit that makes another character of one in a plain text, or text of a
blank line; a plain file that was cut between two documents, or a compressed one between two streams; a change within a
frame of .zst or a page of parquet without a checksum. So what is compared is what the damaged bytes hold, by other
means than ours: as many documents have to be read or counted.
"""

import random
import time

import pyarrow as pa
import pytest

from budgetbert.corpus.account import Account
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from tests.corpus import damaged_files
from tests.corpus.sources.reading import parsed

pytestmark = pytest.mark.without_backend

_MOST_SECONDS = 30


def check_sentence(error, path):
    told = str(error)
    assert told.isprintable() and len(told) < 1500, told
    assert str(path) in told, told


def outcome(path):
    """The texts and the reasons of what is left out, or the `InputError`; in a short time."""
    started = time.process_time()
    try:
        texts, problems = parsed(path)
        reasons = [reason for reason, _ in problems if reason != "empty_file"]
        for _, sentence in problems:
            assert sentence is None or (str(path) in sentence and sentence.isprintable()), sentence
        return texts, reasons
    except InputError as error:
        check_sentence(error, path)
        return error
    finally:
        assert time.process_time() - started < _MOST_SECONDS


def check_held(name, data, found):
    """What was found in a file is what its bytes hold."""
    expected = damaged_files.held(name, data)
    if isinstance(found, InputError):
        # Formats of which nothing is left out but whole files, and headers.
        is_compressed = "is compressed with" in str(found)
        assert expected is None or name in ("a.csv", "a.tsv", "a.xml", "a.parquet") or is_compressed, found
        return
    texts, reasons = found
    if expected is None:
        assert reasons, "it is no longer what its name says, and that is not told"
    elif name == "wiki_00":
        assert len(texts) + len(reasons) >= expected
    else:
        # Spaces of a kind alone are a document to one and blank to another.
        assert expected <= len(texts) + len(reasons) <= expected + 2 * (name == "a.txt")


def check(seed, folder):
    """Makes the file of a seed, reads it and checks what is found; returns what happened (str)."""
    draw = random.Random(seed)
    name = draw.choice(damaged_files.NAMES)
    documents = damaged_files.make_documents(draw)
    damage = draw.choice(damaged_files.DAMAGES)
    data = damage(damaged_files.written(name, documents, draw), draw)
    compression = None if name == "a.parquet" else draw.choice([None, None, *damaged_files.COMPRESS])
    if draw.random() < 0.1:
        # The name is that of another format.
        name = draw.choice([other for other in damaged_files.NAMES if other != "a.parquet"])
        damage = None
    path = folder / f"{seed}-{name}" if name != "wiki_00" else folder / name
    path.write_bytes(data)
    found = outcome(path)
    if damage is damaged_files.untouched:
        assert [text.split() for text in found[0]] == [text.split() for text in documents]
        assert not found[1]
    else:
        check_held(name, data, found)
        if damage is damaged_files.flipped and name in ("a.csv", "a.tsv") and not isinstance(found, InputError):
            # A quote or a line end that is lost joins two rows, and these are what is told.
            assert len(found[0]) + len(found[1]) >= len(documents) - 3
    if compression:
        plain, stream = found, damaged_files.packed(data, compression, draw)
        damage = draw.choice(damaged_files.DAMAGES)
        archive = path.with_name(f"{path.name}.{compression}")
        archive.write_bytes(damage(stream, draw))
        found = outcome(archive)
        if not isinstance(found, InputError) and compression == "zst" and damage is not damaged_files.untouched:
            # pyarrow writes no checksums.
            content = pa.CompressedInputStream(pa.BufferReader(archive.read_bytes()), "zstd").read()
            path.write_bytes(content)
            plain = outcome(path)
        if isinstance(found, InputError):
            assert damage is not damaged_files.untouched or isinstance(plain, InputError)
        elif damage is damaged_files.cut or archive.read_bytes() == stream + stream:
            # Between two streams, or twice all.
            assert len(found[0]) <= 2 * len(plain[0])
        else:
            # What was glued to the plain file may itself be compressed.
            assert found == plain or damage is damaged_files.glued or "is compressed with" in str(plain)
        archive.unlink()
    path.unlink()
    if isinstance(found, InputError):
        return "refused"
    return "counted" if found[1] else "whole"


@pytest.mark.slow
def test_a_damaged_file_is_read_whole_or_what_is_lost_is_told(tmp_path):
    happened = {check(seed, tmp_path) for seed in range(60)}
    assert happened == {"whole", "counted", "refused"}


@pytest.mark.soak
@pytest.mark.parametrize("start", range(60, 2060, 100))
def test_two_thousand_damaged_files_are_read_whole_or_what_is_lost_is_told(tmp_path, start):
    for seed in range(start, start + 100):
        try:
            check(seed, tmp_path)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_a_preparation_of_a_damaged_file_ends_with_a_corpus_that_adds_up_or_one_sentence(
    tmp_path, make_documents, seed
):
    draw, name = random.Random(seed), damaged_files.NAMES[seed % len(damaged_files.NAMES)]
    (tmp_path / "text").mkdir()
    (tmp_path / "good.txt").write_text("\n\n".join(make_documents(100)))
    data = damaged_files.written(name, damaged_files.make_documents(draw), draw)
    (tmp_path / "text" / name).write_bytes(draw.choice(damaged_files.DAMAGES[1:])(data, draw))
    sources, options = f"{tmp_path}/good.txt,{tmp_path}/text", {"vocabulary_size": 256, "sequence_length": 32}
    try:
        corpus = prepare_corpus(sources, tmp_path / "corpus", workers=1, **options)
    except InputError as error:
        check_sentence(error, tmp_path)
        assert not list(tmp_path.glob("corpus*"))
        return
    account = Account(corpus.manifest)
    for place in (0, 1):
        kept = account.training.of_sources[place] + account.held_out.of_sources[place]
        assert account.read.of_sources[place] == kept + sum(row.of_sources[place] for row in account.lost)
