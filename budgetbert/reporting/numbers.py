"""How numbers are written: on pages and in Markdown as filters of Jinja, on the terminal as functions.

Each function returns str, and of `None` a dash, so that what is not known needs no case of its own.
"""

import functools

from budgetbert.budget import describe, describe_seconds

NONE = "–"
MINUS = "−"


def _known(write):
    @functools.wraps(write)
    def written(value, *arguments, **options):
        return NONE if value is None else write(value, *arguments, **options)

    return written


@_known
def number(value, digits=0):
    """Writes a count, or a number with so many decimals: 12,345, 1,234.50."""
    return f"{value:,.{digits}f}"


@_known
def significant(value, digits=4):
    """Writes a number with so many significant digits: 0.0004, 1.234."""
    return f"{value:.{digits}g}"


@_known
def share(value, digits=0):
    """Writes a share in percent: 34%."""
    return f"{value:.{digits}%}"


def part(value, whole):
    """Writes what a part is of a whole: 34.0%, < 0.1%; a dash where either is zero."""
    if not value or not whole:
        return NONE
    if value == whole:
        return "100%"
    return f"{value / whole:.1%}" if value / whole >= 0.0005 else "< 0.1%"


@_known
def rate(value):
    """Writes a share that may be tiny: none, 3.2 per million, 0.45%."""
    return "none" if not value else f"{value:.2%}" if value >= 1e-4 else f"{1e6 * value:.2g} per million"


@_known
def score(value, digits=1):
    """Writes a score between -1 and 1 as papers give it: 81.3."""
    return f"{100 * value:.{digits}f}"


@_known
def nats(value):
    """Writes a loss: 2.413."""
    return f"{value:.3f}"


@_known
def short(value):
    """Writes a large number in three digits and a multiplier: 12.1B."""
    return describe(value)


@_known
def duration(seconds):
    """Writes seconds as people say them: 45.0 s, 10 min 0 s, 24 h 0 min."""
    return describe_seconds(seconds)


@_known
def size(count):
    """Writes bytes: 512 B, 1.2 MB."""
    for unit, of_unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= of_unit:
            return f"{count / of_unit:.3g} {unit}"
    return f"{count} B"


@_known
def signed(value, digits=1):
    """Writes a difference with its sign: +1.5, −0.3."""
    return f"{value:+.{digits}f}".replace("-", MINUS)


def difference(value, planned):
    """Writes by how many percent a value is off what was planned; nothing where either is missing."""
    if not planned or value is None:
        return ""
    percent = round(100 * (value / planned - 1), 1)
    return "as planned" if percent == 0 else f"{signed(percent)}%"


def counted(count, noun):
    """Writes a count and its noun: 1 seed, 3 seeds."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def fact(value):
    """Writes any value of a JSON file for a table of names and values."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return significant(value) if abs(value) < 1e4 else number(value) if value < 1e6 else describe(value)
    if isinstance(value, list | tuple):
        items = [str(item) for item in value]
        return ("; " if any(" " in item for item in items) else ", ").join(items)
    return str(value)


FILTERS = {
    function.__name__: function
    for function in (
        *(number, significant, share, part, rate, score, nats, short, duration, size, signed, difference, counted),
        fact,
    )
}
