"""Files with columns, read row by row: equal in every format, and what is broken is told with its line."""

import json

import pyarrow as pa
import pyarrow.parquet
import pytest

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from tests.corpus.sources.reading import COMPRESS

pytestmark = pytest.mark.without_backend

ROWS = [{"text": "one, two", "label": "a"}, {"text": 'three "four"\nfive', "label": "b"}, {"text": "", "label": "c"}]
DATA = {
    "csv": b'text,label\n"one, two",a\n"three ""four""\nfive",b\n,c\n',
    "tsv": b'text\tlabel\none, two\ta\n"three ""four""\nfive"\tb\n\tc\n',
    "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "json": json.dumps(ROWS, indent=1).encode(),
}


@pytest.mark.parametrize("compression", [None, *COMPRESS])
@pytest.mark.parametrize("kind", DATA)
def test_every_format_and_compression_gives_the_same_rows(kind, compression, tmp_path):
    path = tmp_path / f"a.{kind}{f'.{compression}' if compression else ''}"
    path.write_bytes(COMPRESS[compression](DATA[kind]) if compression else DATA[kind])
    records = Records(str(path), "train")
    assert records.names == ["text", "label"]
    assert [record.values for record in records] == ROWS
    assert records.share == 1.0
    assert [record.values for record in records] == ROWS  # once more


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_table_without_a_header_is_read_whole(kind, tmp_path):
    rows = DATA[kind].partition(b"\n")[2]
    (tmp_path / f"a.{kind}").write_bytes(rows)
    records = Records(str(tmp_path / f"a.{kind}"), "train", "text, label")
    assert records.names == ["text", "label"]
    assert [record.values for record in records] == ROWS


@pytest.mark.parametrize(
    ("name", "columns", "told"),
    [
        ("a.csv", "text", "--columns text names 1 column, and the first row of --train .* has 2"),
        ("a.csv", "text,text", "has to be different names"),
        ("a.csv", "text,", "has to be different names"),
        ("a.jsonl", "text,label", "has names of its own: leave it out"),
    ],
)
def test_columns_that_cannot_be_those_of_a_file_are_refused(name, columns, told, tmp_path):
    (tmp_path / name).write_bytes(DATA[name.removeprefix("a.")])
    with pytest.raises(InputError, match=told):
        Records(str(tmp_path / name), "train", columns)


@pytest.mark.parametrize(
    "found",
    [{"one": ROWS[0], "two": ROWS[1], "three": ROWS[2]}, {"version": "1", "data": ROWS}, {"about": {}, "data": ROWS}],
)
def test_an_object_that_holds_all_rows_is_read_row_by_row(found, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(found, indent=1))
    records = Records(str(tmp_path / "a.json"), "train")
    assert records.names == ["text", "label"]
    assert [(record.values, record.line) for record in records] == list(zip(ROWS, (1, 2, 3), strict=True))


@pytest.mark.parametrize("row", [{"text": "one", "about": {"a": 1}}, {"text": "one", "spans": []}, {"text": "one"}])
def test_an_object_alone_is_a_row(row, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(row))
    assert [record.values for record in Records(str(tmp_path / "a.json"), "train")] == [row]


def test_parquet_keeps_its_types(tmp_path):
    table = {"text": ["one", None], "labels": [["a", "b"], []], "score": [0.5, 2.0]}
    pa.parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    records = Records(str(tmp_path / "a.parquet"), "train")
    assert records.names == list(table)
    assert [record.values for record in records] == [
        dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)
    ]
    assert [record.line for record in records] == [1, 2]


def test_broken_rows_come_in_their_place_with_their_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b'text,label\none,a\ntwo\ntext,label\n"a"b,c\ncaf\xe9,d\nlast,e\n')
    found = list(Records(str(tmp_path / "a.csv"), "train"))
    assert [record.line for record in found] == [2, 3, 4, 5, 6, 7]
    assert [record.problem and record.problem.partition(": ")[2] for record in found] == [
        None,
        "the row has 1 field and the header 2",
        "the header is repeated",
        "the quotes of the row are not closed, or not doubled within its fields",
        "the text is not UTF-8: convert it, for example with iconv",
        None,
    ]
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n[1]\n{"text\n\n{"text": "two"}\n')
    found = list(Records(str(tmp_path / "a.jsonl"), "train"))
    assert [(record.line, record.values) for record in found] == [
        (1, {"text": "one"}),
        (2, None),
        (3, None),
        (5, {"text": "two"}),
    ]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.txt", b"text", "is no file with columns"),
        ("a.parquet.gz", b"x", "is no file with columns"),
        ("a.csv", b"", "is empty"),
        ("a.csv.gz", b"text\none\n", "cannot be read further"),
        ("a.parquet", b"PAR1", "is a damaged parquet file"),
    ],
)
def test_a_file_without_columns_is_refused(name, data, told, tmp_path):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=told):
        list(Records(str(tmp_path / name), "train"))
    with pytest.raises(InputError, match="No such file"):
        Records(str(tmp_path / "nowhere.csv"), "train")


def test_a_data_set_of_the_hub_has_its_classes_by_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = datasets.Dataset.from_dict({"text": ["one", "two"], "label": [1, 0]}, features=features)
    (tmp_path / "set").mkdir()
    rows.to_parquet(tmp_path / "set" / "train.parquet")
    records = Records(f"hf:{tmp_path / 'set'}", "train")
    assert records.names == ["text", "label"]
    assert [record.values for record in records] == [{"text": "one", "label": "yes"}, {"text": "two", "label": "no"}]
