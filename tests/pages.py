"""What the tests of the pages share."""

import html.parser
import re


class Page(html.parser.HTMLParser):
    """The text of a page in its tags, every tag closed, and all that it would fetch."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.words, self.fetched, self._open = [], [], []
        self.feed(source)
        assert not self._open
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "br", "wbr"):
            self._open.append(tag)
        self._check(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self._check(tag, attributes)

    def _check(self, tag, attributes):
        values = dict(attributes)
        fetched = (values.get(name) for name in ("src", "href", "xlink:href", "data", "action"))
        self.fetched += [value for value in fetched if value and not value.startswith("#")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if "style" not in self._open:
            self.words.append(data)


def check_page(source):
    """Asserts of a page (str) that it is whole, that nothing in it would fetch anything, and that it can be dark."""
    assert Page(source).fetched == []
    assert "http" not in source
    assert "@import" not in source
    assert not re.search(r"url\((?!#)", source)
    assert "prefers-color-scheme: dark" in source
    identifiers = re.findall(r'\bid="([^"]*)"', source)
    assert len(set(identifiers)) == len(identifiers)
