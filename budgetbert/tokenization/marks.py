"""Unicode NFC in a time in proportion to the length of a text.

`unicodedata.normalize` sorts the marks of a letter by insertion, which takes a time that grows with the square of
their number: a line of 400 kB of marks does not end in two minutes. Those that are in order already it leaves.
"""

import itertools
import re
import unicodedata

from budgetbert.tokenization.characters import MARKS

_MARK, _MANY = re.compile(f"[{MARKS}]"), re.compile(f"[{MARKS}]{{31,}}")


def compose(text):
    """The same as `unicodedata.normalize("NFC", text)`, whatever the text.

    Args:
        text: str.

    Returns:
        str.

    Example:

    >>> compose("cafe" + chr(0x301)) == "café"
    True
    """
    # Of 31 marks in a row one is among every 31st character, and those are soon looked through.
    if not text.isascii() and _MARK.search(text[::31]):
        text = _MANY.sub(_in_order, text)
    return unicodedata.normalize("NFC", text)


def _in_order(match):
    # They are decomposed one by one, as a mark may be two, and together they would be sorted. A mark of class 0 keeps
    # those before it from those behind it.
    marks = "".join(unicodedata.normalize("NFD", mark) for mark in match[0])
    classes = list(map(unicodedata.combining, marks))
    bounds = [0, *(index for index, number in enumerate(classes) if index and not number), len(marks)]
    return "".join(
        "".join(sorted(marks[start:end], key=unicodedata.combining)) for start, end in itertools.pairwise(bounds)
    )
