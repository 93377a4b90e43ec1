"""Self-contained pages from templates that extend `base.html`, and what they all tell in the same way."""

import os
import shlex

from jinja2 import Environment, PackageLoader, StrictUndefined

from budgetbert.budget import describe


def render(template, **values):
    """Returns a page as str; whatever is no `Markup` is escaped.

    Args:
        template: str, its path in this package. It extends `reporting/base.html`.
        **values: what the template and the base page name: `title`, `status`, `subtitle`, `tiles` (list of dict of
            `name`, `value`, `note`), `command` (see `command_words`) and `tables` (see `fact_tables`).
    """
    environment = Environment(loader=PackageLoader("budgetbert", "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(**values)


def write(path, page):
    """Writes a page (str), whole or not at all, and returns `path` (str)."""
    # text from outside may hold halves of surrogate pairs, which are no UTF-8
    with open(f"{path}.tmp", "w", encoding="utf-8", errors="replace") as file:
        file.write(page)
    os.replace(f"{path}.tmp", path)
    return path


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
            yield f"{prefix}{key}".replace("_", " "), _text(value)


def _text(value):
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}" if value < 1e6 else describe(value)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
