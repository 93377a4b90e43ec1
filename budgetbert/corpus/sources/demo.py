"""The `demo` corpus: the English documentation that is on every machine with this project installed.

Python's own help topics, and the docstrings of the packages that budgetbert needs, read with `ast` and never imported.
Only prose is kept (a tiny model learns English from a few MB of sentences, and little from signatures and doctests):
code, tables and lists of types are dropped, markup is removed and wrapped lines are joined.
"""

import ast
import hashlib
import importlib.metadata
import inspect
import os
import platform
import re
import tomllib
import warnings
from pathlib import Path

from packaging.requirements import Requirement

from budgetbert.corpus.sources.blocks import documents_of

# Counts up when the rules below change, so that a demo corpus of other rules is not taken for the present one.
RULES_VERSION = 1

_LEFT_OUT = re.compile(r"(^|/)(_?tests?|testing|_?vendor(ed)?)/|(^|/)(test_|conftest)[^/]*$|_test\.py$")
# A module with less prose than two or three sentences is left out.
_DOCUMENT_CHARACTERS = 300

_FENCE = re.compile(r"\s*(```|~~~)")
_DROPPED_LINE = re.compile(
    r"""\s*(?:
    $ | ``` | ~~~
    | >>> | \.\.\.(\ |$) | \$\  | @\w | \# | % | import\ [\w.]+$ | from\ [\w.]+\ import\  | (def|class)\ \w+.*:$  # code
    | [-=~^"'*+\#_`.|:]{3,}\s*$ | [+|].*[+|]\s*$                    # underlines, tables
    | \.\.\  | :\w[\w\ ,*]*: | [A-Z][\w\ ]{0,30}:\s*$               # directives, fields, headings such as `Args:`
    | [\w*`.,\ {}\[\]'"/-]{1,60}\ :\ \S                             # numpydoc's `name : type`
    )""",
    re.VERBOSE,
)
_ITEM_START = re.compile(r"\s*([-*+•o]|\d{1,2}[.)]|\([a-z\d]{1,2}\))\s+")
_ARGUMENT = re.compile(r"\s*[`*]*[\w.]+[`*]*(, [`*]*\w+[`*]*)*( ?\([^()]*\))?( ?-- |: +)(?=\S)")
_MARKUP = (
    (re.compile(r":[\w:+-]+:`!?(?:[^`<]*?<)?~?(?:[\w.]*\.)?([^`<>]+)>?`"), r"\1"),  # :func:`~numpy.linalg.norm`
    (re.compile(r"`([^`<>]+?)\s*<[^`<>]+>`_{0,2}"), r"\1"),  # `text <address>`_
    (re.compile(r"!?\[([^\[\]]+)\]\([^()\s]+\)"), r"\1"),  # [text](address)
    (re.compile(r"\s*\[[\w#.-]+\]_"), ""),  # [1]_
    (re.compile(r"`{1,3}[~.]*([^`]+)`{1,3}_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*{1,2}(?=[^\s*])([^*]+)(?<=[^\s*])\*{1,2}(?![\w*])"), r"\1"),
    (re.compile(r"</?\w+>|\\"), ""),
    (re.compile(r"\s+"), " "),
)
_SENTENCE_END = re.compile(r"[.!?][\s`*_\")']*$")
_WORD = re.compile(r"[A-Za-z]+")
_CODE_SIGNS = re.compile(r"[_=(){}\[\]<>|/#@$%^&*~+`:]|\d")
_FREQUENT_WORDS = re.compile(
    r"\b(a|all|also|an|and|any|are|as|at|be|been|both|but|by|can|does|each|for|from|has|have|if|in|into|is|it|its|may|"
    r"more|must|no|not|of|on|one|only|or|other|same|should|so|such|than|that|the|their|then|there|these|they|this|to|"
    r"two|used|was|we|when|where|which|will|with|would|you)\b"
)


class DemoSource:
    """The documentation on this machine, kept in memory (about 10 MB)."""

    name = "demo"
    # It is unknown until the text is collected.
    total_bytes = 0
    expected_bytes = 10_000_000
    bytes_read = 0

    def __init__(self, workers):
        self._workers = workers
        self._documents = None

    def identity(self):
        """Returns a dict that is equal for equal text."""
        return {"source": self.name, "sha256": identity()}

    def told_files(self):
        """Returns what the manifest states of files: nothing."""
        return {}

    def blocks(self, block_bytes, position=None):
        """Yields (`blocks.Block`, position behind it); the first call collects the documents."""
        if self._documents is None:
            self._documents = list(documents(self._workers))
        start = position or 0
        for block in documents_of(self._documents[start:], block_bytes):
            start += len(block.data)
            yield block, start


def documents(workers):
    """Collects the demo corpus; takes about half a minute of one CPU core.

    Args:
        workers: `pool.Workers`.

    Yields:
        str. One document per Python help topic and per module, its paragraphs separated by a newline. The order and
        the text depend only on the Python version and the versions of the installed packages; a paragraph that
        occurred before is dropped.
    """
    from pydoc_data.topics import topics

    seen = set()
    texts = (_paragraphs(text) for _, text in sorted(topics.items()))
    for paragraphs in texts:
        yield from _new_document(paragraphs, seen)
    # 32 modules a task: few enough to share the work evenly, many enough that sending them costs nothing.
    paths = [path for name in sorted(_distributions()) for path in _modules(name)]
    tasks = [paths[start : start + 32] for start in range(0, len(paths), 32)]
    for modules in workers.map(_module_reader, (), tasks):
        for paragraphs in modules:
            yield from _new_document(paragraphs, seen)


def identity():
    """The sha256 (str) of what decides the demo corpus: the rules, Python's version and the packages' versions."""
    names = sorted(_distributions())
    parts = [f"rules {RULES_VERSION}", f"python {platform.python_version()}"]
    parts += [f"{name}=={importlib.metadata.version(name)}" for name in names]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _distributions():
    """The names of the installed distributions that budgetbert needs to run, directly or not, without budgetbert."""
    try:
        required = importlib.metadata.requires("budgetbert")
    except importlib.metadata.PackageNotFoundError:  # It is read from where it was cloned to.
        project = Path(__file__).parents[3] / "pyproject.toml"
        required = tomllib.loads(project.read_text())["project"]["dependencies"]
    names, waiting = set(), list(required)
    while waiting:
        requirement = Requirement(waiting.pop())
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if name in names or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        names.add(name)
    return names


def _modules(name):
    """The sorted paths of a distribution's Python modules, without its tests and the packages that it bundles."""
    distribution = importlib.metadata.distribution(name)
    files = sorted(str(file) for file in distribution.files or ())
    wanted = [
        file for file in files if file.endswith(".py") and not file.startswith("..") and not _LEFT_OUT.search(file)
    ]
    return [os.fspath(distribution.locate_file(file)) for file in wanted]


def _module_reader():
    return _read_modules


def _read_modules(paths):
    """Returns, for each module, the prose paragraphs (list of str) of all its docstrings."""
    return [[paragraph for docstring in _docstrings(path) for paragraph in _paragraphs(docstring)] for path in paths]


def _docstrings(path):
    try:
        with open(path, "rb") as file:
            source = file.read()
        if b'"""' not in source and b"'''" not in source:
            return
        with warnings.catch_warnings():
            # Invalid escapes in other people's strings are not ours to report.
            warnings.simplefilter("ignore")
            waiting = [ast.parse(source)]
    except (OSError, SyntaxError, ValueError, RecursionError):
        # A template, or a module for another Python, has no documentation.
        return
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield docstring
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += reversed([child for child in getattr(node, "body", ()) if isinstance(child, ast.stmt)])


def _new_document(paragraphs, seen):
    """Yields one document of the `paragraphs` that are not in `seen`, or none if they are too short."""
    fresh = []
    for paragraph in paragraphs:
        if paragraph not in seen:
            seen.add(paragraph)
            fresh.append(paragraph)
    if sum(map(len, fresh)) >= _DOCUMENT_CHARACTERS:
        yield "\n".join(fresh)


def _paragraphs(text):
    """Returns the English prose of a docstring or help topic as a list of one-line paragraphs."""
    paragraphs, lines, fenced, indent = [], [], False, 0

    def close():
        paragraph = " ".join(lines)
        lines.clear()
        # Most of what is no prose ends here, before the costly rules.
        if not _SENTENCE_END.search(paragraph):
            return
        for pattern, replacement in _MARKUP:
            paragraph = pattern.sub(replacement, paragraph)
        paragraph = paragraph.strip()
        if _is_prose(paragraph):
            paragraphs.append(paragraph)

    for line in inspect.cleandoc(text).split("\n"):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced or _DROPPED_LINE.match(line):
            close()
            continue
        start = _ITEM_START.match(line)
        argument = _ARGUMENT.match(line, start.end() if start else 0)
        line_indent = len(line) - len(line.lstrip())
        if start or (argument and (not lines or line_indent <= indent)) or (lines and line_indent < indent):
            close()
            line = line[(argument or start).end() :] if argument or start else line
        if not lines:
            indent = line_indent
        lines.append(line.strip())
    close()
    return paragraphs


def _is_prose(paragraph):
    """Whether a paragraph is whole English sentences rather than code, a table, or a list of names."""
    words = len(_WORD.findall(paragraph))
    return (
        words >= 7
        and paragraph.isprintable()
        and len(_CODE_SIGNS.findall(paragraph)) <= 0.04 * len(paragraph)
        and len(_FREQUENT_WORDS.findall(paragraph.lower())) >= 0.25 * words
    )
