import collections

import numpy as np
import pytest

from budgetbert.tokenization import encoder as encoding
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import plain_tokenizer, train_vocabulary
from budgetbert.tokenization.words import separate

pytestmark = pytest.mark.without_backend


def count(texts, normalizer=None):
    return encoding.PieceCounter(normalizer or Normalizer())(texts)


def test_pieces_are_what_the_tokenizer_splits_at_spaces_and_punctuation():
    pieces = count(["Don't stop, don't!", "naïve Straße東京"])
    assert pieces == collections.Counter(["don", "'", "t"] * 2 + ["stop", ",", "!", "naive", "strasse", "東", "京"])


@pytest.mark.parametrize("normalizer", [Normalizer(), Normalizer(False, False), Normalizer(kind="cramming")], ids=repr)
def test_words_encode_like_the_whole_text(make_documents, normalizer):
    documents = [
        *make_documents(50),
        "no\u00a0break\u2003em\u3000ideographic\u2028line\u0085next\x1cunit\ttab\u200bzero\u1680ogham",
        "e\u0301clair \u0301alone a \u0308b ½ ﬁne ΣΊΣΥΦΟΣ İstanbul x\x00y \u00ad "
        + "long" * 100
        + " 東京タワー 🤷🏽‍♀️ ﷺ",
        "(Paris), \"the\" [houses]... ?! ,\u0338a (\u0301b) \u00ad. ``said,'' (''x'') .5 e.g., [" + "k" * 120 + "]",
    ]
    entries = train_vocabulary(count(documents * 3, normalizer), 256)
    reference = plain_tokenizer(entries)
    encode = encoding.Encoder(entries, normalizer, np.uint16)
    for _ in range(2):  # the second time from the table
        for document, ids in zip(documents, encode(documents), strict=True):
            assert ids.tolist() == reference.encode(separate(normalizer(document)), add_special_tokens=False).ids


def test_a_full_table_changes_nothing(monkeypatch, make_documents):
    documents = make_documents(60)
    entries = train_vocabulary(count(make_documents(60)), 256)
    expected = encoding.Encoder(entries, Normalizer(), np.uint16)(documents)
    monkeypatch.setattr(encoding, "CACHED_WORDS", 3)
    monkeypatch.setattr(encoding, "CACHED_WORD_CHARACTERS", 4)
    encode = encoding.Encoder(entries, Normalizer(), np.uint16)
    for document, ids in zip(documents, expected, strict=True):
        np.testing.assert_array_equal(encode([document])[0], ids)


def test_special_tokens_written_in_the_text_are_text(make_documents):
    entries = train_vocabulary(count(make_documents(60)), 256)
    (ids,) = encoding.Encoder(entries, Normalizer(), np.uint16)(["[SEP] [MASK]"])
    assert not set(ids.tolist()) & {0, 2, 3, 4}


def test_a_control_character_is_a_space(make_documents):
    entries = train_vocabulary(count(make_documents(60)), 256)
    encode = encoding.Encoder(entries, Normalizer(), np.uint16)
    the = entries.index("the")
    for _ in range(2):  # the second time there is nothing new
        encoded = [ids.tolist() for ids in encode(["the\x1fthe \x1f", "", "\x1f", "the"])]
        assert encoded == [[the, the], [], [], [the]]
