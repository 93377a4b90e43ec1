"""New entries for an old vocabulary are those that save the most pieces."""

import collections
import itertools
import random

import pytest

from budgetbert.tokenization.encoder import PieceCounter
from budgetbert.tokenization.extension import most_useful, old_pieces, split_word
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, train_vocabulary, word_piece
from tests.texts import real_documents

pytestmark = pytest.mark.without_backend

LETTERS = "abcdefghij"
OLD = [*SPECIAL_TOKENS, *LETTERS, *(f"##{letter}" for letter in LETTERS)]


def pieces(counts, vocabulary):
    """The pieces of a text by the library's WordPiece."""
    model = word_piece(vocabulary)
    return sum(count * len(model.tokenize(word)) for word, count in counts.items())


def random_words(seed):
    draw = random.Random(seed)
    stems = ["".join(draw.choices(LETTERS, k=draw.randint(1, 4))) for _ in range(8)]
    words = ["".join(draw.choices(stems, k=draw.randint(1, 3))) for _ in range(60)]
    return collections.Counter({word: draw.randint(1, 50) for word in words})


@pytest.mark.parametrize("seed", range(5))
def test_words_are_split_as_word_piece_splits_them(seed):
    counts = random_words(seed)
    vocabulary = [*OLD, *most_useful(OLD, counts, 10)]
    model = word_piece(vocabulary)
    for word in counts:
        assert split_word(word, set(vocabulary)) == [token.value for token in model.tokenize(word)]
    assert split_word("abx", set(OLD)) == ["a", "##b", None]


@pytest.mark.parametrize("seed", range(5))
def test_no_word_and_no_piece_would_save_more_than_the_first_choice(seed):
    counts = random_words(seed)
    (first,) = most_useful(OLD, counts, 1)
    tried = {("##" if start else "") + word[start:end] for word in counts for start in range(len(word)) for end in
             range(start + 2, len(word) + 1)}  # fmt: skip
    least = min(pieces(counts, [*OLD, entry]) for entry in tried)
    assert pieces(counts, [*OLD, first]) == least


def test_every_choice_saves_pieces_and_none_saves_none():
    counts = random_words(0)
    chosen = most_useful(OLD, counts, 1000)
    numbers = [pieces(counts, [*OLD, *chosen[:number]]) for number in range(len(chosen) + 1)]
    assert all(before > after for before, after in itertools.pairwise(numbers))
    # With all of them each word is one piece.
    assert numbers[-1] == counts.total()
    assert most_useful([*OLD, *chosen], counts, 5) == []


def test_a_missing_character_is_worth_an_entry():
    counts = collections.Counter({"aéa": 5, "bé": 5, "cé": 5, "dééd": 5, "ab": 1})
    chosen = most_useful(OLD, counts, 4)
    model = word_piece([*OLD, *chosen])
    assert all("[UNK]" not in [token.value for token in model.tokenize(word)] for word in counts)


def test_the_old_pieces_of_a_new_entry():
    assert old_pieces("abc", set(OLD)) == ["a", "##b", "##c"]
    assert old_pieces("##bc", set(OLD)) == ["##b", "##c"]
    assert old_pieces("bé", set(OLD)) == ["[UNK]"]


def test_two_hundred_entries_of_novels_on_a_vocabulary_of_wikipedia():
    count = PieceCounter(Normalizer(kind="checkpoint"))
    old = train_vocabulary(count(real_documents("wikipedia", 1_000_000)), 4096)
    counts = count(real_documents("novels", 1_000_000))
    chosen = most_useful(old, counts, 200)
    assert len(chosen) == 200
    longer = train_vocabulary(count(real_documents("wikipedia", 1_000_000)), 4288)
    # More entries of the old text save less.
    assert pieces(counts, [*old, *chosen]) < pieces(counts, longer) < pieces(counts, old)
