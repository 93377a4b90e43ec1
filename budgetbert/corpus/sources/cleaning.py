"""Cleaning of a document: pure functions, str -> str."""

import re

import ftfy

from budgetbert.tokenization.marks import compose

# Curly quotes, ligatures and wide characters are the author's; whether they are kept is for the `Normalizer` to say.
_REPAIRS = ftfy.TextFixerConfig(
    unescape_html=True,
    uncurl_quotes=False,
    fix_latin_ligatures=False,
    fix_character_width=False,
    normalization=None,  # `compose` does it, whose time does not grow with the square of a line.
    explain=False,
)
_BLOCK_TAG = re.compile(
    r"</?(?:p|br|div|li|[ou]l|h[1-6]|hr|t[rdh]|table|tbody|thead|blockquote|section|article)\b[^<>]{0,200}>",
    re.IGNORECASE,
)
_INLINE_TAG = re.compile(
    r"</?(?:a|abbr|b|big|center|cite|code|em|font|i|img|nowiki|s|small|span|strike|strong|sub|sup|tt|u)(?:\s[^<>]{0,300})?"
    r"/?>|(?P<comment><!--)|(?P<ref><ref\b[^<>]*>)|(?P<script><script\b[^<>]*>)|(?P<style><style\b[^<>]*>)",
    re.IGNORECASE,
)
_ENDS = {name: re.compile(f"</{name}>", re.IGNORECASE) for name in ("ref", "script", "style")}
_ENDS["comment"] = re.compile("-->")
_WIKI_LINK = re.compile(r"\[\[(?:[^\[\]|\n]*\|)?([^\[\]|\n]*)\]\]")
_TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
_EMPTY_BRACKETS = re.compile(r"\(\s*(?:[,;]\s*)*\)")
_SPACE_AND_EMPTY_BRACKETS = re.compile(rf" ?{_EMPTY_BRACKETS.pattern}")
_SPACES = re.compile(r"\s+")
# Two in a row, or one that was the first of two, the second of which became a space. Curly quotes may stand together.
_MAYBE_DAMAGED = re.compile(r"[^\x00-\x7f“”‘’–—…](?:[^\x00-\x7f]|(?<=[À-ÿ]) )")
_REPEATED_LINE_CHARACTERS = 20


def clean(text):
    """Repairs and tidies the text of a document.

    By `ftfy`: text that was decoded as Latin-1 or Windows-1252 although it was UTF-8 ("â€™"), Windows-1252 quotes and
    dashes that became control characters, HTML entities, halves of surrogate pairs, control characters, line ends;
    then Unicode NFC. What extraction tools leave of HTML and wiki markup is dropped, the words of links are kept.
    Runs of spaces become one, blank lines go: a line is a paragraph.

    Args:
        text: str.

    Returns:
        str, without white space at either end; cleaning it again changes nothing in ordinary text.
    """
    text = "\n".join(map(_repaired, text.split("\n")))
    if "<" in text:
        text = drop_elements(_BLOCK_TAG.sub("\n", text), _INLINE_TAG, _ENDS)
    if "[[" in text:
        text = _WIKI_LINK.sub(r"\1", text)
    if "{{" in text:
        text = _TEMPLATE.sub("", text)
    if _EMPTY_BRACKETS.search(text):
        text = _SPACE_AND_EMPTY_BRACKETS.sub("", text)
    return "\n".join(filter(None, map(_tidied, text.split("\n"))))


def drop_elements(text, starts, ends):
    """Drops tags and whole elements, in a time that is linear in the text, also where starts have no end.

    Args:
        text: str.
        starts: compiled pattern. What it matches is dropped; if a named group matched, all up to an end, too. Without
            that end it stays, unless it is a `<ref/>`, which needs none.
        ends: dict of the name of a group to the compiled pattern of its end.

    Returns:
        str.
    """
    pieces, kept, place, endless = [], 0, 0, set()
    while match := starts.search(text, place):
        name, place = match.lastgroup, match.end()
        if name:
            end = None if name in endless else ends[name].search(text, place)
            if end:
                place = end.end()
            else:
                # There is none further on either.
                endless.add(name)
                if not (name == "ref" and match[0].endswith("/>")):
                    continue
        pieces.append(text[kept : match.start()])
        kept = place
    return "".join(pieces) + text[kept:]


def _repaired(line):
    """`ftfy` at 4 MB/s for the lines that may need it, which are few: it leaves printable ASCII without & as it is,
    and so it does single other characters, as what was decoded wrongly has at least two in a row.
    """
    if "&" not in line and line.isprintable() and (line.isascii() or not _MAYBE_DAMAGED.search(line)):
        return compose(line)
    return compose(ftfy.fix_text(line, _REPAIRS))


def _tidied(line):
    return _SPACES.sub(" ", line).strip() if "  " in line or not line.isprintable() else line.strip()


def drop_repeated_lines(text):
    """Drops every line that stood in the same document before, as menus, headers and footers do.

    Lines under 20 characters stay: in dialogue and verse they are repeated with intent.

    Args:
        text: str.

    Returns:
        str.
    """
    seen, kept = set(), []
    for line in text.split("\n"):
        key = line.strip()
        if len(key) >= _REPEATED_LINE_CHARACTERS:
            if key in seen:
                continue
            seen.add(key)
        kept.append(line)
    return "\n".join(kept)
