"""MediaWiki's markup -> plain text.

It is parsed by `mwparserfromhell`. Templates are not expanded, as that needs the whole wiki: those that stand for words
of a sentence (a conversion, a foreign word, a dash) are replaced by their words, all others are dropped.
"""

import re

import mwparserfromhell
from mwparserfromhell import nodes

from budgetbert.corpus.sources import cleaning
from budgetbert.corpus.sources.open_ends import without_open_ends

# Elements whose content is no prose: notes, formulas, pictures, scores, programs.
_DROPPED_TAGS = frozenset(
    (
        *("ce", "chem", "gallery", "graph", "hiero", "imagemap", "indicator", "mapframe", "maplink", "math", "pre"),
        *("ref", "references", "score", "section", "source", "style", "syntaxhighlight", "table", "templatedata"),
        *("templatestyles", "timeline"),
    )
)
_BREAKING_TAGS = frozenset(("blockquote", "center", "div", "dl", "hr", "ol", "p", "poem", "ul"))
_ITEM_TAGS = frozenset(("dd", "dt", "li"))
# This marks a list item until its line is complete. XML cannot hold it, and so no dump does.
_ITEM = "\x01"
# What a template shows where it stands in a sentence: its first or second argument, or always the same.
_FIRST_ARGUMENT = frozenset(
    (
        *("'-", "abbr", "angbr", "angle bracket", "as written", "big", "blockquote", "bq", "cquote"),
        *("gaps", "ill", "interlanguage link", "keypress", "kbd", "linktext", "midsize", "mvar", "nihongo", "nobold"),
        *("nobr", "noitalic", "not a typo", "nowrap", "nowraplinks", "nts", "overline", "quote", "resize", "sc", "sic"),
        *("small", "smallcaps", "smaller", "sub", "sup", "tlit", "tooltip", "tq", "translit", "underline", "vanchor"),
        *("visible anchor", "vr", "bartable", "math", "flag", "flagcountry", "var", "code", "native name", "em"),
    )
)
_SECOND_ARGUMENT = frozenset(("color", "font color", "lang", "transl", "transliteration"))
_FIXED_TEXT = {
    **{"ndash": "–", "en dash": "–", "spaced ndash": " – ", "snd": " – ", "spnd": " – ", "spaced en dash": " – "},
    **{"mdash": "—", "em dash": "—", "spaced mdash": " — ", "·": " · ", "•": " · ", "bullet": " · ", "times": "×"},
    **{"'": "'", "'s": "'s", "`": "'", '"': '"', "okina": "ʻ", "minus": "−", "shy": "", "pi": "π", "=": "="},
    **{"nbsp": " ", "space": " ", "spaces": " ", "thinsp": " ", "pipe": "|", "!": "|", "ad": "AD", "bc": "BC"},
}
# Sections that hold titles and addresses, in some large wikis; elsewhere the rule for list items drops most of them.
_DROPPED_SECTIONS = frozenset(
    (
        *("bibliography", "citations", "external links", "footnotes", "further reading", "gallery", "notes"),
        *("notes and references", "primary sources", "references", "references and notes", "see also", "sources"),
        *("secondary sources", "selected bibliography", "works cited", "publications", "discography", "filmography"),
        *("einzelnachweise", "literatur", "weblinks", "siehe auch", "références", "liens externes", "voir aussi"),
        *("notes et références", "bibliographie", "referencias", "enlaces externos", "véase también", "bibliografía"),
        *("note", "collegamenti esterni", "voci correlate", "примечания", "ссылки", "литература", "脚注", "外部リンク"),
        *("関連項目", "参考文献", "参考资料", "外部链接", "參考文獻", "外部連結", "参见"),
    )
)
_NOTES = re.compile(r"(?P<comment><!--)|<ref\b[^<>]*/>|(?P<ref><ref\b[^<>/]*(?:/[^<>/]+)*>)", re.IGNORECASE)
_NOTE_ENDS = {"comment": re.compile(r"-->|\Z"), "ref": re.compile(r"</ref\s*>", re.IGNORECASE)}
_MEDIA = re.compile(
    r"\s*(?:file|image|media|category|datei|bild|kategorie|fichier|catégorie|archivo|imagen|categoría|immagine|"
    r"categoria|файл|изображение|категория):|.*\.(?:jpe?g|png|svg|gif|tiff?|webp|og[agv]|webm|pdf|midi?|mp[34]|wav|"
    r"flac|djvu|xcf|stl)\s*$",
    re.IGNORECASE | re.DOTALL,
)
# A link to another wiki or name space that is a line of its own: a category or a translation, whatever the language.
_LINK_LINE = re.compile(r"^[ \t]*(?:\[\[[^\[\]|:\s]+:[^\[\]\s][^\[\]]*\]\][ \t]*)+$", re.MULTILINE)
_PREFIX = re.compile(r"^(?::|[a-z][a-z-]{0,11}:)+(?=\S)")
_STYLE_MARKS = re.compile(r"'{2,5}")
_MAGIC_WORD = re.compile(r"__[A-Z]+__")
_LEFT_OVER = re.compile(r"\{\{|\}\}|\[\[|\]\]|\{\||\|\}|\|\||^[|!]|</?[a-z]+[^<>]*>|https?://|www\.|\bstyle ?= ?[\"']")
_TIDYING = (
    (re.compile(r"[ \t\u00a0\u2009\u202f]+"), " "),
    # What stood first in the brackets was dropped.
    (re.compile(r"([(（])(?:\s*[,;:/·–—])+\s*"), r"\1"),
    (re.compile(r"(?:\s*[,;:/])+\s*([)）])"), r"\1"),
    (re.compile(r" ?(?:\(\s*\)|\[\s*\]|（\s*）|\"\"|“”|«\s*»)"), ""),
    (re.compile(r"([(（]) "), r"\1"),
    (re.compile(r" ([,.;:!?)）](?=[\s\")]|$))"), r"\1"),
    (re.compile(r"([,;])(?: ?[,;])+"), r"\1"),
)
# A list item is kept if it is a sentence: if it has so many words and a full stop, which Thai and Lao do not have. Of
# scripts without spaces two Chinese characters or kana count as a word, and four letters of the others.
_WORDS_OF_AN_ITEM = 8
_SENTENCE_END = re.compile(r"(?:[.!?。．！？।॥؟۔።։။។།]|[\u0e00-\u0eff])[\"')\]”’»」』）]*\s*$")
_WORDS_WITHOUT_SPACES = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]{2}|"
    r"[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff]{4}"
)
# Of Wikipedias in two scripts: `-{zh-hans:计算机;zh-hant:電腦}-` is one word in two variants, `-{H|...}-` a rule for
# the page that shows nothing.
_VARIANTS = re.compile(r"-\{(?!\{)([^{}]*)\}-(?!\})")
_FLAG = r"\s*(?:[-+A-Z]|[a-z]{2,3}(?:-[a-z]+)?)\s*"
_VARIANT_FLAGS = re.compile(rf"({_FLAG}(?:;{_FLAG})*)\|")
_VARIANT = re.compile(r"(?:^|;)\s*(?:[^;:]*=>\s*)?[a-z]{2,3}(?:-[a-z]+)?\s*:([^;]*)")
_HIDDEN_VARIANTS = frozenset("HTD-")


def plain_text(wikitext):
    """Turns the markup of an article into text.

    Templates, tables, notes, formulas, pictures, categories and headings are dropped, links and emphasis are replaced
    by their words, and so are the templates that stand for words. Of lists, the items that are sentences are kept.
    Sections of references and links are dropped.

    Args:
        wikitext: str.

    Returns:
        str, one paragraph per line; empty if there is no prose.
    """
    wikitext = without_open_ends(_VARIANTS.sub(_shown_variant, wikitext.replace(_ITEM, "")))
    wikitext = _LINK_LINE.sub("", cleaning.drop_elements(wikitext, _NOTES, _NOTE_ENDS))
    out = []
    _render(mwparserfromhell.parse(wikitext, skip_style_tags=True), out, at_top=True)
    text = _STYLE_MARKS.sub("", _MAGIC_WORD.sub("", "".join(out)))
    return "\n".join(filter(None, map(_tidy, _paragraphs(text))))


def _shown_variant(match):
    """Returns the first variant (str) of those between -{ and }-, or the text, if it has none."""
    text = match[1]
    if flags := _VARIANT_FLAGS.match(text):
        text = text[flags.end() :]
        if _HIDDEN_VARIANTS & set(map(str.strip, flags[1].split(";"))):
            return ""
    variant = _VARIANT.match(text)
    return variant[1].strip() if variant else text


def _paragraphs(text):
    """Yields the lines that belong together: a blank line ends a paragraph; an item is a line of its own."""
    lines = []
    for line in text.split("\n"):
        # A leading space is MediaWiki's mark of preformatted text.
        is_item = _ITEM in line or line.startswith(" ")
        if lines and (is_item or not line.strip()):
            yield " ".join(lines)
            lines = []
        line = line.replace(_ITEM, "").lstrip(" \t*#:;")
        if is_item:
            words = 1 + line.count(" ") + len(_WORDS_WITHOUT_SPACES.findall(line))
            if words >= _WORDS_OF_AN_ITEM and _SENTENCE_END.search(line):
                yield line
        elif line and not _LEFT_OVER.search(line):
            lines.append(line)
    yield " ".join(lines)


def _render(code, out, at_top=False):
    """Appends the text of parsed `code` to the list `out`."""
    # This is the level of the heading of a section that is being left out.
    dropped_level = None
    for node in code.nodes:
        if isinstance(node, nodes.Heading):
            title = node.title.strip_code().strip().lower()
            if dropped_level is None or node.level <= dropped_level:
                dropped_level = node.level if title in _DROPPED_SECTIONS else None
            out.append("\n\n")
        elif at_top and dropped_level is not None:
            continue
        elif isinstance(node, nodes.Text):
            out.append(node.value)
        elif isinstance(node, nodes.Wikilink):
            _render_link(node, out)
        elif isinstance(node, nodes.Template):
            _render_template(node, out)
        elif isinstance(node, nodes.Tag):
            _render_tag(node, out)
        elif isinstance(node, nodes.ExternalLink):
            if node.title is not None:
                _render(node.title, out)
        elif isinstance(node, nodes.HTMLEntity):
            out.append(_character(node))
        elif isinstance(node, nodes.Argument) and node.default is not None:
            _render(node.default, out)


def _character(entity):
    character = entity.normalize()
    # Half a surrogate pair is no character, and the mark of an item is none of a text.
    if "\ud800" <= character <= "\udfff" or character == _ITEM:
        return ""
    return " " if character in "\u00a0\u2002\u2003\u2009\u200a" else character


def _render_link(link, out):
    target = str(link.title).strip()
    if _MEDIA.match(target):
        return
    if link.text is not None:
        _render(link.text, out)
    else:
        _render(link.title, part := [])
        out.append(_PREFIX.sub("", "".join(part).strip()))


def _render_tag(tag, out):
    name = str(tag.tag).strip().lower()
    if name in _DROPPED_TAGS:
        return
    if name in _ITEM_TAGS:
        out.append(_ITEM if tag.wiki_markup else f"\n{_ITEM}")
    elif name in _BREAKING_TAGS:
        out.append("\n\n")
    elif name == "br":
        out.append(" ")
    # A line of wikitext that starts with *, #, : or ; is a tag without contents.
    if tag.contents:
        _render(tag.contents, out)
        if name in _ITEM_TAGS or name in _BREAKING_TAGS:
            out.append("\n\n")


def _render_template(template, out):
    name = " ".join(str(template.name).split()).replace("_", " ").lower()
    shown = [parameter.value for parameter in template.params if not parameter.showkey]
    named = {str(parameter.name).strip(): parameter.value for parameter in template.params}
    if name in _FIXED_TEXT:
        out.append(_FIXED_TEXT[name])
    elif name in ("convert", "cvt"):
        out.append(_conversion([str(value).strip() for value in shown]))
    elif name in ("as of", "circa", "c", "c."):
        words = " ".join(str(value).strip() for value in shown[: 3 if name == "as of" else 1])
        prefix = "c." if name != "as of" else "as of" if "lc" in named else "As of"
        out.append(f"{prefix} {words}")
    elif name in ("frac", "fraction", "sfrac"):
        parts = [str(value).strip() for value in shown]
        whole = f"{parts[0]} " if len(parts) == 3 else ""
        out.append(f"{whole}{'/'.join(parts[-2:] if len(parts) > 1 else ['1', *parts])}")
    elif name == "val":
        out.append(" ".join(str(value).strip() for value in (*shown[:1], *filter(None, [named.get("u")]))))
    else:
        index = None
        if name in _FIRST_ARGUMENT or name.startswith("lang-"):
            index = 0
        elif name in _SECOND_ARGUMENT and len(shown) > 1:
            index = len(shown) - 1 if name.startswith("trans") else 1
        value = named.get("text") or named.get("quote") if not shown else None
        if index is not None and (shown or value):
            is_block = "quote" in name
            out.append("\n\n" if is_block else "")
            _render(shown[index] if shown else value, out)
            out.append("\n\n" if is_block else "")


def _conversion(parts):
    """`convert|5|km|mi` -> 5 km; `convert|5|-|10|km` -> 5–10 km."""
    if len(parts) > 3 and parts[1] in ("-", "–", "to", "and", "or", "by", "x", "×", "to(-)", "and(-)"):
        joint = {"-": "–", "–": "–", "x": " × ", "×": " × "}.get(parts[1], f" {parts[1].partition('(')[0]} ")
        return f"{parts[0]}{joint}{parts[2]} {_unit(parts[3])}"
    return f"{parts[0]} {_unit(parts[1])}" if len(parts) > 1 else "".join(parts)


def _unit(unit):
    return {"km2": "km²", "m2": "m²", "sqmi": "sq mi", "C": "°C", "F": "°F", "m3": "m³", "ft2": "sq ft"}.get(unit, unit)


def _tidy(paragraph):
    """Mends what dropped markup left in a paragraph; empty if it is no prose."""
    if _LEFT_OVER.search(paragraph):
        return ""
    for pattern, replacement in _TIDYING:
        paragraph = pattern.sub(replacement, paragraph)
    return paragraph.strip() if any(map(str.isalnum, paragraph)) else ""
