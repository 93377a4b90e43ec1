"""Markup whose end is missing, as in an article that was cut off, or written to keep a parser busy."""

import collections
import re

_TOKEN = re.compile(
    r"(?P<open>\{\{|\[\[|\[(?=https?:|//))|(?P<close>\}\}|\]\]|\])"
    r"|<(?P<slash>/?)(?P<tag>[a-z][a-z\d]*)\b[^<>]*(?P<end>>?)",
    re.IGNORECASE,
)
_CLOSED_BY = {"}}": "{{", "]]": "[[", "]": "["}
# They need no end, so nothing is looked for.
_SINGLE_TAGS = frozenset(("br", "hr", "wbr", "li", "dt", "dd", "tr", "td", "th", "img", "meta", "link", "references"))
# An article has hardly ever so many of one kind.
_MOST_OPEN = 50


def without_open_ends(wikitext):
    """Drops openings that nothing closes, of brackets and tags, where there are more than 50 of one kind.

    For each of them `mwparserfromhell` looks through all that follows, so its time grows with the square of their
    number: 8,000 `{{a|` take 20 s.

    Args:
        wikitext: str.

    Returns:
        str.
    """
    opened = collections.defaultdict(list)
    for match in _TOKEN.finditer(wikitext):
        if match["open"]:
            opened[match["open"]].append(match.span())
        elif match["close"]:
            if places := opened[_CLOSED_BY[match["close"]]]:
                places.pop()
        elif not match["end"]:
            # This is the start of a tag, without its bracket.
            opened["<"].append((match.start(), match.start() + 1))
        elif (tag := match["tag"].lower()) in _SINGLE_TAGS or match[0].endswith("/>"):
            continue
        elif not match["slash"]:
            opened[tag].append(match.span())
        elif opened[tag]:
            opened[tag].pop()
    dropped = sorted(span for spans in opened.values() if len(spans) > _MOST_OPEN for span in spans)
    pieces, kept = [], 0
    for start, end in dropped:
        pieces.append(wikitext[kept:start])
        kept = end
    return "".join(pieces) + wikitext[kept:]
