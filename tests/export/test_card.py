import ast
import json
import re

import pytest
import yaml

from budgetbert.export.card import render
from tests.export.models import classifier
from tests.finetuning.results import make_result, write

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
        "| mnli | accuracy matched | 81.0 | 3.0 | 3 | 19,647 |",
        "| mnli | accuracy mismatched | 81.0 | 2.0 | 3 | 19,647 |",
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


def test_names_of_labels_are_shown_as_they_are_and_do_nothing(tmp_path):
    names = ["not_duplicate", "<script>alert(1)</script>\n\n# Title\n| a | b |", "![x](http://x/y.png) *b* `c`"]
    card = render(classifier(num_classes=3, label_names=names), str(tmp_path / "model.keras"), "serving", "serving")
    (line,) = (line for line in card.splitlines() if "Labels: " in line)
    script = r"&lt;script&gt;alert(1)&lt;/script&gt; \# Title \| a \| b \|"
    assert line.partition("Labels: ")[2] == rf"not_duplicate, {script}, !\[x\](http://x/y.png) \*b\* \`c\`."
    assert "<script>" not in card


def snippets(card):
    """The Python of a card by the heading above it."""
    return dict(re.findall(r"^### ([\w ]+)\n.*?^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL))


def test_a_file_name_with_quotes_gives_python_that_compiles(tmp_path):
    file = 'a "model".keras'
    for pair in (False, True):
        parts = snippets(render(classifier(pair=pair), str(tmp_path / file), "transformers", 'the "folder"'))
        assert list(parts) == ["Keras", "Transformers", "TensorFlow Serving"]
        for code in parts.values():
            compile(code, "snippet", "exec")
        assert json.dumps(file) in parts["Keras"]


def test_several_labels_at_once_have_probabilities_of_their_own(tmp_path, capsys):
    model = classifier(num_classes=3, label_names=["a", "b", "c"])
    model.compile(loss="binary_crossentropy")
    parts = snippets(render(model, str(tmp_path / "model.keras"), "serving", "serving"))
    exec("import keras\n" + parts["Keras"].splitlines()[-1], {"model": model})
    printed = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert [sum(row) for row in printed] != pytest.approx([1, 1])
    assert "sigmoid" in parts["Transformers"]


def test_the_hub_reads_kind_and_scores_from_the_card(tmp_path):
    tasks = {"mnli": {"accuracy_matched": [0.8]}, "cola": {"matthews": [0.3, 0.31, 0.35]}}
    write(tmp_path, make_result(**tasks))
    card = render(classifier(), str(tmp_path / "model.keras"), "transformers", "mine")
    data = yaml.safe_load(card.split("---\n")[1])
    assert (data["pipeline_tag"], data["library_name"]) == ("text-classification", "transformers")
    (model,) = data["model-index"]
    found = {entry["dataset"]["config"]: (entry["dataset"]["split"], entry["metrics"]) for entry in model["results"]}
    assert found["mnli"] == ("validation_matched", [{"type": "accuracy", "value": 0.8}])
    assert found["cola"] == ("validation", [{"type": "matthews_correlation", "value": 0.31}])
