import json

import pytest
from rich.console import Console

from budgetbert.command_line import InputError
from budgetbert.glue.published import published_rows
from budgetbert.glue.result import read_result
from budgetbert.glue.table import markdown, print_result
from tests.glue.results import from_percent, make_result, write

ROWS = {row.name: row for row in published_rows()}


def cells(text, first, occurrence=0):
    """The cells of the table row that starts with `first`."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in lines[occurrence].strip("|").split("|")]


def test_every_metric_is_told_with_its_spread_seeds_examples_and_majority():
    result = make_result(
        mrpc={
            "f1": [0.81, 0.83, 0.80],
            "accuracy": [0.70, 0.72, 0.71],
            "majority": {"f1": 0.8122, "accuracy": 0.6838},
        }
    )
    text = markdown(result)
    assert cells(text, "MRPC") == ["MRPC", "F1", "81.0", "3.0", "3", "81.2", "408", "3,668"]
    assert cells(text, "MRPC", 1) == ["MRPC", "accuracy", "71.0", "2.0", "3", "68.4", "408", "3,668"]
    assert "MRPC: its F1 is no better than that of the most frequent class." in text


def test_of_one_seed_there_is_no_spread():
    assert cells(markdown(make_result(rte={"accuracy": [0.5523]})), "RTE")[2:5] == ["55.2", "–", "1"]


def test_stand_ins_failed_runs_and_missing_tasks_are_told():
    result = make_result(
        qnli={
            "accuracy": [0.6, 0.61],
            "notes": ["train_sample.tsv stands in for train.tsv"],
            "failed_seeds": [0, 3],
            "train_examples": 9999,
        },
        rte={"accuracy": [0.5], "notes": ["seed 0 failed to train: predicts the same throughout"], "failed_seeds": [0]},
    )
    text = markdown({**result, "missing": ["qqp", "ax"]})
    assert "QNLI: train_sample.tsv stands in for train.tsv; seeds 0, 3 failed to train." in text
    assert "- RTE: seed 0 failed to train: predicts the same throughout.\n" in text
    assert "Not measured: QQP, AX." in text
    assert cells(text, "QNLI*")[2] == "60.5"
    assert {"60.5*", "50.0"} <= set(cells(text, "cramming_24h mini_crammed"))


def test_a_grid_tells_what_it_chose_for_each_task():
    settings = {"learning_rates": [1e-5, 3e-5], "batch_sizes": [16, 32]}
    text = markdown(make_result(settings=settings, rte={"accuracy": [0.6]}))
    assert "RTE: chosen from the grid: learning rate 4e-05, batch size 16." in text


def test_protocol_split_and_pretraining_stand_in_the_text():
    text = markdown(make_result(rte={"accuracy": [0.5]}))
    assert "Protocol `cramming`: one setting for all tasks. Split: dev." in text
    for key, value in {
        "recipe": "cramming_24h",
        "steps": "2,412",
        "tokens": "79M",
        "flops": "4.1P",
        "hours": "0.667",
        "validation loss": "4.810 nats",
        "learning rates": "4e-05",
        "mnli transfer": "no",
        "parameters": "11,534,336",
        "seconds": "2 h 20 min",
    }.items():
        assert cells(text, key) == [key, value]
    assert "/home" not in text


def test_a_result_stands_beside_published_rows_with_both_means():
    text = markdown(from_percent(ROWS["Cramming v2"].scores))
    assert "Mean of 9: 80.7." in text
    assert "Mean of 8: 80.3." in text
    theirs, ours = cells(text, "Cramming v2"), cells(text, "cramming_24h mini_crammed")
    assert ours[1:] == theirs[1:]
    assert theirs[1] == "dev"
    assert theirs[-2:] == ["80.7", "80.3"]
    test = cells(text, "24hBERT (BERT-large)")
    assert test[1] == "test"
    assert test[4] == "87.5?"  # MRPC, of which no source states the metric
    assert test[-2] == "78.5?"
    assert cells(text, "MosaicBERT-Base")[7:9] == ["85.0†", "–"]
    assert cells(text, "MosaicBERT-Base")[-2:] == ["–", "84.3?"]
    for row in ROWS.values():
        assert f"- {row.name}: {row.protocol}" in text
    assert "Not one scale with ours: test scores, ours are dev;" in text


def test_without_all_columns_there_is_no_mean_of_ours():
    text = markdown(make_result(rte={"accuracy": [0.5]}))
    assert "Mean of 9: none, without CoLA, SST-2, MRPC, STS-B, QQP, MNLI-m, MNLI-mm, QNLI." in text
    assert cells(text, "cramming_24h mini_crammed")[-2:] == ["–", "–"]


def test_a_baseline_is_laid_beside():
    base = make_result(True, cola={"matthews": [0.0, 0.01, 0.02]})
    text = markdown(make_result(cola={"matthews": [0.3, 0.31, 0.32]}), base)
    assert "## Against the baseline: A random initialisation" in text
    row = ["CoLA", "Matthews", "31.0", "1.0", "+30.0", "4.0", "beaten", "twice the spread of 3 seeds"]
    assert row in [cells(text, "CoLA", occurrence) for occurrence in (0, 1)]
    assert cells(text, "baseline: a random initialisation")[2] == "1.0"


def test_a_baseline_made_otherwise_is_told_as_such():
    base = {**make_result(True, cola={"matthews": [0.0, 0.01]}), "protocol": "quick"}
    text = markdown(make_result(cola={"matthews": [0.3, 0.31]}), base)
    assert "Baseline and result were not made alike: protocol 'quick' against 'cramming'." in text


def test_a_bar_in_a_text_breaks_no_table():
    result = make_result(rte={"accuracy": [0.5]})
    result["finetuning"]["device"] = "A|B"
    assert "| device | A\\|B |" in markdown(result)


def test_a_result_without_tasks_or_pretraining_has_a_table():
    text = markdown({**make_result(True), "finetuning": None})
    assert text.startswith("# GLUE: A random initialisation\n")
    assert cells(text, "known") == ["known", "none, a random initialisation"]


def test_the_terminal_shows_scores_means_notes_and_published_rows():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    base = make_result(True, cola={"matthews": [0.0, 0.01, 0.02]})
    print_result(make_result(cola={"matthews": [0.3, 0.31, 0.32], "notes": ["[red]"]}), base, console)
    text = console.export_text()
    for told in ("cramming_24h mini_crammed", "CoLA: [red].", "beaten", "Cramming v2", "80.7", "Mean of 9: none"):
        assert told in text


def damaged(**changes):
    return {**make_result(rte={"accuracy": [0.5]}), **changes}


def with_metric(**found):
    return {"rte": {"metrics": {"accuracy": found}, "main_metric": "accuracy", "examples": 277}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"glue\.json does not exist: give the --output_dir of recipes/finetune_glue\.py\.$"),
        ("{", "is not readable as JSON"),
        ([], r"is no result of recipes/finetune_glue\.py \(it is a list\)"),
        ({}, r"\(protocol is missing\)"),
        (damaged(protocol_settings=None), r"\(protocol_settings is missing\)"),
        (damaged(tasks=[]), r"\(tasks is a list\)"),
        (damaged(tasks={"squad": {}}), "holds the task 'squad', which is none of GLUE's"),
        (damaged(tasks={"rte": 3}), r"\(tasks\.rte is 3\)"),
        (damaged(tasks={"rte": {}}), r"\(tasks\.rte\.metrics is missing\)"),
        (damaged(tasks=with_metric(values=[0.5], n=1)), r"\(tasks\.rte\.metrics\.accuracy\.median is missing\)"),
        (damaged(tasks=with_metric(values=[], median=0.5, n=0)), "a score that is no number"),
        (damaged(tasks=with_metric(values=[float("nan")], median=0.5, n=1)), "a score that is no number"),
        (
            damaged(tasks={"rte": {"metrics": {"rouge": {}}, "main_metric": "rouge", "examples": 1}}),
            "a metric that no table knows",
        ),
        (
            damaged(tasks={"rte": {"metrics": {}, "main_metric": "accuracy", "examples": 277}}),
            r"no value of the main metric of rte \(accuracy\)",
        ),
    ],
)
def test_what_is_no_result_is_one_sentence(content, message, tmp_path):
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "glue.json").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_result(str(tmp_path / "glue.json"))
    assert "\n" not in str(raised.value)


def test_a_result_is_read_from_its_file_or_directory(tmp_path):
    result = make_result(rte={"accuracy": [0.5]})
    path = write(tmp_path, result)
    assert read_result(path) == read_result(str(tmp_path)) == result
