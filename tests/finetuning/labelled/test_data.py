"""Labelled files: columns by the header, tasks by the labels, what is held out, and what nobody can learn from."""

import json

import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.labelled.columns import choose_columns
from budgetbert.finetuning.labelled.data import read_labelled
from tests.finetuning.labelled.files import given, write

pytestmark = pytest.mark.without_backend


@pytest.mark.parametrize(
    ("names", "flags", "texts", "label"),
    [
        (["text", "category"], {}, ("text",), "category"),
        (["id", "Sentence1", "sentence2", "score"], {}, ("Sentence1", "sentence2"), "score"),
        (["utterance_of_user", "intent"], {}, ("utterance_of_user",), "intent"),
        (["a", "b"], {"text": "a"}, ("a",), "b"),
        (["a", "b", "label"], {"text": "a", "text_pair": "b"}, ("a", "b"), "label"),
        (["text", "title", "label"], {"text": "title"}, ("title",), "label"),
    ],
)
def test_columns_follow_from_the_header_where_it_is_plain(names, flags, texts, label):
    found = choose_columns("a.csv", names, **flags)
    assert (found.texts, found.label) == (texts, label)


@pytest.mark.parametrize(
    ("names", "flags", "told"),
    [
        (["a", "b", "c"], {}, "of which the label is in doubt .*--label"),
        (["It was good.", "yes", "no"], {}, "begins with 'It was good.' .* it looks like a row: .*--columns"),
        (["good stuff", "0", "1"], {}, "begins with '0' .* it looks like a row: .*--columns"),
        (["text;label"], {}, "has one column, text;label, .* commas between them"),
        (["text", "title", "label"], {}, "of which the text is in doubt .'text', 'title' may each be it.*--text"),
        (["text", "label"], {"label": "class"}, "has no column 'class' but text, label: .*--label"),
        (["text", "label", "label"], {"label": "label"}, "has 2 columns 'label'"),
        (["text", "label"], {"text": "text", "label": "text"}, "give each another column"),
    ],
)
def test_columns_in_doubt_are_asked_for(names, flags, told):
    with pytest.raises(InputError, match=told):
        choose_columns("a.csv", names, **flags)


CASES = {
    "names": (["ja", "nein"] * 20, "classify", ("ja", "nein")),
    "stars": ([str(number % 5 + 1) for number in range(50)], "classify", ("1", "2", "3", "4", "5")),
    "numbered": ([str(number % 30) for number in range(300)], "classify", tuple(map(str, range(30)))),
    "fractions": ([f"{number / 8}" for number in range(50)], "regress", ()),
    "amounts": ([str(7 * (number % 40)) for number in range(400)], "regress", ()),
    "several": (["a|b", "b|c", "a", "c"] * 10, "multilabel", ("a", "b", "c")),
    "one name of parts": (["arts, crafts", "sport"] * 10, "classify", ("arts, crafts", "sport")),
}


@pytest.mark.parametrize("case", CASES)
def test_auto_decides_by_the_labels(case, tmp_path):
    labels, kind, names = CASES[case]
    rows = [(f"text {number}", label) for number, label in enumerate(labels)]
    found = read_labelled(given(train=write(tmp_path / "a.csv", ("text", "label"), rows)))
    assert (found.kind.name, found.task.labels) == (kind, names)
    assert found.why and len(found.examples["train"]) + len(found.examples["dev"]) == len(labels)


def test_lists_of_json_are_several_labels(tmp_path):
    rows = [{"text": f"text {n}", "labels": [["a"], ["a", "b"], []][n % 3]} for n in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_labelled(given(train=tmp_path / "a.jsonl"))
    assert found.task.several
    for part in found.examples.values():
        expected = [[[1, 0], [1, 1], [0, 0]][int(text.split()[1]) % 3] for text in part.texts[0]]
        np.testing.assert_array_equal(part.labels, expected)


def test_pairs_are_a_matter_of_two_texts(tmp_path):
    rows = [(f"a {n}", f"b {n}", "xy"[n % 2]) for n in range(40)]
    path = write(tmp_path / "a.csv", ("first", "second", "label"), rows)
    assert read_labelled(given(train=path, text="first", text_pair="second", pairs="apart")).reads_pairs
    assert not read_labelled(given(train=path, text="first")).reads_pairs
    with pytest.raises(InputError, match=r"--pairs together is for two texts, .* give --text_pair"):
        read_labelled(given(train=path, text="first", pairs="together"))


BAD = {
    "a column that is not there": (["a", "b"] * 9, {"label": "class"}, "has no column 'class' but text, label"),
    "all alike": (["a"] * 9, {}, "has one label, 'a', in all 9 rows"),
    "one example of a class": ([*["a", "b"] * 9, "c"], {}, r"one example of the class 'c' \(line 20\)"),
    "600 labels": ([f"n{n}" for n in range(600)], {}, "has 600 labels in 600 rows: is it a regression"),
    "600 numbers": ([str(n) for n in range(600)], {}, "600 different whole numbers in 600 rows.*--task regress"),
    "texts": ([f"this is a text of many words {n}" for n in range(20)], {}, "holds texts, not labels .*--label"),
    "mixed types": ([*["0.5", "1.25"] * 9, "good"], {}, "mixes scores and text: .* 'good' is none"),
    "no number": ([*["1", "2"] * 9, "x"], {"task": "regress"}, "line 20: the label 'x' is no number"),
    "one score": (["1.5"] * 9, {}, "has one score, 1.5, in all 9 rows"),
    "no labels": ([""] * 9, {}, "has 0 rows of 9 with text and label, the first because .*line 2: it holds no label"),
    "too few": (["a", "b", "a", "b", "c", "c"], {}, None),
}


@pytest.mark.parametrize("case", BAD)
def test_what_nobody_can_learn_from_is_one_sentence(case, tmp_path):
    labels, flags, told = BAD[case]
    path = write(tmp_path / "a.csv", ("text", "label"), [(f"text {n}", label) for n, label in enumerate(labels)])
    if told is None:  # the smallest that can be learned from
        assert len(read_labelled(given(train=path, **flags)).examples["dev"]) == 3
        return
    with pytest.raises(InputError, match=told) as error:
        read_labelled(given(train=path, **flags))
    assert "\n" not in str(error.value)


def test_types_that_are_mixed_are_told_with_their_lines(tmp_path):
    rows = [{"text": f"text {n}", "label": "yes" if n == 5 else n % 2} for n in range(20)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=r"several types: a number \(0 in line 1\), text \('yes' in line 6\)"):
        read_labelled(given(train=tmp_path / "a.jsonl"))


def test_broken_rows_are_counted_with_their_lines(tmp_path):
    rows = [(f"text {n}", "ab"[n % 2]) for n in range(20)]
    rows[3], rows[7], rows[9] = ("alone",), (" ", "a"), ("text", "")
    found = read_labelled(given(train=write(tmp_path / "a.csv", ("text", "label"), rows)))
    (told,) = (sentence for sentence in found.told if "cannot be used" in sentence)
    assert "3 rows of" in told and "line 5, 9, 11; the first: " in told
    assert found.counts["unusable_rows"] == {"train": 3}
    assert found.counts["rows"] == {"train": 15, "dev": 2}


def test_the_held_out_share_is_stratified_and_the_same_each_time(tmp_path):
    rows = [(f"text {n}", "rare" if n % 10 == 0 else "often") for n in range(400)]
    path = write(tmp_path / "a.csv", ("text", "label"), rows)
    first, second = (read_labelled(given(train=path)).examples for _ in range(2))
    assert len(first["dev"]) == 40
    assert np.bincount(first["dev"].labels).tolist() == [36, 4]
    assert first["dev"].texts == second["dev"].texts
    assert not {*first["dev"].texts[0]} & {*first["train"].texts[0]}


def test_duplicates_and_unknown_labels_of_other_files_are_told(tmp_path):
    train = write(tmp_path / "a.csv", ("text", "label"), [(f"text {n}", "ab"[n % 2]) for n in range(20)])
    dev = write(tmp_path / "dev.tsv", ("label", "text"), [("a", "text 0"), ("b", "new")])
    found = read_labelled(given(train=train, dev=dev))
    assert found.counts["also_in_train"] == {"dev": 1}
    assert any("1 of 2 rows stand in the training examples too" in sentence for sentence in found.told)
    assert found.examples["dev"].labels.tolist() == [0, 1]
    write(dev, ("label", "text"), [("a", "text 0"), ("c", "new")])
    with pytest.raises(InputError, match=r"line 3: the label 'c' is none of those of --train \(a, b\)"):
        read_labelled(given(train=train, dev=dev))


@pytest.mark.parametrize(
    ("names", "labels", "classes"),
    [
        (("question", "passage", "label"), [True, False], ("False", "True")),
        (("premise", "hypothesis", "label"), ["entailment", "neutral", "contradiction"],
         ("contradiction", "entailment", "neutral")),
    ],
    ids=["BoolQ", "CB"],
)  # fmt: skip
def test_tasks_of_superglue_are_files_like_others(names, labels, classes, tmp_path):
    """In the official format: objects of JSON, a line each, with an `idx`; the test file has no labels."""
    first, second, label = names
    rows = [
        {first: f"is it {n}", second: f"it is {n}", "idx": n, label: labels[n % len(labels)]}
        for n in range(10 * len(labels))
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_labelled(given(train=path))
    assert (found.task.name, found.task.labels, found.columns.texts) == ("classify", classes, (first, second))
    assert found.counts["rows"] == {"train": 9 * len(labels), "dev": len(labels)}
