import re

from budgetbert.glue.published import published_rows
from budgetbert.glue.report import render, write_report
from tests.glue.results import from_percent, make_result, write
from tests.pages import Page, check_page

ROWS = {row.name: row for row in published_rows()}


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
