"""A small text that is always the same."""

import random

_WORDS = [
    a + b for a in ("ba", "con", "der", "est", "fil", "gor", "hu", "in") for b in ("jat", "kel", "lo", "mir", "na")
]


def write_text(path, documents=120):
    """Writes a text of documents of several sentences; returns its path as str."""
    draw = random.Random(0)

    def sentence():
        return " ".join(draw.choices(_WORDS, k=draw.randint(4, 14))).capitalize() + "."

    text = "\n\n".join("\n".join(sentence() for _ in range(draw.randint(5, 20))) for _ in range(documents))
    path.write_text(text, encoding="utf-8")
    return str(path)
