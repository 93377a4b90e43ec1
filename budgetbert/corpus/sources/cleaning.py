"""Cleaning of a document: pure functions, str -> str."""

import re

import ftfy

from budgetbert.tokenization.marks import compose

# Curly quotes, ligatures and wide characters are the author's; whether they are kept is for the `Normalizer` to say.
_REPAIRS = {
    with_entities: ftfy.TextFixerConfig(
        unescape_html=with_entities,
        uncurl_quotes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        normalization=None,  # `compose` does it, whose time does not grow with the square of a line.
        explain=True,
    )
    for with_entities in (False, True)
}
# What the steps that `ftfy` explains are counted as; line ends are not. All others undo a wrong decoding.
_STEPS = {
    "unescape_html": "entities",
    "fix_surrogates": "surrogates",
    "remove_terminal_escapes": "control_characters",
    "remove_control_chars": "control_characters",
    "fix_line_breaks": None,
}
LEVELS = ("none", "minimal", "wiki")
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
# `ftfy` itself divides text like this.
_LINE_CHARACTERS = 1_000_000


def clean(text, level, changes=None):
    """Repairs and tidies the text of a document.

    - "none": halves of surrogate pairs, which nothing can store, become U+FFFD; all else stays.
    - "minimal": `ftfy` repairs text that was decoded as Latin-1 or Windows-1252 although it was UTF-8 ("â€™"),
      Windows-1252 quotes and dashes that became control characters, halves of surrogate pairs and line ends, and drops
      other control characters; then comes Unicode NFC. Runs of spaces become one, blank lines go: a line is a
      paragraph.
    - "wiki": beside that, what extraction tools leave of HTML and wiki markup is dropped: tags, notes, templates and
      brackets that they emptied. HTML entities become characters, the words of links are kept.

    Args:
        text: str.
        level: str, "none", "minimal" or "wiki".
        changes: set, to which the names (str) of what was changed are added: "mojibake", "surrogates",
            "control_characters", "not_composed" (Unicode's NFC), "entities", "tags", "links", "templates",
            "empty_brackets". White space is not told. Defaults to `None`.

    Returns:
        str. But at level "none" it has no white space at either end, and cleaning it again changes nothing in ordinary
        text.
    """
    changes = set() if changes is None else changes
    if level == "none":
        return _without_surrogates(text, changes)
    repaired = _with_entities if level == "wiki" else _repaired
    text = "\n".join([repaired(line, changes) for line in text.split("\n")])
    if level == "wiki":
        text = _without_markup(text, changes)
    return "\n".join(filter(None, map(_tidied, text.split("\n"))))


def _without_markup(text, changes):
    if "<" in text:
        text = _changed(text, drop_elements(_BLOCK_TAG.sub("\n", text), _INLINE_TAG, _ENDS), "tags", changes)
    if "[[" in text:
        text = _changed(text, _WIKI_LINK.sub(r"\1", text), "links", changes)
    if "{{" in text:
        text = _changed(text, _TEMPLATE.sub("", text), "templates", changes)
    if _EMPTY_BRACKETS.search(text):
        text = _changed(text, _SPACE_AND_EMPTY_BRACKETS.sub("", text), "empty_brackets", changes)
    return text


def _changed(before, after, name, changes):
    if after != before:
        changes.add(name)
    return after


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


def _repaired(line, changes):
    """`ftfy` at 4 MB/s for the lines that may need it, which are few: it leaves printable ASCII as it is, and so it
    does single other characters, as what was decoded wrongly has at least two in a row.
    """
    if line.isprintable() and (line.isascii() or not _MAYBE_DAMAGED.search(line)):
        return _changed(line, compose(line), "not_composed", changes)
    return _fixed(line, False, changes)


def _with_entities(line, changes):
    """As `_repaired`, and HTML entities become characters."""
    return _fixed(line, True, changes) if "&" in line else _repaired(line, changes)


def _fixed(line, with_entities, changes):
    pieces = []
    # The time that `ftfy` takes for a line grows faster than its length.
    for start in range(0, len(line), _LINE_CHARACTERS):
        piece, steps = ftfy.fix_and_explain(line[start : start + _LINE_CHARACTERS], _REPAIRS[with_entities])
        pieces.append(piece)
        changes.update(_STEPS.get(step.parameter, "mojibake") for step in steps)
    changes.discard(None)
    fixed = "".join(pieces)
    return _changed(fixed, compose(fixed), "not_composed", changes)


def _without_surrogates(text, changes):
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return _changed(text, ftfy.fixes.fix_surrogates(text), "surrogates", changes)
    return text


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
