import json

import pytest

from budgetbert.corpus.sources import formats
from budgetbert.corpus.sources.blocks import CHUNK
from budgetbert.errors import InputError
from tests.corpus.sources.reading import COMPRESS, parsed, read

pytestmark = pytest.mark.without_backend

HARD = ['a "quoted" \\ word', "brackets [ ] { } , :", "a\nnew line\ttab", "ends in \\", "東京 😀", "", "true, null"]


def objects(documents):
    return [{"id": number, "text": document, "more": [{"x": "]"}, "\\"]} for number, document in enumerate(documents)]


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"indent": 4, "ensure_ascii": False}])
@pytest.mark.parametrize("is_array", [True, False])
def test_an_array_and_objects_in_a_row_are_read_however_they_are_laid_out(tmp_path, make_documents, layout, is_array):
    documents = [*HARD, *make_documents(300)] * 3
    if is_array:
        text = json.dumps(objects(documents), **layout)
    else:
        text = "\n".join(json.dumps(one, **layout) for one in objects(documents))
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    for block_bytes in (1, 5000, 2**20):
        assert read(tmp_path / "a.json", block_bytes=block_bytes) == documents


@pytest.mark.parametrize("compression", sorted(COMPRESS))
def test_compressed_json_reads_like_plain_one(tmp_path, make_documents, compression):
    documents = make_documents(2000)
    data = json.dumps(objects(documents), indent=2).encode()
    (tmp_path / f"a.json.{compression}").write_bytes(COMPRESS[compression](data) + COMPRESS[compression](b"\n" + data))
    assert read(tmp_path / f"a.json.{compression}") == documents * 2


@pytest.mark.parametrize("shift", range(12))
def test_where_a_chunk_ends_does_not_matter(tmp_path, shift):
    documents = ["x" * (CHUNK - 60 + shift), *HARD]
    (tmp_path / "a.json").write_text(json.dumps(objects(documents)))
    assert read(tmp_path / "a.json") == documents


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.json", "a.json.zst"])
def test_lines_of_json_have_other_endings_too(tmp_path, name):
    data = b'{"text": "one"}\n{"text": "two"}\n{"body": 3}\n'
    compress = COMPRESS.get(name.rpartition(".")[2], lambda data: data)
    (tmp_path / name).write_bytes(compress(data))
    texts, problems = parsed(tmp_path / name)
    assert texts == ["one", "two"]
    assert "line 3: the object has no string" in problems[0][1]


@pytest.mark.parametrize("data", ["[]", " [ ] \n", "[{}]", "\ufeff[]\n\ufeff[]", "\n \n", '["one", "two"]', "[1, [2]]"])
def test_json_without_a_text_has_none(tmp_path, data):
    (tmp_path / "a.json").write_text(data, encoding="utf-8")
    texts, problems = parsed(tmp_path / "a.json")
    assert texts == []
    assert len(problems) == {"[{}]": 1, '["one", "two"]': 2, "[1, [2]]": 2}.get(data, 0)


def test_a_missing_text_is_empty_as_in_parquet(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": null}\n{"text": "one"}\n')
    (tmp_path / "b.json").write_text('[{"text": null}, {"text": "two"}]')
    assert read(tmp_path) == ["", "one", "", "two"]


def test_joined_files_with_byte_order_marks_are_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf[{"text": "one"}]\n' * 2 + b'\xef\xbb\xbf{"text": "two"}')
    assert read(tmp_path / "a.json") == ["one", "one", "two"]


def test_half_a_surrogate_pair_does_not_cost_the_document(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "cut \\ud83d"}\n')
    assert read(tmp_path / "a.jsonl") == ["cut \ud83d"]  # which cleaning repairs


def test_an_object_that_cannot_be_used_is_told_with_its_line(tmp_path):
    nested = b"[" * 5000 + b"]" * 5000
    odd = [b'{"text": "\xff"}', b'{"text": "a" "b"}', b'{"body": "a"}', b'{"text": nil}', b'{"text": ' + nested + b"}"]
    (tmp_path / "a.json").write_bytes(b"[\n" + b",\n".join([b'{"text":\n"one"}', *odd, b'{"text": "two"}']) + b"\n]")
    texts, problems = parsed(tmp_path / "a.json")
    assert texts == ["one", "two"]
    assert [reason for reason, _ in problems] == ["undecodable", *["malformed"] * 4]
    assert [f"line {number}" in told for number, (_, told) in enumerate(problems, start=4)] == [True] * 5


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ('[\n{"text": "one"},\n{"text": "two"}\n', "ends in line 4, before its JSON does"),
        ('[\n{"text": "one"},\n{"text": "tw', "ends in line 3, before its JSON does"),
        ('[{"text": "one}, {"text": "Wo"}]', r"line 1: this is not JSON \('x' is out of place\)"),
        ('[{"text": "one"}]\n]', r"line 2: this is not JSON \('\]' is out of place\)"),
        ('[{"text": "one"}]\n<html>', r"line 2: this is not JSON \('<' is out of place\)"),
        ('[{"text": "one"}}', r"line 1: this is not JSON \('}' is out of place\)"),
        ('{\n"text": "one"\n},\n{"text": "two"}', r"line 3: this is not JSON \(',' is out of place\)"),
        ("[\xa0]", r"line 1: this is not JSON \('\\xc2' is out of place\)"),
    ],
)
def test_a_file_that_is_not_json_is_refused_with_its_line(tmp_path, data, told):
    (tmp_path / "a.json").write_text(data, encoding="utf-8")
    with pytest.raises(InputError, match=told) as error:
        parsed(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(error.value)


@pytest.mark.parametrize("place", [0, 3, 9])
def test_an_object_of_100_mb_is_left_out_and_counted(tmp_path, make_documents, place):
    documents = make_documents(10)
    written = objects(documents)
    written[place]["text"] = 'a very "long" line \\ ' * 5_000_000
    (tmp_path / "a.json.zst").write_bytes(COMPRESS["zst"](json.dumps(written).encode()))
    texts, problems = parsed(tmp_path / "a.json.zst")
    assert texts == documents[:place] + documents[place + 1 :]
    assert problems == [("too_long", None)]


def test_the_longest_object_that_is_read_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "LONGEST_DOCUMENT_BYTES", 2**19)
    (tmp_path / "a.json").write_text("[" + "[" * 2**20 + "]" * 2**20 + ', {"text": "one"}]')
    assert parsed(tmp_path / "a.json") == (["one"], [("too_long", None)])


@pytest.mark.parametrize("first", ['{"text": "cu', '{"text": "one"', '{"text":', '{"text": "one",', "{"])
def test_a_first_line_that_is_cut_costs_one_document(tmp_path, first):
    (tmp_path / "a.json").write_text("\n".join([first, '{"text": "two"}', '{"text": "three"}', "{"]))
    texts, problems = parsed(tmp_path / "a.json")
    assert texts == ["two", "three"]
    assert [told.partition(": this is not JSON")[0][-6:] for _, told in problems] == ["line 1", "line 4"]


def test_a_value_that_is_an_object_may_be_a_line_by_itself(tmp_path):
    (tmp_path / "a.json").write_text('{"more":\n{"a": 1}\n,\n"text": "one"}\n{"list": [\n{"a": 1}\n],\n"text": "two"}')
    assert read(tmp_path / "a.json") == ["one", "two"]


def test_an_object_is_parsed_once(monkeypatch, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"body": "one"}\n{"body": 7}\n')
    calls, loads = [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: calls.append(text) or loads(text))
    _, problems = parsed(tmp_path / "a.jsonl")
    assert (len(problems), len(calls)) == (2, 2)
