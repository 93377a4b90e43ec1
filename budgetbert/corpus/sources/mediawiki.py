"""Wikipedia as it is given away: dumps (`pages-articles.xml`), and what WikiExtractor makes of them."""

import collections
import html
import re
from xml.etree import ElementTree

from budgetbert.corpus.sources.blocks import undecodable
from budgetbert.errors import InputError

_REDIRECT = re.compile(r"\s*#redirect\b", re.IGNORECASE)
_EXTRACTED = re.compile(r"(<doc\b[^<>]*>\n)|</doc>")


def pages(file, skipped=None):
    """Reads the articles of a MediaWiki dump; memory holds one page at a time.

    Args:
        file: binary file object, uncompressed.
        skipped: `collections.Counter` or `None`. Counts what is left out: `"redirects"`, `"other_namespaces"` (talk,
            users, templates ...), `"other_models"` (pages that are no wikitext) and `"empty"`. Defaults to `None`.

    Yields:
        str, wikitext; of a page with several revisions the last in the file.

    Raises:
        InputError: naming line and column, if the file is not the XML of a dump.
    """
    skipped = collections.Counter() if skipped is None else skipped
    other_namespaces, page, root = set(), {}, None
    try:
        for event, element in ElementTree.iterparse(file, events=("start", "end")):
            if root is None:
                root = element
                if _name(root) != "mediawiki":
                    raise InputError(f"{_file_name(file)} is XML, but not a MediaWiki dump: it starts with {root.tag}.")
            elif event == "end":
                name = _name(element)
                if name == "namespace" and element.get("key") != "0":
                    other_namespaces.add(element.text)
                elif name in ("title", "ns", "redirect", "model", "text"):
                    page[name] = element.text or ""
                elif name == "revision":
                    element.clear()
                elif name == "page":
                    reason = _reason_to_skip(page, other_namespaces)
                    if reason:
                        skipped[reason] += 1
                    else:
                        yield page["text"]
                    page = {}
                    root.clear()
    except ElementTree.ParseError as error:
        line, column = error.position
        raise InputError(
            f"{_file_name(file)}, line {line}, column {column + 1}: this is not the XML of a MediaWiki dump "
            f"({error.args[0].partition(':')[0]}): download it again."
        ) from error
    except InputError:
        raise
    except (LookupError, ValueError) as error:
        # The parser raises these for a character set that it does not know.
        raise InputError(f"{_file_name(file)} cannot be read as XML ({error}): dumps are in UTF-8.") from error


def extracted(data, path, line):
    """Parses what WikiExtractor leaves: articles between `<doc ...>` and `</doc>`, the first line of each its title.

    Args:
        data: bytes.
        path: str, of the file.
        line: int, that of the start of `data` in it.

    Yields:
        As `formats.parse`.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        _, reason = undecodable(data, path, line, error)
        yield from _extracted_with_errors(data, path, line, reason)
        return
    # These are the <doc ...> of an article, and the place behind the last article.
    opened, behind = None, 0
    unused = []
    for match in _EXTRACTED.finditer(text):
        if match[1]:
            # An article may write of <doc>, but at the start of a line it is the next one, as the last was cut off.
            if not opened or (match[1].startswith("<doc ") and text[match.start() - 1] == "\n"):
                unused.append((behind, match.start()))
                opened, behind = match, match.start()
        elif opened:
            # the first line of an article is its title
            body = text[opened.end() : match.start()].removesuffix("\n")
            yield html.unescape(body.partition("\n")[2]), None
            opened, behind = None, match.end()
    counted = 0
    for start, end in (*unused, (behind, len(text))):
        piece = text[start:end].lstrip()
        if piece:
            line += text.count("\n", counted, end - len(piece))
            counted = end - len(piece)
            sentence = f"{path}, line {line}: this is not an article between <doc ...> and </doc>"
            yield piece.rstrip(), ("malformed", sentence)


def _extracted_with_errors(data, path, line, reason):
    for piece in re.split(rb"(?<=</doc>)", data):
        try:
            piece.decode()
            yield from extracted(piece, path, line)
        except UnicodeDecodeError:
            yield piece.decode(errors="replace"), reason
        line += piece.count(b"\n")


def _name(element):
    return element.tag.rpartition("}")[2]


def _file_name(file):
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else "the dump"


def _reason_to_skip(page, other_namespaces):
    if "ns" in page:
        is_article = page["ns"].strip() == "0"
    else:
        # Dumps before 2011 have no <ns>.
        is_article = page.get("title", "").partition(":")[0] not in other_namespaces
    text = page.get("text", "")
    if not is_article:
        return "other_namespaces"
    if "redirect" in page or _REDIRECT.match(text):
        return "redirects"
    if page.get("model", "wikitext") != "wikitext":
        return "other_models"
    return None if text.strip() else "empty"
