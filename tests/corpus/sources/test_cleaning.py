import random
import re

import pytest

from budgetbert.corpus.sources.cleaning import clean, drop_repeated_lines

pytestmark = pytest.mark.without_backend


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("itâ€™s the cafÃ©", "it’s the café"),  # UTF-8 read as Windows-1252
        ("a \x93quote\x94 \x96 and\x85", "a “quote” – and…"),  # Windows-1252 read as Latin-1
        ("cafe\u0301", "café"),  # NFC
        ("nul\x00 bell\x07 \x1b[31mred\x1b[0m", "nul bell red"),
        ("AT&amp;T caf&eacute; &lt;b&gt;", "AT&T café"),
        ("one\r\ntwo\u2028three\n \n\nfour", "one\ntwo\nthree\nfour"),
        ("\ufeff  a \t b\u00a0c ", "a b c"),
        ("<p>A <b>bold</b> word<br/>and <a href='x'>a link</a>.</p><!-- no -->", "A bold word\nand a link."),
        ('noted<ref name="a">Smith 1990</ref> here<ref name="b"/>', "noted here"),
        ("a<!-->b<!-- c\nd -->e <Ref>1</rEF> <style x>\n<i></style>f <ref/> <script> g <ref>", "ae f <script> g <ref>"),
        ("the [[old king|king]] of [[Wales]]{{citation needed|date=May 2015}} ( , )", "the king of Wales"),
        ("if a < b and b > c, then a <vector> of [1] (sic)", "if a < b and b > c, then a <vector> of [1] (sic)"),
        ("“curly” ﬁne Ａ ½", "“curly” ﬁne Ａ ½"),  # the author's own
        (" \n\t ", ""),
    ],
)
def test_text_is_repaired_and_tidied(dirty, expected):
    assert clean(dirty, "wiki") == expected
    assert clean(expected, "wiki") == expected


@pytest.mark.parametrize(
    "text",
    [
        "Call print() and exit(); write {{ name }}; List<a> is generic; &lt;b&gt; is bold.",
        "a [[link]] <!-- a comment --> <script>let a = b && c;</script> <br> ( , ) <ref>x</ref> &amp;",
    ],
)
def test_what_looks_like_markup_stays_in_ordinary_text(text):
    changes = set()
    assert clean(text, "minimal", changes) == clean(text, "none", changes) == text
    assert not changes
    assert clean(text, "wiki", changes) != text
    assert changes >= {"entities", "tags"}


@pytest.mark.parametrize(
    ("dirty", "expected", "kinds"),
    [
        ("itâ€™s the cafÃ©", "it’s the café", {"mojibake"}),
        ("a \x93quote\x94", "a “quote”", {"mojibake"}),
        ("cafe\u0301", "café", {"not_composed"}),
        ("nul\x00 \x1b[31mred\x1b[0m", "nul red", {"control_characters"}),
        ("cut \ud83d", "cut \ufffd", {"surrogates"}),
        ("whole \ud83d\ude00", "whole 😀", {"surrogates"}),
        ("one\r\ntwo\rthree \u2028 four\n\n five\u00a0  six", "one\ntwo\nthree\nfour\nfive six", set()),
        ("Ω\u2126 x\x07 AT&amp;T", "ΩΩ x AT&amp;T", {"control_characters", "not_composed"}),
    ],
)
def test_ordinary_text_is_repaired_and_what_was_changed_is_told(dirty, expected, kinds):
    changes = set()
    assert clean(dirty, "minimal", changes) == expected
    assert changes == kinds
    assert clean(expected, "minimal") == expected


@pytest.mark.parametrize(
    ("dirty", "kind"),
    [
        ("AT&amp;T", "entities"),
        ("a <b>bold</b> word", "tags"),
        ("the [[old king|king]]", "links"),
        ("Wales{{citation needed}}", "templates"),
        ("Paris ( , ) is old", "empty_brackets"),
    ],
)
def test_what_is_dropped_of_markup_is_told(dirty, kind):
    changes = set()
    clean(dirty, "wiki", changes)
    assert changes == {kind}


def test_no_cleaning_leaves_all_but_what_cannot_be_stored():
    text = " a  \x00b\r\n\n cafe\u0301 itâ€™s \u00a0\ufeff"
    assert clean(text, "none") == text
    assert clean("\ud83dx\ud83d\ude00", "none") == "\ufffdx😀"


@pytest.mark.parametrize("start", ["<!-- a ", "<ref>", "<script a>b", "<style>", "<ref name=a/>"])
def test_starts_without_an_end_take_no_longer_than_other_text(start):
    text = (start * (1_000_000 // len(start))).strip()  # a search for each of their ends would take hours
    assert clean(text, "wiki") == ("" if start.endswith("/>") else text)


_WORDS = ("<!--", "-->", "<ref>", "<ref a='b'>", "<ref/>", "</ref>", "<SCRIPT>", "</script>", "</style>", "<style b>")


def test_elements_are_dropped_as_by_one_expression():
    rule = r"<i>|<!--.*?-->|<(ref|script|style)\b[^<>]*>.*?</\1>|<ref\b[^<>]*/>"
    generator = random.Random(1)
    for _ in range(2000):
        text = "x".join(["", *generator.choices((*_WORDS, "<i>", "y", "<", "/>"), k=generator.randint(1, 12)), ""])
        assert clean(text, "wiki") == re.sub(rule, "", text, flags=re.IGNORECASE | re.DOTALL), text


def test_a_line_stays_where_it_stands_first():
    menu = "Home | Products | Contact us"
    text = f"{menu}\nA first paragraph of the page.\n{menu} \nYes.\nYes.\nA first paragraph of the page."
    assert drop_repeated_lines(text) == f"{menu}\nA first paragraph of the page.\nYes.\nYes."
    assert drop_repeated_lines("") == ""
