import dataclasses

import pytest

from budgetbert.corpus.options import Options
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend


def test_the_manifest_states_every_option():
    options = Options(filter="t=0.3").for_sources("text.txt")
    told = options.for_manifest(None, [1.0])
    names = {field.name for field in dataclasses.fields(Options)}
    assert set(told) == names - {"vocabulary_size", "vocabulary_from", "normalizer_of_model"} | {"weights"}
    assert (told["vocabulary"], told["filter"], told["weights"]) == (32_768, 0.3, [1.0])


@pytest.mark.parametrize(
    ("sources", "given", "expected"),
    [
        ("text.txt", {}, (32_768, 0.005)),
        ("demo", {}, (8_192, 0.03)),
        ("demo", {"vocabulary_size": 300, "validation_fraction": 0.0}, (320, 0.0)),
        ("demo", {"vocabulary": "entries.txt"}, (None, 0.03)),
    ],
)
def test_some_defaults_depend_on_the_sources(sources, given, expected):
    options = Options(**given).for_sources(sources)
    assert (options.vocabulary_size, options.validation_fraction) == expected


def test_a_given_vocabulary_is_known_by_its_entries():
    options = Options(vocabulary="a.txt").for_sources("text.txt")
    first, second, other = (options.for_manifest(entries, None) for entries in (["a"], ["a"], ["b"]))
    assert first == second
    assert first["vocabulary"] != other["vocabulary"]


def test_an_alphabet_has_to_fit_into_the_vocabulary():
    assert Options(alphabet_size=4096, vocabulary_size=8192).for_sources("text.txt").alphabet_size == 4096
    with pytest.raises(InputError, match=r"--alphabet_size=5000 does not fit into 8192 entries, .* give 4096 or fewer"):
        Options(alphabet_size=5000, vocabulary_size=8192).for_sources("text.txt")
    with pytest.raises(InputError, match="--alphabet_size=3 is out of range: give 32 to 1048576"):
        Options(alphabet_size=3)
    with pytest.raises(InputError, match="leave it out beside --vocabulary"):
        Options(alphabet_size=5000, vocabulary="a.txt")


def test_an_option_is_checked_when_it_is_given():
    with pytest.raises(InputError, match="--rows=columns is unknown: give packed or sentences or pairs"):
        Options(rows="columns")
    with pytest.raises(TypeError, match="colour"):
        Options(colour="red")
