import re

import pytest
from rich.console import Console

from budgetbert.finetuning.published.scores import published_rows
from budgetbert.finetuning.report import markdown, print_result, render, write_report
from tests.finetuning.results import from_percent, make_result, write
from tests.pages import Page, check_page

pytestmark = pytest.mark.without_backend

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


def test_samples_failed_runs_and_missing_tasks_are_told():
    result = make_result(
        qnli={
            "accuracy": [0.6, 0.61],
            "notes": ["train is a sample of 9,999 rows, officially 104,743"],
            "failed_seeds": [0, 3],
            "train_examples": 9999,
        },
        rte={"accuracy": [0.5], "notes": ["seed 0 failed to train: predicts the same throughout"], "failed_seeds": [0]},
    )
    text = markdown({**result, "missing": ["qqp", "ax"]})
    assert "QNLI: train is a sample of 9,999 rows, officially 104,743; seeds 0, 3 failed to train." in text
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
    print_result(make_result(cola={"matthews": [0.3, 0.31, 0.32], "notes": ["[red]"]}), console, base)
    text = console.export_text()
    for told in ("cramming_24h mini_crammed", "CoLA: [red].", "beaten", "Cramming v2", "80.7", "Mean of 9: none"):
        assert told in text


def chart(page, name):
    """The text of the chart of a column, bar by bar."""
    return re.search(rf'<svg [^>]*aria-label="[^"]* of {name}".*?</svg>', page, re.DOTALL)[0]


def test_the_page_is_whole_and_fetches_nothing():
    base = make_result(True, cola={"matthews": [0.0, -0.01, 0.02]}, rte={"accuracy": [0.5]})
    check_page(render(make_result(cola={"matthews": [0.3, 0.31, 0.32]}, rte={"accuracy": [0.5]}), base))
    check_page(render(from_percent(ROWS["Cramming v2"].scores)))
    check_page(render(make_result(True)))


def test_the_page_states_the_scores_the_means_and_how_they_were_made():
    text = Page(render(from_percent(ROWS["Cramming v2"].scores))).text
    for stated in (
        "GLUE, dev scores",
        "cramming_24h mini_crammed",
        "80.7 mean of 9",
        "80.3 mean of 8",
        "Protocol cramming: one setting for all tasks. Split: dev.",
        "CoLA 53.3 Matthews, 1 seed",
        "recipe cramming_24h",
        "tokens 79M",
        ROWS["24hBERT (BERT-large)"].protocol,
        "Not one scale with ours: test scores, ours are dev",
    ):
        assert stated in text, stated
    assert "/home" not in text


def test_each_task_has_a_chart_with_the_published_scores():
    page = render(from_percent(ROWS["Cramming v2"].scores))
    assert len(re.findall('aria-label="[^"]* of ', page)) == 9
    text = Page(chart(page, "CoLA")).text
    for name in ("this model", *ROWS):
        assert name in text
    for score in ("53.3", "57.1", "56.5", "55.1"):
        assert score in text
    assert "24hBERT (BERT-large), test" in text


def test_all_that_is_drawn_takes_its_colour_from_the_page():
    base = make_result(True, cola={"matthews": [0.0, -0.01, 0.02]})
    svg = chart(render(make_result(cola={"matthews": [0.3, 0.31], "majority": {"matthews": 0.0}}), base), "CoLA")
    assert not re.search("#[0-9a-f]{6}", svg)
    assert all("fill: var(--" in text for text in re.findall("<text [^>]*>", svg))


def test_a_bar_is_as_long_as_its_score():
    page = render(make_result(rte={"accuracy": [0.6]}))
    widths = []
    for color in ("var(--second)", "var(--muted)"):
        path = re.search(rf'<path d="M ([\d.]+) [\d.]+ ?\n?L ([\d.]+)[^"]*"[^>]*style="fill: {re.escape(color)}', page)
        widths.append(float(path[2]) - float(path[1]))
    ours, cramming = widths  # the first filled bar of others is Cramming v2: 24hBERT's is hollow
    assert abs(ours / cramming - 60 / 58.5) < 1e-3


def test_the_baseline_is_on_the_page():
    base = make_result(True, cola={"matthews": [0.0, 0.01, 0.02]})
    page = render(make_result(cola={"matthews": [0.3, 0.31, 0.32]}), base)
    text = Page(page).text
    assert "CoLA Matthews 31.0 1.0 +30.0 4.0 beaten twice the spread of 3 seeds" in text
    assert "baseline" in Page(chart(page, "CoLA")).text


def test_text_from_outside_is_escaped():
    result = make_result(rte={"accuracy": [0.5], "notes": ["<b>bold</b>"]})
    assert "<b>bold</b>" in Page(render(result)).text


def test_page_and_text_are_written_beside_the_result(tmp_path):
    path = write(tmp_path, make_result(rte={"accuracy": [0.5]}))
    assert write_report(path) == str(tmp_path / "glue.html")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["glue.html", "glue.json", "glue.md"]
    assert (tmp_path / "glue.md").read_text(encoding="utf-8").startswith("# GLUE: cramming_24h mini_crammed\n")
