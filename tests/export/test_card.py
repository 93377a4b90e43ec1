import json

import pytest

from budgetbert.export.card import render
from tests.export.models import classifier
from tests.glue.results import make_result, write

pytestmark = pytest.mark.without_backend


def glue_of(directory):
    """The part of a card on GLUE."""
    card = render(classifier(), str(directory / "model.keras"), "serving", "serving")
    return card.partition("## GLUE\n\n")[2].partition("\n\n## Use")[0]


def test_the_card_has_every_metric_with_protocol_split_spread_and_seeds(tmp_path):
    tasks = {
        "mnli": {"accuracy_matched": [0.8, 0.81, 0.83], "accuracy_mismatched": [0.81, 0.82, 0.8]},
        "rte": {"accuracy": [0.5], "notes": ["trained on 100 of 2,490 examples"]},
    }
    write(tmp_path, make_result(**tasks))
    assert glue_of(tmp_path).splitlines() == [
        "Protocol: cramming, one setting for all tasks. Split: dev.",
        "",
        "| task | metric | median | spread | seeds | examples |",
        "|---|---|--:|--:|--:|--:|",
        "| mnli | accuracy matched | 81.0 | 3.0 | 3 | 19647 |",
        "| mnli | accuracy mismatched | 81.0 | 2.0 | 3 | 19647 |",
        "| rte | accuracy | 50.0 | – | 1 | 277 |",
        "",
        "- rte: trained on 100 of 2,490 examples",
    ]


def test_the_card_of_a_finetuned_task_has_its_own_scores_only(tmp_path):
    write(tmp_path, make_result(cola={"matthews": [0.3, 0.31]}, rte={"accuracy": [0.5]}))
    (tmp_path / "rte").mkdir()
    assert "| rte | accuracy | 50.0 |" in glue_of(tmp_path / "rte")
    assert "cola" not in glue_of(tmp_path / "rte")
    (tmp_path / "other").mkdir()
    assert glue_of(tmp_path / "other") == "Not measured."


def test_a_result_of_an_older_version_has_a_table(tmp_path):
    found = {"values": [0.5, 0.6], "median": 0.55, "n": 2}
    (tmp_path / "glue.json").write_text(json.dumps({"tasks": {"rte": {"metrics": {"accuracy": found}}}}))
    assert "| rte | accuracy | 55.0 | 10.0 | 2 | – |" in glue_of(tmp_path)


def training_of(directory):
    card = render(classifier(), str(directory / "model.keras"), "serving", "serving")
    return card.partition("## Training\n\n")[2].partition("\n\n## GLUE")[0]


def test_the_card_of_a_finetuned_task_tells_of_its_pretraining(tmp_path):
    write(tmp_path, make_result(rte={"accuracy": [0.5]}))
    (tmp_path / "rte").mkdir()
    told = training_of(tmp_path / "rte")
    for row in (
        "recipe | cramming_24h mini_crammed",
        "corpus | 9f1c",
        "steps | 2,412",
        "tokens | 79M",
        "device | CPU",
    ):
        assert f"| {row} |" in told
    assert "| hours | 0.667 (40 min 0 s) |" in told and "| validation loss | 4.810 nats |" in told
    assert "Finetuning" in told


def test_the_card_of_a_baseline_says_that_it_was_not_pretrained(tmp_path):
    write(tmp_path, make_result(random=True, rte={"accuracy": [0.5]}))
    assert training_of(tmp_path).startswith("Not pretrained")
