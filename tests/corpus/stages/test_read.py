import json

import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources.blocks import CHUNK
from budgetbert.corpus.stages import read as reading
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend

SMALL = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


def lines_of(documents):
    return [json.dumps({"text": document}) for document in documents]


def test_the_first_is_that_which_stands_first(monkeypatch, tmp_path, make_documents):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**12)
    lines = lines_of(make_documents(4000))
    # They are in different parts.
    lines[3], lines[2000:] = "{", ['{"text": "\xff"}'] * 2000
    assert sum(map(len, lines)) > 2 * CHUNK
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines), encoding="latin-1")
    told = r"2,001 of the 4,000 documents .* the first: .*a\.jsonl, line 4: this is not JSON"
    with pytest.raises(InputError, match=told):
        prepare_corpus(str(path), tmp_path / "corpus", **SMALL)


def test_a_header_that_is_repeated_is_no_damage(tmp_path, make_documents):
    (tmp_path / "a.txt").write_text("\n\n".join(make_documents(100)))
    (tmp_path / "b.csv").write_text("text,id\n" * 3 + "short,1\n")
    manifest = prepare_corpus(
        f"{tmp_path}/a.txt,{tmp_path}/b.csv", tmp_path / "out", min_characters=9, **SMALL
    ).manifest
    assert manifest["sources"][1]["removed"] == {"repeated_header": 2, "too_short": 1}
    told = f"2 documents of {tmp_path}/b.csv were left out as repeated headers. The first: {tmp_path}/b.csv, line 2: "
    assert [note for note in manifest["notes"] if note.startswith(told)]


def test_a_source_that_is_empty_for_another_reason_is_not_called_damaged(tmp_path, make_documents):
    (tmp_path / "a.txt").write_text("\n\n".join(make_documents(100)))
    (tmp_path / "b.jsonl").write_text("\n".join([*lines_of(["short"] * 9), "{"]))
    options = {"min_characters": 9, **SMALL}
    manifest = prepare_corpus(f"{tmp_path}/a.txt,{tmp_path}/b.jsonl", tmp_path / "out", **options).manifest
    assert manifest["sources"][1]["removed"] == {"malformed": 1, "too_short": 9}
    with pytest.raises(InputError, match=r"b\.jsonl holds no text that is kept, of 10"):
        prepare_corpus(f"{tmp_path}/b.jsonl", tmp_path / "alone", **options)


def test_one_document_is_told_as_one(monkeypatch, tmp_path, make_documents):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**12)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([*lines_of([*make_documents(100), "long " * 2**12]), "{", *["[]"] * 2]))
    notes = prepare_corpus(str(path), tmp_path / "one", **SMALL).manifest["notes"]
    assert f"1 document of {path} was left out: more than 4,096 bytes (of a column, characters)." in notes
    assert sum(note.startswith(f"3 documents of {path} were left out as malformed. The first: ") for note in notes) == 1
    path.write_text("\n".join([*lines_of(make_documents(100)), "{"]))
    notes = prepare_corpus(str(path), tmp_path / "two", **SMALL).manifest["notes"]
    assert (
        sum(note.startswith(f"1 document of {path} was left out as malformed: {path}, line 101") for note in notes) == 1
    )
