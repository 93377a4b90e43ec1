import bz2
import gzip
import json
import lzma
import os
import random

import pyarrow as pa
import pyarrow.parquet
import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources import text as sources
from budgetbert.errors import InputError
from tests.corpus.sources.reading import COMPRESS, parsed, read

pytestmark = pytest.mark.without_backend


def test_blank_lines_separate_the_documents_of_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff\n\none\nstill one\n \t\n\n\ntwo\r\n\r\nthree".encode())
    assert [document.split() for document in read(path)] == [["one", "still", "one"], ["two"], ["three"]]


@pytest.mark.parametrize("blank", ["", "\u3000", "\u00a0 \u00a0", " \u3000\t\r", "\ufeff", "\n\u3000\n\n"])
def test_lines_of_spaces_of_any_kind_are_blank(tmp_path, blank):
    path = tmp_path / "a.txt"
    path.write_text(f"\u3000東京\nタワー\n{blank}\n\u3000two\n{blank}\n", encoding="utf-8", newline="")
    for block_bytes in (1, 2**20):
        assert [text.strip() for text in read(path, block_bytes=block_bytes)] == ["東京\nタワー", "two"]


def test_lines_may_end_in_carriage_returns_alone(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\rstill one\r\rtwo\r \rthree\r")
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "four"}\r{"text": "five"}\r')
    assert read(tmp_path) == ["one\nstill one", "two", "three\n", "four", "five"]
    # Of other files a return is white space: that of "\r\r\n" is one of a conversion too many.
    (tmp_path / "a.txt").write_bytes(b"one\r\r\nstill one\r\r\n\r\r\ntwo")
    assert [text.split() for text in read(tmp_path / "a.txt")] == [["one", "still", "one"], ["two"]]


@pytest.mark.parametrize("compression", sorted(COMPRESS))
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.csv.xz", "a.json.bz2", "a.parquet", "a.txt.zst"])
def test_a_file_that_is_compressed_in_another_way_than_its_name_says_is_refused(tmp_path, name, compression):
    if name.endswith(compression):
        return
    (tmp_path / name).write_bytes(COMPRESS[compression](b"one"))
    told = rf"{name} is compressed with {compression}, .*: rename it so that its name ends in \.{compression}"
    with pytest.raises(InputError, match=told):
        read(tmp_path / name)


def test_a_file_may_be_one_document(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("\ufeffone\n\nstill one\n\n\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"two\n\n" * 200_000 + b"still two"))
    (tmp_path / "c.jsonl").write_text('{"text": "three"}\n{"text": "four"}\n')
    first, second, *rest = read(tmp_path, document="file", block_bytes=1000)
    assert (first.split(), rest) == (["one", "still", "one"], ["three", "four"])
    assert (len(second.split()), second[-9:]) == (200_002, "still two")
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**19)
    assert parsed(tmp_path / "b.txt.gz", document="file", block_bytes=1000) == ([], [("too_long", None)])


def test_a_file_of_one_document_is_cut_into_rows_as_one(tmp_path, make_documents):
    documents = make_documents(300)
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("\n\n".join(documents[10 * number : 10 * number + 10]))
    options = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}
    whole = prepare_corpus(str(tmp_path), tmp_path.with_name("whole"), document="file", **options)
    cut = prepare_corpus(str(tmp_path), tmp_path.with_name("cut"), **options)
    assert [sum(corpus.manifest["counts"]["documents"].values()) for corpus in (whole, cut)] == [30, 300]


def test_a_line_of_json_is_a_document(tmp_path):
    path = tmp_path / "a.jsonl"
    objects = [{"text": "one\n\nstill one", "title": "t"}, {"text": " \n"}, {"id": 3, "text": "two"}]
    path.write_text("\n".join(map(json.dumps, objects)) + "\n\n")
    assert read(path) == ["one\n\nstill one", " \n", "two"]
    path.write_text('{"body": "one"}\n')
    assert read(path, text_field="body") == ["one"]


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_compressed_files_read_like_plain_ones(tmp_path, make_documents, kind, compression):
    documents = make_documents(100)
    lines = [json.dumps({"text": document}) for document in documents]
    text = "\n\n".join(documents) if kind == "txt" else "\n".join(lines)
    plain = tmp_path / f"a.{kind}"
    plain.write_text(text, encoding="utf-8")
    packed = tmp_path / f"b.{kind}.{compression}"
    packed.write_bytes(COMPRESS[compression](text.encode()))
    assert [document.strip() for document in read(packed)] == documents
    assert read(packed) == read(plain)
    # files that were joined are one file
    packed.write_bytes(COMPRESS[compression](text.encode()) + COMPRESS[compression](b"\n\n" + text.encode()))
    assert len(read(packed)) == 200


def test_c4_is_read_as_it_is_published(tmp_path):
    path = tmp_path / "c4-train.00000-of-01024.json.gz"
    path.write_bytes(gzip.compress(b'{"text": "one", "timestamp": "2019", "url": "u"}\n'))
    assert read(path) == ["one"]


def test_a_column_of_parquet_holds_the_documents(tmp_path, make_documents):
    documents = make_documents(700)
    table = pa.table({"id": range(700), "body": documents})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    assert read(tmp_path / "a.parquet", text_field="body", block_bytes=1000) == documents
    with pytest.raises(InputError, match=r"a\.parquet has no column 'text' but id, body: .*--text_field"):
        read(tmp_path / "a.parquet")
    with pytest.raises(InputError, match="the column 'id' holds int64, not text"):
        read(tmp_path / "a.parquet", text_field="id")
    damaged = tmp_path / "b.parquet"
    damaged.write_bytes((tmp_path / "a.parquet").read_bytes()[:-50])
    with pytest.raises(InputError, match=r"b\.parquet is a damaged parquet file"):
        read(damaged)


def test_two_columns_of_one_name_are_refused(tmp_path):
    columns = [pa.array(["one"]), pa.array(["two"])]
    pyarrow.parquet.write_table(pa.Table.from_arrays(columns, ["text", "text"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet has 2 columns 'text': rename all but one"):
        read(tmp_path / "a.parquet")


def test_a_file_of_nulls_holds_empty_documents(tmp_path):
    pyarrow.parquet.write_table(pa.table({"text": ["one"]}), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"text": pa.nulls(3)}), tmp_path / "b.parquet")
    assert read(tmp_path) == ["one", "", "", ""]


def test_files_with_byte_order_marks_can_be_joined(tmp_path):
    line = b'\xef\xbb\xbf{"text": "one"}\n'
    (tmp_path / "a.jsonl").write_bytes(2 * line + b"\xef\xbb\xbf\n")
    assert read(tmp_path / "a.jsonl") == ["one", "one"]


@pytest.mark.parametrize(
    "kind",
    [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
    ids=["large", "view", "codes"],
)
def test_a_column_of_parquet_may_hold_any_kind_of_string(tmp_path, kind):
    column = pa.array(["one", "two", None, "one"]).cast(kind)
    pyarrow.parquet.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    assert pyarrow.parquet.read_schema(tmp_path / "a.parquet").field("text").type == kind
    assert read(tmp_path / "a.parquet") == ["one", "two", "", "one"]


def test_a_value_of_parquet_that_is_not_utf8_is_counted(tmp_path):
    values = pa.array([b"one", b"t\xffo", b"three"])
    column = pa.Array.from_buffers(pa.string(), 3, values.buffers())
    pyarrow.parquet.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    texts, problems = parsed(tmp_path / "a.parquet")
    assert texts == ["one", "three"]
    ((reason, told),) = problems
    assert reason == "undecodable" and "a.parquet, row 2: the text is not UTF-8" in told


def test_articles_of_wikiextractor_are_read_without_their_titles(tmp_path):
    folder = tmp_path / "text" / "AA"
    folder.mkdir(parents=True)
    article = '<doc id="{0}" url="https://en.wikipedia.org/wiki?curid={0}" title="T{0}">\n'
    article += "T{0}\n\nOne {0} &lt; 2.\n\nTwo.\n\n</doc>\n"
    (folder / "wiki_00").write_text("".join(map(article.format, range(3))))
    (folder / "wiki_01.bz2").write_bytes(bz2.compress(article.format(3).encode()))
    (folder / "wiki_02").write_text('{"id": "4", "url": "u", "title": "T4", "text": "One 4."}\n')
    expected = [*(f"One {i} < 2.\n\nTwo." for i in range(4)), "One 4."]
    for block_bytes in (1, 2**20):
        assert [text.strip() for text in read(tmp_path / "text", block_bytes=block_bytes)] == expected


def test_what_is_left_of_articles_of_wikiextractor_is_told(tmp_path):
    article = "<doc id={0}>\nT{0}\n\nOne of <doc>\n and two.\n</doc>\n"
    cut_off = "<doc id=2>\nT2\n\nCut off.\n"
    path = tmp_path / "wiki_00"
    path.write_text(f"before\n{article.format(1)}\nbetween\n\n{cut_off}{article.format(3)}</doc>\nbehind")
    texts, problems = parsed(path)
    assert texts == ["\nOne of <doc>\n and two."] * 2
    assert [reason for reason, _ in problems] == ["malformed"] * 4
    lines = [int(sentence.split(" line ")[1].partition(":")[0]) for _, sentence in problems]
    assert lines == [1, 9, 11, 21]
    path.write_bytes(path.read_bytes() + b"\n" + article.format(4).encode().replace(b"two", b"\xff") + b"<doc id=5>\nT")
    texts, problems = parsed(path)
    assert len(texts) == 2
    assert [reason for reason, _ in problems] == [*["malformed"] * 4, "undecodable", "malformed"]


DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="en">
<siteinfo><namespaces><namespace key="0" /><namespace key="1">Talk</namespace></namespaces></siteinfo>
{}</mediawiki>"""
PAGE = "<page><title>{0}</title><ns>{1}</ns><id>1</id>{2}<revision><text>{3}</text></revision></page>\n"


@pytest.mark.parametrize("name", ["d.xml", "enwiki-20240101-pages-articles1.xml-p1p41242.bz2", "d.xml.bz2"])
def test_articles_of_a_dump_are_read_as_plain_text(tmp_path, name):
    pages = [
        PAGE.format("Paris", 0, "", "'''Paris''' is the [[capital city|capital]] of [[France]]."),
        PAGE.format("Lutetia", 0, '<redirect title="Paris" />', "#REDIRECT [[Paris]]"),
        PAGE.format("Talk:Paris", 1, "", "I think that it is."),
        PAGE.format("Rome", 0, "", "Rome is old.{{citation needed}}"),
    ]
    data = DUMP.format("".join(pages)).encode()
    (tmp_path / name).write_bytes(bz2.compress(data) if name.endswith("bz2") else data)
    texts, problems = parsed(tmp_path / name)
    assert texts == ["Paris is the capital of France.", "Rome is old."]
    assert sorted(reason for reason, _ in problems) == ["other_namespaces", "redirects"]


def test_an_article_that_is_nested_too_deeply_is_counted(tmp_path):
    deep = "Text " + "{{" * 3000 + "}}" * 3000
    pages = [PAGE.format("Deep", 0, "", deep), PAGE.format("Rome", 0, "", "Rome is old.")]
    (tmp_path / "d.xml").write_text(DUMP.format("".join(pages)))
    texts, problems = parsed(tmp_path / "d.xml")
    assert texts == ["Rome is old."]
    assert [reason for reason, _ in problems] == ["malformed"]
    assert "d.xml: the markup of the article 'Text {{{{" in problems[0][1]


def test_a_broken_dump_is_refused(tmp_path):
    whole = DUMP.format("".join(PAGE.format(f"P{i}", 0, "", f"Text {random.random()}.") for i in range(500))).encode()
    (tmp_path / "a.xml.bz2").write_bytes(bz2.compress(whole)[:-100])
    (tmp_path / "b.xml").write_bytes(whole[:-200])
    (tmp_path / "c.xml").write_text("<html></html>")
    for name, told in (
        ("a.xml.bz2", "cannot be read further"),
        ("b.xml", "line 50"),
        ("c.xml", "not a MediaWiki dump"),
    ):
        with pytest.raises(InputError, match=told) as error:
            read(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


def test_a_folder_is_read_recursively_in_the_order_of_its_paths(tmp_path):
    for name in ("b/z.txt", "a/y.txt", "a/b/c.jsonl", "c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(json.dumps({"text": name}) if name.endswith("jsonl") else name)
    (tmp_path / "image.png").write_bytes(b"\x89PNG")
    assert read(tmp_path) == ["a/b/c.jsonl", "a/y.txt", "b/z.txt", "c.txt"]
    assert read(f"{tmp_path}/**/*.txt") == ["a/y.txt", "b/z.txt", "c.txt"]
    assert read(f"{tmp_path}/[ab]/?.txt") == ["a/y.txt", "b/z.txt"]


def test_what_is_not_read_of_a_folder_or_a_pattern_is_told(tmp_path):
    names = ("a.txt", "b.doc", "c.pdf", "d.text", "f.xlsx", "g", "h.md", ".hidden.txt", "._a.txt", ".git/i.txt")
    for name in (*names, "sub/j.TXT"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    os.mkfifo(tmp_path / "pipe.txt")
    assert read(tmp_path) == ["a.txt", "sub/j.TXT"]
    told = sources.FileSource(str(tmp_path)).told_files()
    assert told["files_read"] == {"txt": {"number": 2, "names": ["a.txt", "sub/j.TXT"]}}
    assert told["files_unread"] == {
        "kind": {"number": 6, "names": ["b.doc", "c.pdf", "d.text", "f.xlsx", "g"]},
        "special": {"number": 1, "names": ["pipe.txt"]},
        "hidden": {"number": 3, "names": ["._a.txt", ".git", ".hidden.txt"]},
    }
    assert read(f"{tmp_path}/*") == ["a.txt"]
    unread = sources.FileSource(f"{tmp_path}/*").unread
    assert (len(unread["kind"]), unread["special"], unread["hidden"]) == (6, [tmp_path / "pipe.txt"], [])
    assert unread["folder"] == [tmp_path / "sub"]
    assert read(f"{tmp_path}/**") == ["a.txt", "sub/j.TXT"]
    assert not sources.FileSource(f"{tmp_path}/**").unread["folder"]
    assert read(tmp_path / ".hidden.txt") == [".hidden.txt"]  # as it is named
    assert sources.FileSource(str(tmp_path / "a.txt")).told_files()["files_unread"] == {}


def test_a_name_that_is_not_utf8_can_be_told(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    open(os.fsencode(tmp_path) + b"/caf\xe9\nau lait.html", "w").close()
    told = sources.FileSource(str(tmp_path)).told_files()["files_unread"]
    assert told["kind"]["names"] == ["caf\ufffd au lait.html"]


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        ("{}/pipe.txt", "pipe.txt is a pipe, a socket or a device"),
        ("{}/pipes", "pipes holds no text file that can be read"),
        ("{}/h", r"holds no text file that can be read: .* are, unless they are hidden\."),
        ("{}/f*", r"f\* matches folders alone: name the folder above"),
    ],
)
def test_a_source_of_which_nothing_is_read_is_refused(tmp_path, corpus, told):
    for name in ("pipes", "h", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "h" / ".a.txt").write_text("one")
    os.mkfifo(tmp_path / "pipe.txt")
    os.mkfifo(tmp_path / "pipes" / "pipe.txt")
    with pytest.raises(InputError, match=told):
        sources.FileSource(corpus.replace("{}", str(tmp_path)))


def test_links_to_folders_are_followed_once(tmp_path):
    text, other = tmp_path / "text", tmp_path / "other"
    for name in ("text/a/one.txt", "other/two.txt"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    (text / "b").symlink_to(other)
    (text / "c").symlink_to(other)
    (other / "loop").symlink_to(text)
    assert read(text) == ["text/a/one.txt", "other/two.txt"]
    source = sources.FileSource(str(text))
    assert [str(path.relative_to(text)) for path in source.files] == ["a/one.txt", "b/two.txt"]
    assert source.unread["link"] == [text / "b" / "loop", text / "c"]


def test_the_case_of_a_name_does_not_matter(tmp_path):
    (tmp_path / "A.TXT").write_text("one")
    (tmp_path / "B.Jsonl.GZ").write_bytes(gzip.compress(b'{"text": "two"}'))
    (tmp_path / "C.JSON.ZST").write_bytes(COMPRESS["zst"](b'{"text": "three"}'))
    assert read(tmp_path) == ["one", "two", "three"]


def test_a_folder_that_cannot_be_read_is_refused(monkeypatch, tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("one")
    scan = os.scandir

    def refuse(path):  # as for any user but root
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(InputError, match="closed cannot be read: Permission denied"):
        sources.FileSource(str(tmp_path))


@pytest.mark.parametrize("block_bytes", [1, 100, 5000])
def test_reading_goes_on_from_any_position(tmp_path, make_documents, block_bytes):
    (tmp_path / "a.txt").write_text("\n\n".join(make_documents(50)))
    (tmp_path / "b.txt").touch()
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"text": "one"}\n' * 50))
    pyarrow.parquet.write_table(pa.table({"text": make_documents(50)}), tmp_path / "d.parquet")
    (source,) = sources.parse_sources(str(tmp_path))
    whole = list(source.blocks(block_bytes))
    for index in range(0, len(whole), max(1, len(whole) // 7)):
        rest = list(source.blocks(block_bytes, json.loads(json.dumps(whole[index][1]))))
        assert rest == whole[index + 1 :]


def test_blocks_are_as_large_as_asked_for_and_hold_whole_documents(tmp_path, make_documents):
    documents = make_documents(30_000)  # 8 MB, and read in chunks
    (tmp_path / "a.txt").write_text("\n\n".join(documents))
    (source,) = sources.parse_sources(str(tmp_path))
    blocks = [block for block, _ in source.blocks(2**21)]
    assert all(abs(block.size - 2**21) < 2**20 for block in blocks[:-1])
    assert [text for block in blocks for text, _ in formats.parse(block, "text")] == documents


def test_identity_follows_the_content_and_not_the_name(tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path, text in zip(paths, ("one", "one", "two"), strict=True):
        path.write_text(text)
    first, same, other = (sources.FileSource(str(path)).identity()["sha256"] for path in paths)
    assert first == same != other


def test_the_bytes_read_reach_the_total(tmp_path, make_documents):
    (tmp_path / "a.txt").write_text("\n\n".join(make_documents(20)))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": "two"}).encode()))
    (source,) = sources.parse_sources(str(tmp_path))
    assert len(list(source.blocks(2**20))) == 2
    assert source.bytes_read == source.total_bytes


@pytest.mark.parametrize(
    ("name", "data", "texts", "told"),
    [
        ("a.jsonl", b'{"text": "one"}\n{"text": \n', 1, "a.jsonl, line 2: this is not JSON"),
        ("a.jsonl", b'{"text": "one"}\n{"body": "two"}\n', 1, 'a.jsonl, line 2: the object has no string "text"'),
        ("a.jsonl", b'{"text": 7}\n', 0, 'a.jsonl, line 1: the object has no string "text"'),
        ("a.jsonl", b'{"text": "one"}\n{"text": "two", "id": ' + b"7" * 5000 + b"}\n", 1, "line 2: this is not JSON"),
        ("a.jsonl", b'["text"]\n', 0, 'a.jsonl, line 1: the object has no string "text"'),
        ("a.jsonl", b'{"text": "1"}\n{"text": "\xff"}\n', 1, "a.jsonl, byte 11 of line 2: the text is not UTF-8"),
        ("a.txt", b"zero\n\none\ntw\xff\n\nthree", 2, "a.txt, byte 3 of line 4: the text is not UTF-8"),
        (
            "wiki_00",
            b"<doc id=1>\nT\n\none\n</doc>\n<doc id=2>\nT\n\n\xff\n</doc>\n",
            1,
            "byte 1 of line 9: the text is not",
        ),
        ("wiki_00", b"<doc id=1>\nT\n\none\n</doc>\n<doc id=2>\nT", 1, "wiki_00, line 6: this is not an article"),
        ("wiki_00", b"before\n<doc id=1>\nT\n\none\n</doc>\n", 1, "wiki_00, line 1: this is not an article"),
    ],
)
def test_a_document_that_cannot_be_used_is_told_with_its_line(tmp_path, name, data, texts, told):
    (tmp_path / name).write_bytes(data)
    found, problems = parsed(tmp_path / name)
    assert len(found) == texts
    ((_, sentence),) = problems
    assert told in sentence
    assert str(tmp_path / name) in sentence


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
@pytest.mark.parametrize("compression", sorted(COMPRESS))
@pytest.mark.parametrize("damage", ["cut", "no archive", "changed"])
def test_a_damaged_archive_is_refused_with_its_name_and_offset(tmp_path, make_documents, kind, compression, damage):
    data = COMPRESS[compression]("\n\n".join(make_documents(2000)).encode())
    middle = len(data) // 2
    changed = {
        "cut": data[:-20],
        "no archive": b"not an archive",
        "changed": data[:middle] + b"XYZ" + data[middle + 3 :],
    }
    path = tmp_path / f"a.{kind}.{compression}"
    path.write_bytes(changed[damage])
    with pytest.raises(InputError, match=r"behind byte [\d,]+ of its text: the file cannot be read further") as error:
        parsed(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("compression", ["bz2", "xz"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "wiki_00", "d.xml"])
def test_what_follows_a_stream_and_is_no_sound_one_stops_the_reading(tmp_path, name, compression):
    if name == "d.xml":  # like the dumps of many streams: the first holds a whole document of XML
        parts = [DUMP.format(PAGE.format("Rome", 0, "", "Rome is old.")).encode(), b"\n"]
    else:
        one = {"a.txt": "one {}\n\n", "a.jsonl": '{{"text": "{}"}}\n', "wiki_00": "<doc id={0}>\nT\n\n{0}\n</doc>\n"}
        parts = ["".join(map(one[name].format, range(100 * i, 100 * i + 100))).encode() for i in (0, 1)]
    path = tmp_path / f"{name}.{compression}"
    first, second = map(COMPRESS[compression], parts)
    path.write_bytes(first + second)
    assert len(read(path)) == (1 if name == "d.xml" else 200)
    flipped = [second[:place] + bytes([second[place] ^ 1]) + second[place + 1 :] for place in (0, 1, 2, 4, 8)]
    for odd in (*flipped, second[:-8], second[:3], b"<html>503</html>\n" + second, second + b"<html>", b"\n"):
        path.write_bytes(first + odd)
        with pytest.raises(InputError, match="the file cannot be read further") as error:
            read(path)
        assert str(path) in str(error.value)
        begins = len(first + second) if odd.startswith(second) else len(first)
        assert f"from byte {begins:,} on" in str(error.value) or "ends before its stream" in str(error.value)


def test_padding_between_streams_of_xz_is_allowed(tmp_path):
    first, second = lzma.compress(b"one\n\n"), lzma.compress(b"two")
    path = tmp_path / "a.txt.xz"
    for zeros in (0, 4, 8, 2**17):
        path.write_bytes(first + bytes(zeros) + lzma.compress(b"") + second + bytes(zeros))
        assert [text.strip() for text in read(path)] == ["one", "two"]
    for odd in (first + bytes(3) + second, first + second + bytes(2**17 + 2)):
        path.write_bytes(odd)
        with pytest.raises(InputError, match="zero bytes follow a stream, which is no multiple of 4"):
            read(path)


@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_line_of_100_mb_is_left_out_and_counted(tmp_path, make_documents, place):
    documents = make_documents(10)
    lines = [json.dumps({"text": document}) for document in documents]
    lines[place] = '{"text": "' + "a very long line " * 6_000_000 + '"}'
    (tmp_path / "a.jsonl.zst").write_bytes(COMPRESS["zst"]("\n".join(lines).encode()))
    texts, problems = parsed(tmp_path / "a.jsonl.zst")
    assert texts == documents[:place] + documents[place + 1 :]
    assert problems == [("too_long", None)]


def test_a_source_without_any_usable_document_is_refused(monkeypatch, tmp_path, make_documents):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**20)
    good = tmp_path / "good.txt"
    good.write_text("\n\n".join(make_documents(50)))
    (tmp_path / "utf16.txt").write_bytes("one\n\ntwo".encode("utf-16"))
    (tmp_path / "field.jsonl").write_text('{"body": "one"}\n' * 9)
    (tmp_path / "long.txt").write_text("one line " * 400_000)
    for name, told in (
        ("utf16.txt", "byte 1 of line 1: the text is not UTF-8"),
        ("field.jsonl", 'no string "text".*--text_field'),
        ("long.txt", r"no document that can be used, as 1 of 1 have more than 1,048,576 bytes .*: put blank lines"),
    ):
        with pytest.raises(InputError, match=told):
            prepare_corpus(f"{good},{tmp_path / name}", tmp_path / "corpus", workers=1)


def test_what_cannot_be_used_is_counted_and_noted(tmp_path, make_documents):
    (tmp_path / "a.txt").write_bytes("\n\n".join(make_documents(50)).encode() + b"\n\ncaf\xe9\n\ntwo\n\n\xff")
    corpus = prepare_corpus(
        str(tmp_path / "a.txt"), tmp_path / "corpus", workers=1, vocabulary_size=256, sequence_length=32
    )
    assert corpus.manifest["sources"][0]["removed"] == {"undecodable": 2}
    (note,) = (note for note in corpus.manifest["notes"] if "undecodable" in note)
    path = tmp_path / "a.txt"
    assert note.startswith(f"2 documents of {path} were left out as undecodable. The first: {path}, byte 4 of line")
    assert corpus.manifest["filters"]["undecodable"]["examples"] == ["caf\ufffd", "\ufffd"]


@pytest.mark.parametrize("style", ["parquet", "jsonl"])
def test_data_sets_of_the_hub_are_streamed(tmp_path, make_documents, style):
    documents = make_documents(300)
    folder = tmp_path / "data"
    folder.mkdir()
    for split, part in (("train", documents), ("test", documents[:7])):
        if style == "parquet":
            pyarrow.parquet.write_table(
                pa.table({"content": part, "id": range(len(part))}), folder / f"{split}.parquet"
            )
        else:
            lines = (json.dumps({"content": document, "id": 1}) for document in part)
            (folder / f"{split}.jsonl").write_text("\n".join(lines))
    assert read(f"hf:{folder}", text_field="content", split="test") == documents[:7]
    (source,) = sources.parse_sources(f"hf:{folder}", text_field="content")
    blocks = list(source.blocks(5000))
    assert [text for block, _ in blocks for text in block.data] == documents
    for index in (0, 3, len(blocks) - 1):
        rest = source.blocks(5000, json.loads(json.dumps(blocks[index][1])))
        assert [block for block, _ in rest] == [block for block, _ in blocks[index + 1 :]]
    with pytest.raises(InputError, match="has no column 'text' but content, id: name one of them with --text_field"):
        read(f"hf:{folder}")
    with pytest.raises(InputError, match=r"cannot be opened: .*validation"):
        read(f"hf:{folder}", text_field="content", split="validation")


@pytest.mark.parametrize(("values", "kind"), [([["one"], ["two"]], "list"), ([0, 7], "int")])
def test_a_column_of_the_hub_that_is_no_text_is_refused(tmp_path, values, kind):
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pa.table({"text": values}), tmp_path / "data" / "train.parquet")
    with pytest.raises(InputError, match=f"the column 'text' holds a value of type {kind}, not text: .*--text_field"):
        read(f"hf:{tmp_path / 'data'}")


def test_an_unreachable_hub_is_told_at_once(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"^hf:allenai/c4:en: the Hugging Face hub cannot be reached \(.*\): check"):
        sources.parse_sources("hf:allenai/c4:en")


@pytest.mark.parametrize(
    ("corpus", "told"),
    [
        ("demo,", "names an empty source"),
        ("@0.5", "names an empty source|no such file"),
        ("{}/gone", "there is no such file or folder"),
        ("{}/*.gone", "there is no such file or folder"),
        ("hf:", "names no data set"),
        ("{}/a.txt@0.7,demo", "demo has no weight and another source has"),
        ("{}/a.txt@0,demo@1", "a.txt has the weight 0"),
    ],
)
def test_sources_that_make_no_sense_are_refused(tmp_path, corpus, told):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(InputError, match=told):
        sources.parse_sources(corpus.replace("{}", str(tmp_path)))


def test_weights_become_shares(tmp_path):
    for name in ("a.txt", "b@2.txt"):
        (tmp_path / name).write_text("one")
    first, second = sources.parse_sources(f"{tmp_path}/a.txt@3,{tmp_path}/b@2.txt@1")
    assert (first.weight, second.weight) == (0.75, 0.25)
    (unweighted,) = sources.parse_sources(f"{tmp_path}/b@2.txt")
    assert unweighted.weight is None


def test_a_prepared_corpus_is_not_taken_for_text(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("manifest.json", "vocabulary.txt"):
        (tmp_path / "sub" / name).write_text("{}")
    with pytest.raises(InputError, match="is a prepared corpus"):
        sources.FileSource(str(tmp_path))


def test_a_folder_without_text_and_a_file_of_another_kind_are_refused(tmp_path):
    (tmp_path / "table.xls").write_text("a,b")
    for path in (tmp_path, tmp_path / "table.xls"):
        with pytest.raises(InputError, match=r"\.txt, \.jsonl"):
            sources.FileSource(str(path))


def test_long_rows_of_parquet_are_decoded_few_at_a_time(tmp_path):
    """64 texts of 4 MB, each another, beside a short one."""
    texts = [chr(ord("a") + number % 26) * 2**22 + str(number) for number in range(64)]
    columns = {"number": range(65), "text": [*texts, "short"], "text.more": ["x"] * 65}
    # A page for each, as all of a page are decompressed at once.
    options = {"use_dictionary": False, "write_batch_size": 1}
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "a.parquet", **options)
    (source,) = sources.parse_sources(str(tmp_path / "a.parquet"))
    before = pa.default_memory_pool()
    pool = pa.system_memory_pool()
    pa.set_memory_pool(pool)
    try:
        lengths = [len(text) for block, _ in source.blocks(2**20) for text, _ in block.data]
    finally:
        pa.set_memory_pool(before)
    assert lengths == [2**22 + len(str(number)) for number in range(64)] + [5]
    # All of them have 268 MB.
    assert pool.max_memory() < 2**26
