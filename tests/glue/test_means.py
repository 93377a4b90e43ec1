import pytest

from budgetbert.glue.means import COLUMNS, EIGHT, NINE, mean, missing, result_scores
from budgetbert.glue.published import published_rows
from tests.glue.results import from_percent, make_result

PUBLISHED = {row.name: row.scores for row in published_rows()}


@pytest.mark.parametrize(
    ("name", "convention", "figure"),
    [  # the figures that papers, model cards and the readers of ANCHORS.md give, to one decimal
        ("Cramming v2", NINE, 80.7),
        ("Cramming v2", EIGHT, 80.3),
        ("BERT-base, by Cramming's harness", NINE, 80.9),
        ("Cramming, without pretraining", NINE, 45.5),
        ("24hBERT (BERT-large)", NINE, 78.5),
        ("MosaicBERT-Base", EIGHT, 84.28),
    ],
)
def test_published_scores_give_the_published_mean(name, convention, figure):
    digits = len(str(figure).partition(".")[2])
    assert round(mean(PUBLISHED[name], convention), digits) == figure


def test_a_result_with_the_scores_of_a_paper_has_its_means():
    scores = result_scores(from_percent(PUBLISHED["Cramming v2"]))
    assert mean(scores, NINE) == pytest.approx(726.5 / 9)
    assert mean(scores, EIGHT) == pytest.approx((726.5 - (84.1 + 84.6) / 2) / 8)


def test_mnli_given_as_one_number_has_no_mean_of_nine():
    assert mean(PUBLISHED["MosaicBERT-Base"], NINE) is None
    assert missing(PUBLISHED["MosaicBERT-Base"], NINE) == ["MNLI-m", "MNLI-mm"]


def test_without_a_column_there_is_no_mean_but_the_list_of_what_is_missing():
    scores = result_scores(make_result(cola={"matthews": [0.5]}, mnli={"accuracy_matched": [0.8]}))
    assert scores["CoLA"] == 50
    assert mean(scores, NINE) is None
    assert mean(scores, EIGHT) is None
    others = [column for column in COLUMNS if column not in ("CoLA", "MNLI-m", "MNLI-mm")]
    assert set(missing(scores, NINE)) == {*others, "MNLI-mm"}
    assert set(missing(scores, EIGHT)) == {*others, "MNLI-mm"}


def test_a_score_of_zero_counts():
    result = from_percent({**PUBLISHED["Cramming v2"], "CoLA": 0.0})
    assert missing(result_scores(result), NINE) == []
    assert mean(result_scores(result), NINE) == pytest.approx((726.5 - 53.3) / 9)
