import random
import time

import pytest

from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.words import LONGEST_PIECE, pre_tokenizer, separate, separate_in_graph

pytestmark = pytest.mark.without_backend

LETTERS = ["a", "Z", "7", "é", "я", "ก", "่", "か", "中", "가", "😀", "𓀀", "́", "、", "།", "་", "“", ".", "[", " ", "ﬀ"]


def test_random_text_is_cut_alike_in_python_in_a_graph_and_by_tokenizers():
    tf = pytest.importorskip("tensorflow")
    draw, texts = random.Random(0), []
    for _ in range(400):
        some = draw.sample(LETTERS, draw.randint(1, 4))
        text = "".join(draw.choice(some) * draw.choice((1, 1, 3, 40, 120)) for _ in range(draw.randint(1, 12)))
        texts.append(Normalizer(False, False)(text))
    split = pre_tokenizer()
    graph = tf.function(separate_in_graph, input_signature=[tf.TensorSpec([None], tf.string)])(tf.constant(texts))
    for text, cut in zip(texts, graph.numpy(), strict=True):
        words = separate(text).split()
        assert cut.decode().split() == words
        # It also splits at ASCII punctuation.
        pieces = [piece for piece, _ in split.pre_tokenize_str(text)]
        assert pieces == [piece for word in words for piece, _ in split.pre_tokenize_str(word)]
        assert "".join(words) == "".join(text.split())
        assert all(len(piece.encode()) <= LONGEST_PIECE for piece in pieces)


def test_ordinary_words_stay_whole():
    text = (
        "Don't stop at Straße 7, naïve Übergröße; Санкт-Петербург हिन्दी 한국어 http://example.org/a-rather-long-address"
    )
    assert separate(text) == text
    assert separate("去“北京”") == " 去 “ 北 京 ” "


@pytest.mark.parametrize(
    "text", ["a" * 2_000_000, "中" * 600_000, "ก่" * 300_000, f"{'a' * 99} " * 20_000, "\u0301" * 10**6]
)
def test_the_time_grows_with_the_length(text):
    started = time.process_time()
    separate(text[: len(text) // 8])
    eighth = time.process_time() - started
    started = time.process_time()
    separate(text)
    assert time.process_time() - started < 1 + 24 * eighth  # a quadratic one takes 64 times as long
