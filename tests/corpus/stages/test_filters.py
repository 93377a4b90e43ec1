import sys
import unicodedata

import pytest

from budgetbert.corpus.stages import filters as quality
from budgetbert.errors import InputError
from budgetbert.tokenization.normalizer import Normalizer

pytestmark = pytest.mark.without_backend


def test_white_space_at_the_ends_makes_no_document_longer():
    assert quality.long_enough("four", 4)
    assert not quality.long_enough(" \n four \n ", 5)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The old king remembers the night train that never came to the village near the river."),
        ("de", "Der alte König erinnert sich an den Nachtzug, der nie in das Dorf am Fluss gekommen ist."),
        ("el", "Ο γέρος βασιλιάς θυμάται το νυχτερινό τρένο που δεν ήρθε ποτέ στο χωριό."),
        ("ru", "Старый король помнит ночной поезд, который так и не пришёл в деревню у реки."),
        ("ja", "年老いた王は、川のそばの村に来なかった夜行列車を覚えている。"),
    ],
)
def test_a_document_is_in_its_own_language_and_in_no_other(language, text):
    pytest.importorskip("py3langid")
    for other in ("en", "de", "el", "ru", "ja"):
        assert quality.in_language(text, other) == (other == language)


def test_an_unknown_language_is_refused():
    pytest.importorskip("py3langid")
    with pytest.raises(InputError, match="'english' is unknown: give one of"):
        quality.in_language("text", "english")


def test_without_its_library_the_language_filter_says_how_to_get_it(monkeypatch):
    quality._language_model.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(InputError, match=r"pip install 'budgetbert\[language\]'"):
        quality.in_language("text", "en")


def test_a_document_is_compressible_below_t_tokens_per_character():
    assert quality.compressible(1000, 299, 0.3)
    assert not quality.compressible(1000, 300, 0.3)
    assert not quality.compressible(0, 0, 0.3)


@pytest.mark.parametrize("strip_accents", [True, False])
def test_what_is_counted_as_deleted_is_what_the_normaliser_deletes(strip_accents):
    numbers = (*range(0x300, 0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0FFF))
    characters = [character for character in map(chr, numbers) if unicodedata.is_normalized("NFKC", character)]
    normalizer = Normalizer(lowercase=False, strip_accents=strip_accents)
    deleted = [character for character in characters if normalizer(character) == ""]
    assert quality.deleted_by_bert("".join(characters), strip_accents) == len(deleted) > 5000


def test_white_space_and_accents_are_no_loss_to_cramming():
    text = "naïve – 東京\u3000café\x85\ufffd"
    normalized = Normalizer(kind="cramming", strip_accents=True)(text)
    assert normalized == "naive cafe "
    assert quality.deleted_by_cramming(text, strip_accents=True) == len("–東京")
    assert quality.deleted_by_cramming(text, strip_accents=False) == len("ï–東京é")
