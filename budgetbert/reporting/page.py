"""Self-contained pages from templates that extend `base.html`, and what they all tell in the same way."""

import functools
import html
import re
import shlex

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from budgetbert.reporting import numbers


def render(template, **values):
    """Returns a page, or another text, as str.

    Numbers are written by the filters of `budgetbert.reporting.numbers`: `{{ plan.tokens | short }}`.

    Args:
        template: str, its path in this package. In `.html` whatever is no `Markup` is escaped; a page extends
            `reporting/base.html`.
        **values: what the template and the base page name: `title`, `status`, `subtitle`, `tiles` (list of dict of
            `name`, `value`, `note`), `command` (see `command_words`) and `tables` (see `fact_tables`).
    """
    return environment().get_template(template).render(**values)


def phrases(template, **values):
    """Returns the lines `name | phrase` of a rendered text template as a list of tuples; lines without a bar go."""
    lines = render(template, **values).splitlines()
    return [tuple(part.strip() for part in line.split("|", 1)) for line in lines if "|" in line]


@functools.cache
def environment():
    """Returns Jinja's environment: the templates of this package, and how numbers are written in them."""
    environment = Environment(
        loader=PackageLoader("budgetbert", "."),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
    )
    environment.filters.update(numbers.FILTERS, plain=plain)
    return environment


def plain(text):
    """Returns text of a file as Markdown that shows it as it is: one line, no HTML, links or images of its own.

    An underscore inside a word stays, where it means nothing.
    """
    text = html.escape(" ".join(str(text).split()), quote=False)
    return re.sub(r"[\\`*\[\]|~#]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def markdown_to_html(text):
    """Returns the HTML of a Markdown text, whose own HTML is shown as text; wide tables scroll."""
    return _markdown().render(text)


@functools.cache
def _markdown():
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.add_render_rule("table_open", lambda *_: '<div class="wide-table"><table>\n')
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def command_words(arguments):
    """Returns the words of a command, quoted as a shell wants them, of `sys.argv` as it was; `None` of nothing."""
    return arguments and ["python", *(shlex.quote(str(word)) for word in arguments)]


def fact_tables(*tables):
    """Returns what the base page writes as tables of names and values.

    Args:
        *tables: tuples of a heading and a dict, perhaps of dicts; those without values are left out.
    """
    return [{"name": name, "rows": list(_flat(values))} for name, values in tables if values]


def _flat(values, prefix=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            yield f"{prefix}{key}".replace("_", " "), numbers.fact(value)
