import gzip
import json
import os

import pyarrow as pa
import pyarrow.parquet
import pytest

from budgetbert.corpus.account import Account, short_names
from budgetbert.corpus.console import print_summary
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.report import render
from budgetbert.errors import InputError
from tests.pages import Page

pytestmark = pytest.mark.without_backend

SMALL = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


@pytest.fixture
def folder(tmp_path, make_documents):
    """A folder with 501 documents in files of all kinds, 108 that are left out, and 6 things that are not read."""
    documents, folder = make_documents(500), tmp_path / "text"
    (folder / "sub").mkdir(parents=True)
    lines = [json.dumps({"text": document}) for document in documents]
    (folder / "a.txt").write_bytes("\n\n".join(documents[:100]).encode() + b"\n\ncaf\xe9")
    (folder / "b.jsonl").write_text("\n".join([*lines[100:200], "{", '{"text": null}', *lines[100:200]]))
    (folder / "sub" / "c.json").write_text(json.dumps([json.loads(line) for line in lines[200:300]], indent=1))
    rows = [f'"{document}",{number}' for number, document in enumerate(documents[300:400])]
    table = "\n".join(["text,id", *rows, "text,id", "short", "\u00ad,1", "\u00ad\u00ad,1"])
    (folder / "d.csv.gz").write_bytes(gzip.compress(table.encode()))
    pyarrow.parquet.write_table(pa.table({"text": [*documents[400:], "tiny", None]}), folder / "e.parquet")
    for name in ("f.pdf", "sub/g.html", ".hidden.txt"):
        (folder / name).write_text("not read")
    (folder / ".git").mkdir()
    os.mkfifo(folder / "pipe.txt")
    (folder / "sub" / "link").symlink_to(folder)
    return folder


def test_the_account_adds_up_to_what_lies_in_the_sources(folder, tmp_path, make_documents, capsys):
    (tmp_path / "other.txt").write_text("\n\n".join(make_documents(50, seed=1)))
    corpus = prepare_corpus(f"{folder},{tmp_path}/other.txt", tmp_path / "corpus", min_characters=1, **SMALL)
    account = Account(corpus.manifest)
    entries = [name for _, folders, names in os.walk(folder) for name in (*folders, *names)]
    assert account.files.of_sources == [5, 1]
    # The folder `sub` is entered, and all else is either read or not.
    assert account.files.of_sources[0] + account.unread.of_sources[0] == len(entries) - 1 == 11
    assert account.read.of_sources == [501 + 108, 50]
    lost = {row.reason: row.of_sources for row in account.lost}
    assert lost == {
        "undecodable": [1, 0], "malformed": [2, 0], "empty": [2, 0], "duplicate": [100, 0],
        "repeated_header": [1, 0], "without_tokens": [2, 0],
    }  # fmt: skip
    for source in (0, 1):
        kept = account.training.of_sources[source] + account.held_out.of_sources[source]
        assert account.read.of_sources[source] == kept + sum(row.of_sources[source] for row in account.lost)
        assert kept == corpus.manifest["sources"][source]["documents"]
    assert account.training.together == corpus.manifest["counts"]["documents"]["train"]
    assert account.held_out.together == corpus.manifest["counts"]["documents"]["validation"]
    print_summary(corpus)
    shown, page = capsys.readouterr().out, Page(render(corpus)).text
    table = {line[:20].strip(): line[20:].split() for line in shown.splitlines()}
    assert table["documents read"] == ["609", "50", "659"]
    for row in (*account.lost, account.training, account.held_out):
        assert table[row.name.lower()][:3] == [f"{count or '–'}" for count in (*row.of_sources, row.together)]
        assert row.name in page
    for told in ("2 of another kind (f.pdf, sub/g.html)", "2 hidden (.git, .hidden.txt)", "pipe.txt", "sub/link"):
        assert told in shown
    for told in ("f.pdf, sub/g.html", ".git, .hidden.txt", "pipe.txt", "sub/link"):
        assert told in page


def test_documents_without_tokens_have_no_part_in_the_lengths(tmp_path, make_documents):
    documents, empty = make_documents(100), ["\u00ad" * (2 + number) for number in range(20)]
    (tmp_path / "a.txt").write_text("\n\n".join([*documents, *empty]))
    for rows in ("packed", "pairs"):
        (told,) = prepare_corpus(str(tmp_path / "a.txt"), tmp_path / rows, rows=rows, **SMALL).manifest["sources"]
        assert (told["documents"], told["removed"]) == (100, {"without_tokens": 20})
        assert told["characters"] == sum(map(len, documents))
        by_power = [0] * 32
        for document in documents:
            by_power[len(document).bit_length() - 1] += 1
        assert told["lengths_by_power_of_two"] == by_power


def test_much_that_is_left_out_is_told(tmp_path, make_documents):
    documents = make_documents(100)
    for number, told in ((100, True), (20, False)):
        (tmp_path / "a.txt").write_text("\n\n".join([*documents, *documents[:number]]))
        notes = prepare_corpus(str(tmp_path / "a.txt"), tmp_path / f"corpus{number}", **SMALL).manifest["notes"]
        sentence = f"100 of 200 documents of {tmp_path}/a.txt are left out (50%), 100 of them as duplicates."
        assert [note for note in notes if "left out" in note] == [sentence] * told


def test_what_cleaning_changed_is_counted_by_source_and_kind(tmp_path, make_documents, capsys):
    documents = make_documents(40)
    (tmp_path / "a.txt").write_text("\n\n".join([*documents[:20], "itâ€™s the cafÃ© of {{ name }}", "print()\x07 x"]))
    article = "<doc id={}>\nT\n\n{} (, ) <b>bold</b>\n</doc>\n"
    (tmp_path / "wiki_00").write_text("".join(article.format(i, text) for i, text in enumerate(documents[20:])))
    sources = f"{tmp_path}/a.txt,{tmp_path}/wiki_00"
    corpus = prepare_corpus(sources, tmp_path / "auto", **SMALL)
    first, second = (source["cleaned"] for source in corpus.manifest["sources"])
    assert first == {"mojibake": 1, "control_characters": 1}
    assert second == {"empty_brackets": 20, "tags": 20}
    print_summary(corpus)
    assert "mojibake in 1, control characters in 1, tags in 20, empty brackets in 20" in " ".join(
        capsys.readouterr().out.split()
    )
    page = Page(render(corpus)).text
    assert "What cleaning changed" in page and "Empty brackets they were dropped – 20 20" in page
    corpus = prepare_corpus(sources, tmp_path / "wiki", clean="wiki", **SMALL)
    assert corpus.manifest["sources"][0]["cleaned"] == {"mojibake": 1, "control_characters": 1} | {
        "templates": 1, "empty_brackets": 1,
    }  # fmt: skip
    corpus = prepare_corpus(sources, tmp_path / "none", clean="none", **SMALL)
    assert [source["cleaned"] for source in corpus.manifest["sources"]] == [{}, {}]


def test_a_corpus_that_is_all_held_out_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("a b c\n\nd e f")
    with pytest.raises(InputError, match=r"all 2 documents that are kept of .*a\.txt are held out, so none is left"):
        prepare_corpus(str(tmp_path / "a.txt"), tmp_path / "corpus", vocabulary_size=256, sequence_length=8, workers=1)
    assert not list(tmp_path.glob("corpus*"))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json", "a.csv", "a.parquet"])
@pytest.mark.parametrize(("bad", "total"), [(1, 1000), (501, 1000), (1000, 1000)])
def test_a_source_of_which_more_than_half_is_unreadable_is_refused(tmp_path, make_documents, name, bad, total):
    texts = [document.encode() for document in make_documents(total)]
    texts[total - bad :] = [b"caf\xe9"] * bad
    path = tmp_path / name
    if name.endswith("parquet"):
        column = pa.Array.from_buffers(pa.string(), total, pa.array(texts).buffers())
        pyarrow.parquet.write_table(pa.table({"text": column}), path)
    elif name.endswith("txt"):
        path.write_bytes(b"\n\n".join(texts))
    elif name.endswith("csv"):
        path.write_bytes(b"text\n" + b"\n".join(b'"' + text + b'"' for text in texts))
    else:
        objects = [b'{"text": "' + text + b'"}' for text in texts]
        path.write_bytes(b"[" + b",".join(objects) + b"]" if name.endswith("json") else b"\n".join(objects))
    if bad == 1:
        manifest = prepare_corpus(str(path), tmp_path / "corpus", **SMALL).manifest
        assert manifest["sources"][0]["removed"] == {"undecodable": 1}
        (note,) = (note for note in manifest["notes"] if "undecodable" in note)
        assert note.startswith(f"1 document of {path} was left out as undecodable: {path}, ")
    else:
        told = rf"{bad:,} of the {total:,} documents of .* cannot be used, .* not UTF-8|not UTF-8.*nothing in .* can be"
        with pytest.raises(InputError, match=told):
            prepare_corpus(str(path), tmp_path / "corpus", **SMALL)
        assert not list(tmp_path.glob("corpus*"))


def test_names_are_as_short_as_they_can_be():
    assert short_names(["/data/corpus/novels", "/data/tiny/novels", "/data/wiki/", "hf:allenai/c4:en"]) == [
        "corpus/novels", "tiny/novels", "wiki", "c4:en",
    ]  # fmt: skip
    assert short_names(["demo"]) == ["demo"]
    assert short_names(["text.txt", "text.txt"]) == ["text.txt", "text.txt"]


def test_halves_of_surrogate_pairs_cost_no_document(tmp_path, make_documents):
    lines = [
        f'{{"text": "{text}{half}"}}' for text, half in zip(make_documents(100), ["\\ud83d", ""] * 50, strict=True)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    for level in ("auto", "none"):
        manifest = prepare_corpus(str(tmp_path / "a.jsonl"), tmp_path / level, clean=level, **SMALL).manifest
        (source,) = manifest["sources"]
        assert (source["documents"], source["removed"], source["cleaned"]) == (100, {}, {"surrogates": 50})


def test_a_corpus_that_was_prepared_before_has_its_account(tmp_path, make_documents):
    (tmp_path / "a.txt").write_text("\n\n".join(make_documents(100)))
    manifest = prepare_corpus(str(tmp_path / "a.txt"), tmp_path / "corpus", **SMALL).manifest
    new = Account(manifest)
    (source,) = manifest["sources"]
    for key in ("training", "held_out", "files_read", "files_unread", "cleaned"):
        del source[key]
    old = Account(manifest)
    for row in ("files", "unread", "read", "training", "held_out"):
        assert getattr(old, row).together == getattr(new, row).together
