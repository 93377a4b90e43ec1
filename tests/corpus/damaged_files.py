"""Files of every format that a corpus is made of, damaged from a seed, and what there is to be read in them."""

import bz2
import csv
import gzip
import html
import io
import itertools
import json
import lzma
import re
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet

from budgetbert.corpus.sources import json_values

COMPRESS = {
    **{"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress},
    "zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}
NAMES = ("a.txt", "a.jsonl", "a.ndjson", "a.json", "a.csv", "a.tsv", "a.parquet", "a.xml", "wiki_00")
_BLANK = re.compile(rb"(?:[ \t\r\f\v]|\xc2\xa0|\xe3\x80\x80|\xef\xbb\xbf)*")
_MARK = b"\xef\xbb\xbf"


def make_documents(random):
    """Some documents (list of str), no two alike, with what formats quote or escape."""
    words = [
        "river",
        "naïve",
        "東京",
        "“quoted”",
        'a "quote"',
        "one, two",
        "tab\there",
        "cat's",
        "5 < 6 & 7",
        "Ωμ",
        "😀",
    ]
    documents = []
    for number in range(random.randint(1, 60)):
        lines = [" ".join(random.choices(words, k=random.randint(3, 30))) for _ in range(random.randint(1, 4))]
        documents.append(f"Number {number}: " + "\n".join(lines))
    return documents


def written(name, documents, random):
    """The bytes of a file with these documents, in one of the layouts of its format."""
    objects = [{"id": number, "text": text, "more": ["]", {"a": 1}]} for number, text in enumerate(documents)]
    ascii = random.random() < 0.5
    if name == "a.txt":
        return random.choice(["\n\n", "\r\n\r\n", "\n \u3000\n", "\n\n\n"]).join(documents).encode()
    if name in ("a.jsonl", "a.ndjson"):
        return "\n".join(json.dumps(one, ensure_ascii=ascii) for one in objects).encode()
    if name == "a.json":
        layout = {"ensure_ascii": ascii, "indent": random.choice([None, 1, 4])}
        if random.random() < 0.6:
            return json.dumps(objects, **layout).encode()
        return "\n".join(json.dumps(one, **layout) for one in objects).encode()
    if name in ("a.csv", "a.tsv"):
        file, dialect = io.StringIO(newline=""), "excel" if name == "a.csv" else "excel-tab"
        end = random.choice(["\n", "\r\n"])
        writer = csv.DictWriter(file, ["id", "text", "more"], dialect=dialect, lineterminator=end)
        writer.writeheader()
        writer.writerows(objects)
        return file.getvalue().encode()
    if name == "a.parquet":
        file = io.BytesIO()
        options = {"compression": random.choice(["none", "snappy", "zstd", "gzip"]), "row_group_size": 20}
        pyarrow.parquet.write_table(pa.table({"text": documents}), file, **options)
        return file.getvalue()
    if name == "a.xml":
        page = "<page><title>T</title><ns>0</ns><id>1</id><revision><text>{}</text></revision></page>\n"
        pages = "".join(page.format(html.escape(text)) for text in documents)
        return f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">\n{pages}</mediawiki>'.encode()
    article = '<doc id="{0}" title="T">\nT\n\n{1}\n</doc>\n'
    return "".join(article.format(number, html.escape(text)) for number, text in enumerate(documents)).encode()


def flipped(data, random):
    """One to three bits are other ones."""
    data = bytearray(data)
    for _ in range(random.randint(1, 3)):
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def cut(data, random):
    """The end is missing."""
    return data[: random.randint(1, max(1, len(data) - 1))]


def holed(data, random):
    """A stretch is missing, or zeros."""
    start = random.randrange(len(data))
    length = random.randint(1, 40)
    return data[:start] + bytes(random.choice([0, length])) + data[start + length :]


def glued(data, random):
    """Something else stands before, in or behind it."""
    other = [
        b"<html><body>503 Service Unavailable</body></html>\n", bytes(random.choice([1, 512, 5000])),
        random.randbytes(random.randint(1, 3000)), data, _MARK, b"[" * 3000, b'"', b"\n", b"{}\n", b"\r",
        COMPRESS[random.choice(list(COMPRESS))](b"one\n\ntwo"),
    ]  # fmt: skip
    place = random.choice([0, len(data), random.randrange(len(data))])
    return data[:place] + random.choice(other) + data[place:]


def encoded_otherwise(data, random):
    """A part of it, or all, is not UTF-8."""
    encoding = random.choice(["latin-1", "utf-16", "utf-32-be", "gb18030", "cp1251", "shift_jis"])
    start, end = sorted(random.choices(range(len(data) + 1), k=2))
    if random.random() < 0.3:
        start, end = 0, len(data)
    part = data[start:end].decode(errors="replace").encode(encoding, errors="replace")
    return data[:start] + part + data[end:]


def untouched(data, random):
    return data


DAMAGES = (untouched, flipped, flipped, cut, holed, glued, encoded_otherwise)


def packed(data, compression, random):
    """The data compressed, in one to three streams."""
    bounds = [0, *sorted(random.choices(range(len(data) + 1), k=random.randint(0, 2))), len(data)]
    return b"".join(COMPRESS[compression](data[start:end]) for start, end in itertools.pairwise(bounds))


def held(name, data):
    """How many documents the bytes of a file hold, by other means than ours.

    Returns:
        int, or `None` if they are not what the name says.
    """
    if name in ("a.txt", "a.jsonl", "a.ndjson", "a.json", "wiki_00") and b"\n" not in data[: 2**18]:
        data = data.replace(b"\r", b"\n")
    if name == "a.txt":
        blank = [bool(_BLANK.fullmatch(line)) for line in data.split(b"\n")]
        return sum(not this and before for before, this in zip([True, *blank], blank, strict=False))
    if name == "a.parquet":
        try:
            return len(pyarrow.parquet.read_table(io.BytesIO(data), columns=["text"]))
        except Exception:  # of any kind, as the file is damaged
            return None
    if name == "a.xml":
        try:
            return sum(element.tag.endswith("page") for element in ElementTree.fromstring(data).iter())
        except (ElementTree.ParseError, ValueError, LookupError):
            return None
    if name == "wiki_00":
        return min(len(re.findall(rb"(?<![^\n])<doc ", data)), data.count(b"\n</doc>"))
    if name in ("a.csv", "a.tsv"):
        return _rows(name, data)
    if name == "a.json" and json_values.is_laid_out(data):
        return _values(data.decode("latin-1"))
    return sum(bool(line.removeprefix(_MARK).strip()) for line in data.split(b"\n"))


def _rows(name, data):
    lines = data.splitlines(keepends=True)
    text = [line.removeprefix(_MARK).decode(errors="surrogateescape") for line in lines]
    try:
        found = list(csv.reader(text, "excel" if name == "a.csv" else "excel-tab", strict=True))
    except csv.Error:
        return None
    return max(0, sum(map(bool, found)) - 1)


def _values(text):
    decoder, place, number = json.JSONDecoder(strict=False), 0, 0
    while True:
        place = re.compile("[ \t\r\n\f\v\xef\xbb\xbf]*").match(text, place).end()
        if place == len(text):
            return number
        try:
            value, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return None
        number += len(value) if isinstance(value, list) else 1
