"""Each piece says where in the text it was, in Python and in a graph alike."""

import glob
import json
import lzma
import os
import re

import pytest

from budgetbert.tokenization import characters
from budgetbert.tokenization.encoder import PieceCounter
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import standalone_tokenizer, train_vocabulary
from tests.texts import HARD, LANGUAGES, real_lines

from .each_tokenizer import code_points
from .test_agreement import WRITTEN

pytestmark = pytest.mark.without_backend

# Emoji, ß, ﬁ, marks that are dropped or composed, Korean in parts, quotes that Cramming joins, and what is dropped.
KNOTTY = [
    "``a'' ``\u0301 b```c `\u00ad`d ‘’''",
    "\u00ad",
    "\x1f a\x1fb\x1ec",
    "ㄱㅏㄳ ㉠ᅡ ﾡￂ \u1112\u1161\u11ab 각\u11a8",
    "e\u00ad\u0301x \u0301a e\u0301\u0323 \u200d\u0301\u200d",
    "[MASK]\u0301 ［MASK］ [MA\u00adSK]",
    "a" + "\u0301" * 40 + "b",
    "Straße 👩‍🚀ﬁn\ufe0f ½ﷺ ΐ ŉ İ",
]
LETTERS = [Normalizer(), Normalizer(False, False), Normalizer(kind="cramming"), Normalizer(kind="checkpoint")]


def tokenizer_of(normalizer, texts, size=2048):
    pytest.importorskip("tensorflow_text")
    from budgetbert.models import BertBudgetTokenizer

    vocabulary = train_vocabulary(PieceCounter(normalizer)(texts * 2), size)
    return BertBudgetTokenizer.from_normalizer(vocabulary, normalizer)


def check_alignment(tokenizer, texts):
    """Python and a graph agree, and what stands at a piece's place normalises to the piece."""
    import tensorflow as tf

    in_graph = tf.function(lambda strings: tuple(tokenizer.tokenize_with_offsets(strings)))(tf.constant(texts))
    in_graph = [part.to_list() for part in in_graph]
    whole = total = 0
    for place, text in enumerate(texts):
        pieces = tokenizer.tokenize_with_offsets(text)
        assert [part.tolist() for part in pieces] == [part[place] for part in in_graph], text
        assert pieces.ids.tolist() == list(tokenizer(text)), text
        for token, start, end in zip(pieces.ids, pieces.starts, pieces.ends, strict=True):
            name = tokenizer.id_to_token(int(token)).removeprefix("##")
            found = "".join(tokenizer._split(text[start:end]))
            total += 1
            whole += name in (found, "[UNK]")
            # One character may become several pieces, each of which is all of it.
            assert name in found or name == "[UNK]", (text, name)
    return whole, total


@pytest.mark.parametrize("normalizer", LETTERS, ids=repr)
def test_a_slice_of_the_text_normalises_to_its_piece(normalizer):
    texts = [*HARD, *LANGUAGES, *WRITTEN, *KNOTTY]
    whole, total = check_alignment(tokenizer_of(normalizer, texts), texts)
    assert total > 150
    assert whole > 0.7 * total


def test_offsets_count_the_code_points_of_the_text_as_it_was_given():
    tokenizer = tokenizer_of(Normalizer(), ["strasse fin cafe x"])
    text = "🇫🇷 Straße\u00ad ﬁn (cafe\u0301) x"
    pieces = tokenizer.tokenize_with_offsets(text)
    spans = {}
    for word, start, end in zip(pieces.words, pieces.starts, pieces.ends, strict=True):
        spans[word] = (spans.get(word, (start,))[0], end)
    assert [text[start:end] for start, end in spans.values()][-6:] == ["Straße", "ﬁn", "(", "cafe\u0301", ")", "x"]


def test_offsets_are_those_of_tokenizers_where_each_character_is_one():
    normalizer = Normalizer()
    joined = re.compile(f"[{characters.MARKS}{characters.DROPPED}\u1100-\u11ff\u3130-\u318f\uff00-\uffef]")
    lines = [line[:200] for line in real_lines(20)]
    lines = [line for line in lines if not joined.search(line)]
    assert len(lines) > 100
    tokenizer = tokenizer_of(normalizer, lines)
    theirs = standalone_tokenizer(tokenizer.get_vocabulary(), normalizer).encode_batch(lines, add_special_tokens=False)
    for line, row in zip(lines, theirs, strict=True):
        pieces = tokenizer.tokenize_with_offsets(line)
        assert list(zip(pieces.starts, pieces.ends, strict=True)) == row.offsets, line


def other_lines(number):
    """The first `number` lines of texts in each of seven languages."""
    lines = []
    for folder in sorted(glob.glob(os.path.join(os.environ["BUDGETBERT_DATA"], "languages", "*"))):
        mine = []
        for path in sorted(glob.glob(os.path.join(folder, "*.xz"))):
            with lzma.open(path, "rt", encoding="utf-8") as file:
                mine += [line[:120] for row in file for line in json.loads(row)["text"].split("\n") if line]
        lines += mine[:number]
    return lines


@pytest.mark.slow
def test_python_and_graph_agree_on_twenty_thousand_lines_of_eight_languages():
    texts = [line[:120] for line in real_lines(700)]  # They skip where there is no real data.
    knotty = [*HARD, *KNOTTY]
    texts += other_lines(2000)
    texts = [f"{text} {knotty[place % len(knotty)]}" for place, text in enumerate(texts)]
    assert len(texts) >= 20_000
    tokenizer = tokenizer_of(Normalizer(), texts, 4096)
    whole, total = check_alignment(tokenizer, texts)
    assert whole > 0.9 * total


@pytest.mark.slow
@pytest.mark.parametrize("normalizer", LETTERS, ids=repr)
def test_python_and_graph_agree_on_code_points_of_all_categories(normalizer):
    points = code_points(every=64)
    texts = ["".join(f"a{point}b {point} " for point in points[start::997]) for start in range(997)]
    check_alignment(tokenizer_of(normalizer, texts), texts)
