"""Values of conlleval's rules, worked out by hand, and those that seqeval documents for its default mode."""

import random

import pytest

from budgetbert.finetuning.tagging.entity_metrics import MostFrequentTags, entity_scores

pytestmark = pytest.mark.without_backend

# Labels, predictions, and the numbers of entities that are right, predicted and there.
CASES = {
    "seqeval's first example": (
        "O O O B-MISC I-MISC I-MISC O | B-PER I-PER O",
        "O O B-MISC I-MISC I-MISC I-MISC O | B-PER I-PER O",
        (1, 2, 2),
    ),
    "seqeval's example of a wrong prefix": ("B-NP I-NP O", "I-NP I-NP O", (1, 1, 1)),
    "an end that is missing": ("B-PER I-PER O", "B-PER O O", (0, 1, 1)),
    "two that are taken for one": ("B-LOC B-LOC O", "B-LOC I-LOC O", (0, 1, 2)),
    "another type": ("B-LOC I-LOC", "B-LOC I-PER", (0, 2, 1)),
    "another type behind it": ("B-LOC B-PER", "B-LOC I-PER", (2, 2, 2)),
    "no entity across sentences": ("B-LOC | I-LOC", "B-LOC | B-LOC", (2, 2, 2)),
    "IOBES": ("S-LOC B-PER I-PER E-PER", "S-LOC B-PER E-PER E-PER", (1, 3, 2)),
    "none predicted": ("B-LOC O", "O O", (0, 0, 1)),
    "none there": ("O O", "O B-LOC", (0, 1, 0)),
    "nothing at all": ("O O", "O O", (0, 0, 0)),
}


def sentences(text):
    return [part.split() for part in text.split("|")]


@pytest.mark.parametrize("name", CASES)
def test_entities_are_counted_as_conlleval_counts_them(name):
    labels, predictions, (right, predicted, there) = CASES[name]
    found = entity_scores(sentences(labels), sentences(predictions))
    assert found["entity_precision"] == (right / predicted if predicted else 0)
    assert found["entity_recall"] == (right / there if there else 0)
    assert found["entity_f1"] == pytest.approx(2 * right / (predicted + there) if predicted + there else 0)
    assert sum(kind["support"] for kind in found["types"].values()) == there


def test_the_report_of_seqevals_example():
    labels, predictions, _ = CASES["seqeval's first example"]
    found = entity_scores(sentences(labels), sentences(predictions))
    assert (found["entity_f1"], found["accuracy"]) == (0.5, 0.8)
    assert found["types"]["MISC"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert found["types"]["PER"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1}


def chunks_by_the_script(tags):
    """The chunks of one sentence by conlleval's two tables, which look at ends and starts apart."""
    found, start, before = [], None, ("O", "")
    for place, tag in enumerate([*tags, "O"]):
        now = tuple(tag.split("-", 1)) if tag != "O" else ("O", "")
        ends = before[0] != "O" and (
            now[0] in "BO" or before[0] == "E" or (before[0] in "BI" and now[0] == "O") or before[1] != now[1]
        )
        begins = now[0] == "B" or (now[0] in "IE" and (before[0] in "EO" or before[1] != now[1]))
        if ends and start is not None:
            found.append((start, place, before[1]))
            start = None
        if begins:
            start = place
        before = now
    return set(found)


def test_counts_are_those_of_the_scripts_tables_on_random_tags():
    draw = random.Random(0)
    tags = ["O", *(f"{prefix}-{kind}" for prefix in "BIE" for kind in ("A", "B"))]
    both = [([draw.choice(tags) for _ in range(12)], [draw.choice(tags) for _ in range(12)]) for _ in range(500)]
    labels, predictions = zip(*both, strict=True)
    right = predicted = there = 0
    for first, second in both:
        mine, theirs = chunks_by_the_script(first), chunks_by_the_script(second)
        right, predicted, there = right + len(mine & theirs), predicted + len(theirs), there + len(mine)
    found = entity_scores(labels, predictions)
    assert found["entity_precision"] == right / predicted
    assert found["entity_recall"] == right / there


def test_predictions_are_as_many_as_the_tags():
    with pytest.raises(ValueError, match="2 tags and 1 predictions"):
        entity_scores([["O", "O"]], [["O"]])


def test_the_baseline_gives_each_word_its_most_frequent_tag():
    words = [["Paris", "is", "Paris"], ["Paris", "saw", "May"]]
    tags = [["B-LOC", "O", "B-PER"], ["B-LOC", "O", "O"]]
    assert MostFrequentTags(words, tags)([["Paris", "May", "unseen"]]) == [["B-LOC", "O", "O"]]
