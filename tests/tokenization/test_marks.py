import random
import unicodedata

import pytest

from budgetbert.tokenization.characters import MARKS
from budgetbert.tokenization.marks import compose

pytestmark = pytest.mark.without_backend


def test_it_is_nfc():
    assert compose("cafe\u0301") == "café"
    generator = random.Random(1)
    marks = [chr(number) for number in range(0x300, 0x3100) if unicodedata.category(chr(number))[0] == "M"]
    for _ in range(300):
        some = generator.choices([*marks, "\u0f73", "\u0344", "\uff9e"], k=generator.choice((29, 31, 60, 500)))
        text = f"a{''.join(some)}b が {''.join(some[:40])}"
        assert compose(text) == unicodedata.normalize("NFC", text)


def test_a_million_marks_take_no_longer_than_other_text():
    text = compose("a" + "\u0301\u0323" * 500_000)  # by `unicodedata` alone this takes half an hour
    assert text == "\u1ea1" + "\u0323" * 499_999 + "\u0301" * 500_000


def test_every_character_that_is_sorted_is_a_mark():
    sets = {*map(chr, (n for a, b in zip(MARKS[::3], MARKS[2::3], strict=True) for n in range(ord(a), ord(b) + 1)))}
    sorted_ones = {chr(number) for number in range(0x110000) if unicodedata.combining(chr(number))}
    assert sorted_ones <= sets
