import bz2
import collections
import io
import os
import pathlib
import re
import time
import tracemalloc

import pytest

from budgetbert.corpus.sources.mediawiki import pages
from budgetbert.corpus.sources.wikitext import plain_text
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend

HEADER = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="de">
<siteinfo><namespaces><namespace key="0"/><namespace key="1">Diskussion</namespace></namespaces></siteinfo>"""


def page(title, text, ns="<ns>0</ns>", extra="", model="wikitext"):
    revision = f"<revision><id>1</id><model>{model}</model><text>{text}</text></revision>"
    return f"<page><title>{title}</title>{ns}{extra}{revision}</page>"


def dump(*parts, end="</mediawiki>"):
    return io.BytesIO((HEADER + "".join(parts) + end).encode())


def test_articles_are_read_and_all_else_is_counted():
    file = dump(
        page("Wales", "&lt;b&gt;Text&lt;/b&gt;"),
        page("Cymru", "#REDIRECT [[Wales]]", extra='<redirect title="Wales"/>'),
        page("Kymru", "#redirect [[Wales]]"),
        page("Diskussion:Wales", "talk", ns="<ns>1</ns>"),
        page("Diskussion:Old", "talk in a dump without numbers", ns=""),
        page("Star Trek: Discovery", "an article in a dump without numbers", ns=""),
        page("Data", "{}", model="json"),
        page("Nothing", " "),
        page("Twice", "old", extra="<revision><text>older</text></revision>"),
        page("", "no title").replace("<title></title>", ""),
    )
    skipped = collections.Counter()
    assert list(pages(file, skipped)) == [
        "<b>Text</b>",
        "an article in a dump without numbers",
        "old",
        "no title",
    ]
    assert skipped == {"redirects": 2, "other_namespaces": 2, "other_models": 1, "empty": 1}


def test_memory_does_not_grow_with_the_dump():
    text = page("Title", "word " * 20_000)  # 100 kB
    peaks = []
    for number in (20, 100):
        file = dump(*[text] * number)
        tracemalloc.start()
        assert sum(1 for _ in pages(file)) == number
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2e5


@pytest.mark.parametrize(
    ("file", "told"),
    [
        (dump(page("Wales", "text"), end=""), r"the dump, line 2, column \d+: this is not the XML"),
        (io.BytesIO(b"plain text"), "line 1, column 1"),
        (io.BytesIO(b"<?xml version='1.0' encoding='foo-bar'?><mediawiki/>"), "unknown encoding: foo-bar"),
        (io.BytesIO(b"<?xml version='1.0' encoding='shift_jis'?><mediawiki/>"), "multi-byte encodings"),
        (io.BytesIO(b"<html></html>"), "not a MediaWiki dump: it starts with html"),
    ],
)
def test_what_is_no_dump_is_refused_by_place(file, told):
    with pytest.raises(InputError, match=told):
        list(pages(file))


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Wales''' is a [[country]] of the [[United Kingdom|UK]]'s.", "Wales is a country of the UK's."),
        ("See [http://example.org the page] and [http://example.org].", "See the page and."),
        ("Fact.<ref name=a>{{cite web|title=T}}</ref><ref name=a/> More.<!-- hidden\n --> End.", "Fact. More. End."),
        ("[[File:Wales.svg|thumb|A [[map]] of it]]\n[[Datei:W.png|mini]]Wales has coasts.", "Wales has coasts."),
        ("A text.\n\n[[Category:Wales]]\n[[Kategorie:W|x]]\n[[de:Wales]] [[fr:Galles]]", "A text."),
        ("A [[wikt:word|word]], a [[wikt:verb]] and [[Star Trek: Picard]].", "A word, a verb and Star Trek: Picard."),
        ("It is {{convert|5|km|mi}} long, {{convert|5|-|10|C}} warm.", "It is 5 km long, 5–10 °C warm."),
        ("The {{lang|de|Haus}} of {{nowrap|10 men}}{{snd}}{{circa|1900}}.", "The Haus of 10 men – c. 1900."),
        ("{{Infobox\n| name = {{lang|cy|Cymru}}\n| area = 5\n}}\nWales is small.", "Wales is small."),
        ("Wales ({{IPA|x}}; born 1900) ({{IPA|y}}) (from {{IPA|z}}, 'x') is.", "Wales (born 1900) (from, 'x') is."),
        ('{| class="wikitable"\n! Head\n|-\n| cell || cell\n|}\nAfter the table.', "After the table."),
        ("One line\nof a paragraph.\n\nAnother.", "One line of a paragraph.\nAnother."),
        ("Intro.\n== History ==\nOld.\n=== Early ===\nEarlier.", "Intro.\nOld.\nEarlier."),
        ("A.\n==See also==\n* [[B]]\n===More===\nC.\n==Next==\nD.", "A.\nD."),
        (
            "They are:\n* red\n* the eighth of them is a sentence with a full stop.\n: <math>x</math>\nEnd.",
            "They are:\nthe eighth of them is a sentence with a full stop.\nEnd.",
        ),
        ("Water is H<sub>2</sub>O &amp; more&nbsp;so.__NOTOC__", "Water is H2O & more so."),
        ("One<ref a=b/> <ref>two</ref > three.<ref>4</REF> <!-- five", "One three."),
        ("An unclosed {{template\n\nA paragraph.", "A paragraph."),
        ("&#xD800;{{{1|given}}} {{{2}}}", "given"),
        ("", ""),
    ],
)
def test_markup_becomes_text(wikitext, text):
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("有-{zh-hans:计算机;zh-hant:電腦}-。", "有计算机。"),
        ("有-{A|zh-cn:计算机; zh-tw:電腦;}-和-{字}-。", "有计算机和字。"),
        ("-{H|zh-cn:计算机;zh-tw:電腦;}-有-{zh-hans;zh-hant|字}-。", "有字。"),
        ("有-{R|[[字|詞]]}-和x-{{convert|5|km}}-。", "有詞和x-5 km-。"),
    ],
)
def test_of_a_word_in_two_scripts_one_is_read(wikitext, text):
    assert plain_text(wikitext) == text


@pytest.mark.parametrize(
    "item",
    [
        "The river rises in the hills near the old town.",
        "一九八四年，他在北京大学学习汉语和历史。",
        "東京タワーは日本の首都にある高い塔である。",
        "แม่น้ำสายนี้ไหลผ่านเมืองเก่าและหมู่บ้านหลายแห่ง",
        "ទន្លេនេះហូរកាត់ទីក្រុងចាស់និងភូមិជាច្រើន។",
    ],
)
def test_an_item_of_a_list_that_is_a_sentence_is_kept_in_any_script(item):
    assert plain_text(f"* {item}\n* [[北京]]\n* กรุงเทพ\n* A short one.\n") == item


def test_a_private_use_character_is_text_like_any_other():
    text = "The sign \ue000 is private, and"
    assert plain_text(text) == text
    assert plain_text("one &#1; two\x01 three") == "one two three"


_OPEN = ("{{a|", "{{{a|", "[[a|", "[http://a ", "<b>", "<ref>", "<div ", "<b a='", "<nowiki>", "<table>", "<div><b>")


@pytest.mark.parametrize("start", _OPEN)
def test_markup_without_an_end_takes_a_time_in_proportion_to_its_length(start):
    started = time.process_time()
    plain_text(start * 50_000)  # 8,000 of some took 20 s
    assert time.process_time() - started < 10
    assert plain_text(start * 100 + "\n\nA '''last''' [[word|words]].").endswith("A last words.")


def test_real_dumps_become_prose():
    folder = os.environ.get("BUDGETBERT_DATA")
    if not folder:
        pytest.skip("BUDGETBERT_DATA, the folder of real data, is not set")
    path = pathlib.Path(folder, "tiny", "wiki_dump_sample", "enwiki-18pages.xml.bz2")
    skipped = collections.Counter()
    with bz2.open(path) as file:
        articles = [plain_text(text) for text in pages(file, skipped)]
    assert len(articles) + skipped.total() == 18
    words = sum(len(text.split()) for text in articles)
    assert words > 10_000
    for text in articles:
        bad = re.search(r"\{\{|\}\}|\[\[|\]\]|\|thumb|\( ?\)|<[a-z/]|'''|https?:|style=|__|&[a-z]+;|^ | $|  ", text)
        assert not bad, text[max(0, bad.start() - 50) : bad.end() + 50]
