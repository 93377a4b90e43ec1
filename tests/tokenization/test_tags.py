import itertools

import pytest

from budgetbert.tokenization.tags import Entity, TagScheme, entities_of

pytestmark = pytest.mark.without_backend

# Worked out by hand from conlleval's rules.
CASES = {
    "B-PER I-PER O B-LOC": [(0, 2, "PER"), (3, 4, "LOC")],
    "O I-PER I-PER O": [(1, 3, "PER")],
    "B-PER I-LOC I-LOC": [(0, 1, "PER"), (1, 3, "LOC")],
    "B-PER B-PER I-PER": [(0, 1, "PER"), (1, 3, "PER")],
    "S-PER S-PER B-LOC I-LOC E-LOC": [(0, 1, "PER"), (1, 2, "PER"), (2, 5, "LOC")],
    "E-PER E-PER I-PER": [(0, 1, "PER"), (1, 2, "PER"), (2, 3, "PER")],
    "B-LOC I-LOC S-LOC I-LOC": [(0, 2, "LOC"), (2, 3, "LOC"), (3, 4, "LOC")],
    "U-PER B-LOC L-LOC": [(0, 1, "PER"), (1, 3, "LOC")],
    "B I O I": [(0, 2, ""), (3, 4, "")],
    "B-a-b I-a-b": [(0, 2, "a-b")],
    "NOUN NOUN O VERB": [(0, 1, "NOUN"), (1, 2, "NOUN"), (3, 4, "VERB")],
    "O O": [],
    "": [],
}


@pytest.mark.parametrize("tags", CASES)
def test_entities_are_those_of_conlleval(tags):
    assert entities_of(tags.split()) == [Entity(*entity) for entity in CASES[tags]]


@pytest.mark.parametrize(
    "names", ["O B-X I-X B-Y I-Y", "O B-X I-X E-X S-X B-Y I-Y E-Y S-Y", "O B-X I-X L-X U-X B-Y I-Y L-Y U-Y"]
)
def test_repaired_tags_say_the_same_entities_and_need_no_repair(names):
    scheme = TagScheme(names.split())
    assert scheme.has_entities
    for tags in itertools.product(scheme.label_names, repeat=3):
        repaired = scheme.repaired(tags)
        assert entities_of(repaired) == entities_of(tags)
        assert scheme.repaired(repaired) == repaired


def test_the_table_of_starts_finds_the_same_entities():
    scheme = TagScheme(["O", "B-X", "I-X", "E-X", "S-X", "I-Y"])
    for tags in itertools.product(range(6), repeat=3):
        starts = [place for place, (a, b) in enumerate(zip((-1, *tags), tags, strict=False)) if scheme.starts[a, b]]
        assert starts == [entity.start for entity in entities_of([scheme.label_names[tag] for tag in tags])]


def test_a_repair_leaves_what_has_no_right_name():
    # Sets in IOB1 may have no B-.
    assert TagScheme(["O", "I-X"]).repaired(["O", "I-X", "I-X"]) == ["O", "I-X", "I-X"]
    assert TagScheme(["NOUN", "VERB"]).repaired(["VERB", "VERB"]) == ["VERB", "VERB"]
