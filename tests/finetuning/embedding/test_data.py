"""Files of pairs and triplets: columns by the header, rows that say nothing, and what is held out."""

import json
import lzma

import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.embedding.columns import choose_pair_columns
from budgetbert.finetuning.embedding.data import read_pairs
from budgetbert.finetuning.kinds import read
from tests.finetuning.labelled.files import given, write

pytestmark = pytest.mark.without_backend

PAIRS = [(f"query {n}", f"answer {n}") for n in range(40)]


@pytest.mark.parametrize(
    ("names", "flags", "texts", "label"),
    [
        (["anchor", "positive", "negative"], {}, ("anchor", "positive", "negative"), None),
        (["id", "Query", "Positive"], {}, ("Query", "Positive"), None),
        (["sentence1", "sentence2", "score"], {}, ("sentence1", "sentence2"), "score"),
        (["question1", "question2", "is_duplicate"], {}, ("question1", "question2"), None),
        (["disfluent", "original"], {}, ("disfluent", "original"), None),
        (["id", "text", "date"], {}, ("text",), None),
        (["sentence"], {}, ("sentence",), None),
        (["a", "b", "c"], {"text": "b", "text_pair": "a"}, ("b", "a"), None),
        (["a", "b", "c"], {"text": "b", "text_pair": "a", "negative": "c"}, ("b", "a", "c"), None),
        (["a", "b", "c"], {"text": "b", "text_pair": "a", "label": "c"}, ("b", "a"), "c"),
    ],
)
def test_columns_follow_from_the_header_where_it_is_plain(names, flags, texts, label):
    found = choose_pair_columns("a.csv", names, **flags)
    assert (found.texts, found.label) == (texts, label)


@pytest.mark.parametrize(
    ("names", "flags", "told"),
    [
        (["a", "b", "c"], {}, "of which the text is in doubt .*--text"),
        (["a", "b"], {"text": "c"}, "has no column 'c' but a, b: name one of them with --text"),
        (["a", "b"], {"text_pair": "b"}, "--text_pair belongs to a --text"),
        (["a", "b"], {"text": "a", "text_pair": "a"}, "give each another"),
        (["text", "score"], {"text": "text", "label": "score"}, "has scores in the column 'score' and 1 texts"),
    ],
)
def test_columns_in_doubt_are_asked_for(names, flags, told):
    with pytest.raises(InputError, match=told):
        choose_pair_columns("a.csv", names, **flags)


@pytest.mark.parametrize("header", [("Query", "positive"), ("premise", "hypothesis")])
def test_auto_takes_pairs_without_labels_for_pairs_that_belong_together(header, tmp_path):
    found = read(given(train=write(tmp_path / "a.csv", header, PAIRS)))
    assert (found.kind.name, found.columns.texts) == ("embed", header)
    with pytest.raises(InputError, match="the label is in doubt"):
        read(given(train=write(tmp_path / "b.csv", (*header, "kind"), [(*pair, "a") for pair in PAIRS])))


def test_rows_that_say_nothing_are_counted_with_their_lines(tmp_path):
    rows = [*PAIRS, ("", "answer"), ("alike", "alike "), PAIRS[3], ("query 0", "another answer"), ("one",)]
    found = read_pairs(given(train=write(tmp_path / "a.csv", ("anchor", "positive"), rows), task="embed"))
    told = " ".join(found.told)
    assert "2 rows of" in told and "(line 42, 46; the first: " in told
    assert "left out: 1 row with one text twice (line 43)" in told
    assert "left out: 1 repeated pair (line 44)" in told
    assert "an anchor is there again in 1 pair" in told
    assert found.counts["rows"] == {"train": 37, "dev": 4}
    assert found.counts["unusable_rows"] == {"train": 4}
    assert found.examples["train"].labels is None
    assert found.task.metrics[0] == "ndcg_at_10"


def test_no_anchor_stands_on_both_sides_and_the_split_is_the_same_each_time(tmp_path):
    rows = [(f"query {n % 20}", f"answer {n}") for n in range(200)]
    path = write(tmp_path / "a.tsv", ("anchor", "positive"), rows)
    first, second = (read_pairs(given(train=path)).examples for _ in range(2))
    assert first["dev"].texts == second["dev"].texts
    assert len(first["dev"]) == 20
    assert not {*first["dev"].texts[0]} & {*first["train"].texts[0]}


def test_json_lines_also_compressed_and_scores(tmp_path):
    rows = [{"sentence1": a, "sentence2": b, "score": n / 8} for n, (a, b) in enumerate(PAIRS)]
    rows[5]["score"] = "none"
    with lzma.open(tmp_path / "a.jsonl.xz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    found = read_pairs(given(train=tmp_path / "a.jsonl.xz"))
    assert found.task.metrics == ("spearman", "pearson")
    assert "it holds no number in the column 'score'" in found.told[0]
    scores = np.concatenate([found.examples[part].labels for part in ("train", "dev")])
    assert sorted(scores.tolist()) == [n / 8 for n in range(40) if n != 5]


def test_texts_alone_are_judged_by_their_halves(tmp_path):
    rows = [(f"some text of words number {n}",) for n in range(50)]
    rows[::10] = [(f"short {n}",) for n in range(5)]
    options = given(train=write(tmp_path / "a.csv", ("text",), rows))
    options.max_train_examples = 30
    found = read_pairs(options)
    assert len(found.examples["train"].texts) == 1 and len(found.examples["train"]) == 30
    first, second = found.examples["dev"].texts
    assert all(part.startswith("some text of") for part in first)
    assert all(part.startswith("words number") for part in second)
    assert any("the first half of each text is to find its second half" in sentence for sentence in found.told)


def test_pairs_judge_a_model_of_texts_alone(tmp_path):
    train = write(tmp_path / "a.csv", ("text",), [(f"some text of words number {n}",) for n in range(50)])
    dev = write(tmp_path / "dev.csv", ("anchor", "positive"), [*PAIRS[:9], ("some text", "x")])
    found = read_pairs(given(train=train, dev=dev))
    assert found.examples["dev"].texts[1][0] == "answer 0"


BAD = {
    "alike": (("anchor", "positive"), [(f"t {n}", f"t {n}") for n in range(20)], {}, "the same text in 'anchor' and"),
    "empty": (("anchor", "positive"), [("a", " ")] * 20, {}, r"has 0 rows of 20 .* line 2: it holds no text"),
    "one positive": (("anchor", "positive"), [(f"t {n}", "yes") for n in range(20)], {}, "has one text, 'yes', in all"),
    "one score": (("text1", "text2", "score"), [(*pair, 1) for pair in PAIRS], {}, "has one score, 1, in all 40 rows"),
    "too few": (("anchor", "positive"), PAIRS[:4], {}, "has 4 pairs: give 10 or more"),
    "sizes": (("anchor", "positive"), PAIRS, {"sizes": "64,x"}, "no whole numbers with commas"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_nobody_can_learn_from_is_one_sentence(case, tmp_path):
    header, rows, flags, told = BAD[case]
    with pytest.raises(InputError, match=told) as error:
        read_pairs(given(train=write(tmp_path / "a.csv", header, rows), **flags))
    assert "\n" not in str(error.value)


def test_files_of_two_kinds_are_refused(tmp_path):
    train = write(tmp_path / "a.csv", ("anchor", "positive"), PAIRS)
    dev = write(tmp_path / "dev.csv", ("text1", "text2", "score"), [(*pair, n) for n, pair in enumerate(PAIRS)])
    with pytest.raises(InputError, match="holds pairs of texts with a score, and --train pairs"):
        read_pairs(given(train=train, dev=dev))
