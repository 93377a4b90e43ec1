import itertools
import random

import pytest

SYLLABLES = ["ba", "con", "der", "est", "fil", "gor", "hu", "in", "jat", "kel", "lo", "mir", "na", "ost", "pra", "qui"]
WORDS = [
    *(
        "the",
        "of",
        "and",
        "a",
        "in",
        "He",
        "Said,",
        "that",
        "it",
        "Paris",
        "café",
        "naïve",
        "Straße",
        "houses",
        "house;",
    ),
    *("“quoted”", "Don't", "1984", "half-open", "reader's", "(twice)", "walking,", "walked."),
    *("".join(syllables) for syllables in itertools.permutations(SYLLABLES[:8], 3)),
    *("".join(syllables) for syllables in itertools.permutations(SYLLABLES, 2)),
]


@pytest.fixture
def make_documents():
    """A function of (number, seed) that returns that many different documents of 5 to 80 words."""

    def make(number, seed=0):
        draw = random.Random(seed)
        return [
            f"{' '.join(draw.choices(WORDS, k=draw.randint(5, 80)))} number{seed}x{index}." for index in range(number)
        ]

    return make


@pytest.fixture
def text_file(tmp_path, make_documents):
    """The path of a text file with 400 documents."""
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(make_documents(400)), encoding="utf-8")
    return path
