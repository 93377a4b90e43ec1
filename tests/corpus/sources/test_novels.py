"""The demo's text: what is packed is what is listed, and nothing of what is judged with is trained on."""

import collections
import json
import re

import pytest

from budgetbert.corpus.sources import novels
from budgetbert.corpus.sources.text import parse_sources

pytestmark = pytest.mark.without_backend


@pytest.fixture(scope="module")
def text():
    return list(novels.read(novels.TEXT))


@pytest.fixture(scope="module")
def held_out():
    return list(novels.read(novels.HELD_OUT))


def books(rows):
    return {(row["title"], row["author"], row["year"]) for row in rows}


def test_the_list_names_each_book_with_years_that_make_it_public_domain(text, held_out):
    row = re.compile(r"\| (.+) \| (.+) \(d\. (\d{4})\) \| (\d{4}) \|")
    listed = [row.fullmatch(line) for line in (novels.FOLDER / "BOOKS.md").read_text(encoding="utf-8").splitlines()]
    listed = [found.groups() for found in listed if found]
    assert {(title, author, int(year)) for title, author, _, year in listed} == books(text) | books(held_out)
    assert len(listed) == len(books(text) | books(held_out))
    assert all(int(died) < 1954 and int(year) < 1930 for _, _, died, year in listed)


def test_what_is_packed_is_small_and_no_book_is_on_both_sides(text, held_out):
    assert sum(file.stat().st_size for file in novels.FOLDER.iterdir() if file.suffix == ".xz") < 4_000_000
    assert not books(text) & books(held_out)
    known = {row["author"] for row in text}
    assert collections.Counter(row["author"] for row in held_out) == dict.fromkeys(
        {row["author"] for row in held_out} & known, 60
    )
    paragraphs = {paragraph for row in text for paragraph in row["text"].split("\n") if len(paragraph) > 80}
    assert not [row for row in held_out if row["text"] in paragraphs]


def test_passages_have_whole_paragraphs_and_do_not_name_their_author():
    long = " ".join(["word"] * 60)
    chapter = {
        "author": "Jane Austen",
        "title": "Emma",
        "year": 1815,
        "text": f"By Austen\n{long}\n{long}\n{long}\n{long}\n..",
    }
    assert list(novels.passages([chapter])) == [{**chapter, "text": f"{long} {long}"}]


def test_the_demo_corpus_is_the_packed_text(text):
    (source,) = parse_sources("demo")
    assert source.identity()["source"] == source.name == "demo"
    lines = b"".join(block.data for block, _ in source.blocks(2**22)).splitlines()
    assert [json.loads(line)["title"] for line in lines] == [row["title"] for row in text]
