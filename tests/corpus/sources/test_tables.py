import csv
import io

import pytest

from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources.blocks import CHUNK
from budgetbert.errors import InputError
from tests.corpus.sources.reading import COMPRESS, parsed, read

pytestmark = pytest.mark.without_backend

HARD = ['a "quoted" word', "a, comma\tand a tab", "two\nlines", "two\r\nlines", "a\rreturn", "東京 😀", '"', "\0"]


def table(documents, dialect="excel", **options):
    file = io.StringIO(newline="")
    writer = csv.writer(file, dialect, **options)
    writer.writerow(["id", "text", "more"])
    writer.writerows([number, document, "x"] for number, document in enumerate(documents))
    return file.getvalue().encode()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.csv", {}),
        ("a.csv", {"lineterminator": "\n", "quoting": csv.QUOTE_ALL}),
        ("a.csv", {"lineterminator": "\r", "quoting": csv.QUOTE_ALL}),
        ("A.TSV", {"dialect": "excel-tab"}),
        ("a.csv", {"dialect": "unix"}),
    ],
)
def test_a_table_is_read_as_it_was_written(tmp_path, make_documents, name, options):
    documents = [*HARD, *make_documents(300)] * 3
    (tmp_path / name).write_bytes(table(documents, **options))
    for block_bytes in (1, 5000, 2**20):
        assert read(tmp_path / name, block_bytes=block_bytes) == documents


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_a_compressed_table_reads_like_a_plain_one(tmp_path, make_documents, compression):
    documents = [*HARD, *make_documents(2000)]
    packed = COMPRESS[compression](table(documents))
    (tmp_path / f"a.csv.{compression}").write_bytes(packed)
    assert read(tmp_path / f"a.csv.{compression}") == documents
    # The header of a second file that was joined is none of its documents.
    (tmp_path / f"a.csv.{compression}").write_bytes(packed + packed)
    texts, problems = parsed(tmp_path / f"a.csv.{compression}")
    assert texts == documents * 2
    assert [reason for reason, _ in problems] == ["repeated_header"]


@pytest.mark.parametrize("shift", range(6))
def test_where_a_chunk_ends_does_not_matter(tmp_path, shift):
    documents = ["x" * (CHUNK - 26 + shift), *HARD]
    (tmp_path / "a.csv").write_bytes(table(documents))
    assert read(tmp_path / "a.csv") == documents


def test_another_column_can_be_named(tmp_path):
    (tmp_path / "a.tsv").write_text("title\tbody\nT\tone\n\nU\ttwo\n")
    assert read(tmp_path / "a.tsv", text_field="body") == ["one", "two"]


def test_a_byte_order_mark_is_none(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbftext\none\n\xef\xbb\xbftwo\n")
    assert read(tmp_path / "a.csv") == ["one", "two"]


@pytest.mark.parametrize("data", ["\n\n", "id\ttext", "id\ttext\n"])
def test_a_table_without_rows_holds_no_document(tmp_path, data):
    (tmp_path / "a.tsv").write_text(data)
    assert [text for text in read(tmp_path / "a.tsv") if text] == []


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"id,body\n1,one\n", "has no column 'text' in its first line but, between commas, id, body: .*--text_field"),
        (b"id;text\n1;one\n", "has no column 'text' .* id;text: "),
        (b"text,text\none,two\n", "has 2 columns 'text': rename all but one"),
        ("text\none\n".encode("utf-16"), "its first line is not UTF-8: convert the file"),
        (b'"text\none\n', "line 1: the quotes of the row are not closed"),
    ],
)
def test_a_table_without_a_column_of_text_is_refused(tmp_path, data, told):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(InputError, match=told) as error:
        parsed(tmp_path / "a.csv")
    assert str(tmp_path / "a.csv") in str(error.value)


def test_a_row_that_cannot_be_used_is_told_with_its_line(tmp_path):
    rows = [b"1,one", b"2,two,x", b"3", b"4,caf\xe9", b'5,"a" b', b'6,"si\nx"', b'7,"open', b"8,eight", b"9,nine"]
    (tmp_path / "a.csv").write_bytes(b"id,text\n" + b"\n".join(rows) + b"\n")
    texts, problems = parsed(tmp_path / "a.csv")
    assert texts == ["one", "si\nx", "eight", "nine"]
    assert [reason for reason, _ in problems] == ["malformed", "malformed", "undecodable", "malformed", "malformed"]
    for (_, told), line in zip(problems, (3, 4, 5, 6, 9), strict=True):
        assert f"line {line}" in told


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("place", [0, 3, 9])
def test_a_field_that_is_too_long_is_counted(monkeypatch, tmp_path, make_documents, quote, place):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**20)
    documents = make_documents(10)
    lines = [f'{number},"{document}"' for number, document in enumerate(documents)]
    lines[place] = f"{place},{quote}{'a very long line ' * 200_000}{quote}"
    (tmp_path / "a.csv").write_text("\n".join(["id,text", *lines]))
    texts, problems = parsed(tmp_path / "a.csv")
    assert texts == documents[:place] + documents[place + 1 :]
    assert problems == [("too_long", None)]


def test_a_quote_that_is_never_closed_costs_a_row_and_no_memory(monkeypatch, tmp_path, make_documents):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**18)
    documents = [document.replace('"', "").replace(",", "") for document in make_documents(3000)]
    lines = [f"{number},{document}" for number, document in enumerate(documents)]
    lines[5] = f'5,"{documents[5]}'
    (tmp_path / "a.csv").write_text("\n".join(["id,text", *lines]))
    texts, problems = parsed(tmp_path / "a.csv")
    assert texts == documents[:5] + documents[6:]
    ((reason, told),) = problems
    assert reason == "malformed" and "line 7: the quotes of the row are not closed" in told


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("line", ["one line of a play", 'he said ""no, never"", and left', "a, comma", '""', ""])
@pytest.mark.parametrize("compression", ["", "zst", "xz"])
def test_a_quoted_row_of_many_lines_that_is_too_long_is_counted_and_its_lines_are_no_rows(
    monkeypatch, tmp_path, make_documents, line, line_end, compression
):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**19)
    documents = make_documents(10)
    lines = [f'{number},"{document}"' for number, document in enumerate(documents)]
    times = 2**20 // (len(line) + 1)
    lines[4] = f'4,"{(line + line_end) * times}"'
    # A line within the quotes may be too long by itself.
    lines[7] = f'7,"{line_end}{"x" * 2**20} ""y""{line_end}"'
    data = line_end.join(["id,text", *lines, "10", "11,open,"]).encode()
    name = f"a.csv.{compression}" if compression else "a.csv"
    (tmp_path / name).write_bytes(COMPRESS[compression](data) if compression else data)
    texts, problems = parsed(tmp_path / name)
    assert texts == [document for number, document in enumerate(documents) if number not in (4, 7)]
    assert sorted(reason for reason, _ in problems) == ["malformed", "malformed", "too_long", "too_long"]
    told = [sentence.partition(", ")[2] for reason, sentence in problems if reason == "malformed"]
    number = len(data.splitlines()) - 1
    assert told == [
        f"line {number:,}: the row has 1 field and the header 2",
        f"line {number + 1:,}: the row has 3 fields and the header 2",
    ]


@pytest.mark.parametrize("compression", ["", "zst", "gz"])
def test_what_follows_a_quote_that_is_never_closed_is_read_from_the_file_again(
    monkeypatch, tmp_path, make_documents, compression
):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**17)
    documents = [document.replace('"', "").replace(",", "") for document in make_documents(3000)]
    lines = [f"{number},{document}" for number, document in enumerate(documents)]
    lines[5], lines[2000] = f'5,"{documents[5]}', f'2000,"{documents[2000]}'
    lines[1000] = f"1000,{'very long ' * 2**15}"
    data = "\n".join(["id,text", *lines]).encode()
    name = f"a.csv.{compression}" if compression else "a.csv"
    (tmp_path / name).write_bytes(COMPRESS[compression](data) if compression else data)
    texts, problems = parsed(tmp_path / name)
    assert texts == [document for number, document in enumerate(documents) if number not in (5, 1000, 2000)]
    told = sorted((reason, sentence and sentence.partition(", ")[2].partition(":")[0]) for reason, sentence in problems)
    assert told == [("malformed", "line 2,002"), ("malformed", "line 7"), ("too_long", None)]


def test_a_header_that_is_too_long_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**10)
    (tmp_path / "a.csv").write_text(f"{'text,' * 2**12}\none,two\n")
    with pytest.raises(InputError, match=r"a\.csv, line 1: the header has over 1,024 bytes"):
        parsed(tmp_path / "a.csv")
