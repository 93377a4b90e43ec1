import pytest

from budgetbert.glue.means import COLUMNS
from budgetbert.glue.published import differences, is_one_scale, published_rows
from tests.glue.results import make_result

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
