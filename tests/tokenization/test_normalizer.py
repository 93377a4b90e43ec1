import functools
import random

import pytest
from tokenizers import Regex, normalizers

from budgetbert.tokenization import characters
from budgetbert.tokenization.normalizer import Normalizer
from tests.texts import HARD, LANGUAGES, real_lines

from .each_tokenizer import NORMALIZERS, code_points

pytestmark = pytest.mark.without_backend

BERT = [normalizer for normalizer in NORMALIZERS if normalizer.kind == "bert"]
CRAMMING = [normalizer for normalizer in NORMALIZERS if normalizer.kind == "cramming"]


def in_graph(normalizer, texts):
    tf = pytest.importorskip("tensorflow")
    function = tf.function(normalizer.in_graph, input_signature=[tf.TensorSpec([None], tf.string)])
    return [text.decode() for text in function(tf.constant(texts)).numpy()]


@functools.cache
def contexts():
    """Every code point (from U+3400 on every 64th) in words and between them."""
    return [f"ab{point}cd {point} e{point}" for point in code_points(every=64)]


def test_what_it_does():
    assert Normalizer()("Straße  Café") == "strasse  cafe"
    assert Normalizer(True, False)("Straße  Café") == "strasse  café"
    assert Normalizer(False, False)("Straße  Cafe\u0301") == "Straße  Café"
    assert Normalizer(False, True)("Straße  Café") == "Straße  Cafe"
    assert Normalizer()("ΣΊΣΥΦΟΣ ½ ﬁ so\u00adft\x00end\n") == "σισυφοσ 1⁄2 fi soft end "


def test_what_cramming_does():
    text = "``Don't''  Straße\u00a0Café — naïve ½ ﬁne \u2028x\tİ"
    assert Normalizer(kind="cramming")(text) == '"don\'t" strae cafe naive ne x i'
    assert Normalizer(kind="cramming", strip_accents=False)(text) == '"don\'t" strae caf nave 12 fine x i'
    assert Normalizer(False, True, "cramming")("É Σ 東") == "E "


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_every_private_use_character_is_dropped(normalizer):
    points = [*range(0xE000, 0xF900), *range(0xF0000, 0xFFFFE), *range(0x100000, 0x10FFFE)]
    text = "".join(map(chr, points))
    assert normalizer(f"e{text}s {text}x") == "es x"
    assert in_graph(normalizer, [f"e{text}s {text}x"]) == ["es x"]


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind='roberta'"):
        Normalizer(kind="roberta")


def as_in_the_original(normalizer):
    """Geiping & Goldstein's sequence of Hugging Face's normalizers, behind the one rule of ours on white space."""
    steps = [
        normalizers.Replace(Regex(characters.re2(characters.SPACES)), " "),
        normalizers.Replace("``", '"'),
        normalizers.Replace("''", '"'),
    ]
    steps.append(normalizers.NFD() if normalizer.strip_accents else normalizers.NFKC())
    steps += [normalizers.Lowercase()] * normalizer.lowercase
    steps += [normalizers.StripAccents()] * normalizer.strip_accents
    steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Replace(Regex(r"[^\x00-\x7F]+"), "")]
    return normalizers.Sequence(steps)


@pytest.mark.parametrize("normalizer", CRAMMING, ids=repr)
def test_cramming_is_as_in_the_original(normalizer):
    original = as_in_the_original(normalizer)
    texts = [*HARD, *LANGUAGES, *contexts()]
    differing = [text for text in texts if normalizer(text).split() != original.normalize_str(text).split()]
    assert not set(differing) & {*HARD, *LANGUAGES}
    assert len(differing) <= 0.001 * len(texts), differing  # letters newer than the Unicode of `tokenizers`


@pytest.mark.parametrize("normalizer", BERT, ids=repr)
def test_normalising_twice_changes_nothing(normalizer):
    for text in HARD:
        assert normalizer(normalizer(text)) == normalizer(text)


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_words_can_be_normalised_one_by_one(normalizer):
    for text in [*HARD, *LANGUAGES, *contexts()]:
        assert " ".join(map(normalizer, text.split())).split() == normalizer(text).split()


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_python_and_graph_agree_on_hard_text(normalizer):
    texts = [*HARD, *LANGUAGES]
    assert in_graph(normalizer, texts) == [normalizer(text) for text in texts]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_python_and_graph_agree_on_code_points(normalizer):
    texts = contexts()
    differing = [
        text for text, other in zip(texts, in_graph(normalizer, texts), strict=True) if normalizer(text) != other
    ]
    # None with Python 3.11, whose Unicode is 14.0. A Python of newer Unicode than TensorFlow may know more.
    assert len(differing) <= 0.001 * len(texts), differing


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_python_and_graph_agree_on_real_text(normalizer):
    lines = real_lines(200)
    assert in_graph(normalizer, lines) == [normalizer(line) for line in lines]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_no_more_than_thirty_marks_in_a_row_are_read_and_that_takes_no_time(normalizer):
    marks = "\u0301\u0323\u0f73\uff9e\u200d" * 200_000  # by insertion they are sorted in hours
    text = f"a{marks}b e\u0301"
    assert normalizer(text) == normalizer(f"a{marks[:37]}b e\u0301")  # 30 of them and 7 joiners
    assert in_graph(normalizer, [text]) == [normalizer(text)]
    assert "".join(step_by_step(normalizer, text).split()) == "".join(normalizer(text).split())


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_marks_at_random_are_read_alike_everywhere(normalizer):
    draw, marks = random.Random(0), [*map(chr, range(0x300, 0x370)), *"゙ֿؘِّ֑\u0f71\u0f73\u1dc0"]
    words = [draw.choice("aοᾳか") + "".join(draw.choices(marks, k=draw.randint(0, 40))) for _ in range(900)]
    texts = ["".join(words[start : start + 9]) for start in range(0, 900, 9)]
    expected = [normalizer(text) for text in texts]
    assert in_graph(normalizer, texts) == expected
    assert [step_by_step(normalizer, text).split() for text in texts] == [text.split() for text in expected]


def step_by_step(normalizer, text):
    for step in normalizer.steps():
        text = step.normalize_str(text)
    return text


def test_characters_that_say_how_others_are_drawn_are_dropped():
    assert Normalizer()("\u06dda \u0600\u0661 \U00013430x") == "a \u0661 x"
    assert Normalizer(False, False)("a\u034f\u0301 \U0001e030b") == "á b"


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_halves_of_surrogate_pairs_are_spaces(normalizer):
    assert normalizer("a\ud83db\ude00") == "a b "
