import pytest

from budgetbert.finetuning.published.scores import (
    COLUMNS,
    EIGHT,
    NINE,
    differences,
    is_one_scale,
    mean,
    missing,
    published_rows,
    result_scores,
)
from tests.finetuning.results import from_percent, make_result

pytestmark = pytest.mark.without_backend

ROWS = {row.name: row for row in published_rows()}


def test_every_row_says_how_it_was_made():
    for row in ROWS.values():
        assert row.split in ("dev", "test")
        assert row.tuning in ("one setting for all tasks", "fixed per task", "grid per task")
        assert row.protocol.endswith(".")
        assert row.source
        assert set(row.scores) == set(row.metrics) <= {*COLUMNS, "MNLI"}
        assert all(0 <= score <= 100 for score in row.scores.values())
        assert set(row.pretraining) == {"hours", "hardware", "tokens", "parameters"}


def test_the_rows_that_the_published_protocols_keep_apart_are_apart():
    assert ROWS["24hBERT (BERT-large)"].split == "test"
    assert {row.name for row in ROWS.values() if row.split == "test"} == {"24hBERT (BERT-large)"}
    assert {row.name for row in ROWS.values() if row.mnli_transfer} == {"24hBERT (BERT-large)", "MosaicBERT-Base"}
    assert ROWS["24hBERT (BERT-large)"].unstated == ["MRPC", "STS-B"]
    assert ROWS["MosaicBERT-Base"].unstated == ["MRPC", "STS-B", "QQP"]


def test_differences_name_split_transfer_tuning_and_metrics():
    found = "; ".join(differences(make_result(), ROWS["24hBERT (BERT-large)"]))
    for told in (
        "test scores, ours are dev",
        "theirs of RTE, MRPC and STS-B start from the MNLI checkpoint, ours do not",
        "grid per task, ours one setting for all tasks",
        "the metric of MRPC, STS-B is not stated",
    ):
        assert told in found


def test_the_protocol_of_the_same_name_differs_only_by_what_its_authors_did():
    assert tuple(differences(make_result(), ROWS["Cramming v2"])) == ROWS["Cramming v2"].caveats


def test_the_warm_up_of_cola_leaves_no_caveat_of_it():
    row = ROWS["BERT-base, by Cramming's harness"]
    for settings, told in (({}, True), ({"warmup_steps": 160}, False)):
        result = {**make_result(settings=settings), "protocol": "cramming_bert"}
        assert differences(result, row) == (list(row.caveats) if told else [])


def test_another_protocol_of_ours_differs_by_its_settings():
    result = {**make_result(), "protocol": "quick"}
    assert "other settings of finetuning" in differences(result, ROWS["Cramming v2"])


@pytest.mark.parametrize("transfer", [True, ["rte", "mrpc", "stsb"]])
def test_our_transfer_counts_only_where_mnli_was_trained(transfer):
    settings = {"mnli_transfer": transfer}
    with_mnli = make_result(settings=settings, mnli={"accuracy_matched": [0.8], "accuracy_mismatched": [0.8]})
    without = make_result(settings=settings)
    assert any("ours of RTE" in text for text in differences(with_mnli, ROWS["Cramming v2"]))
    assert not any("MNLI checkpoint" in text for text in differences(without, ROWS["Cramming v2"]))
    assert is_one_scale(without, ROWS["Cramming v2"], "RTE")
    assert not is_one_scale(with_mnli, ROWS["Cramming v2"], "RTE")
    assert is_one_scale(with_mnli, ROWS["Cramming v2"], "QNLI")


def test_one_scale_needs_split_and_metric():
    assert not is_one_scale(make_result(), ROWS["24hBERT (BERT-large)"], "QNLI")
    assert not is_one_scale(make_result(), ROWS["MosaicBERT-Base"], "QQP")
    assert not is_one_scale(make_result(), ROWS["MosaicBERT-Base"], "RTE")
    assert is_one_scale(make_result(), ROWS["MosaicBERT-Base"], "CoLA")


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
