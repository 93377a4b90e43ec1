"""`glue.md` and `glue.html`: a result as text and on one page that needs nothing else."""

import os

from markupsafe import Markup

from budgetbert.glue import table
from budgetbert.glue.means import COLUMNS, CONVENTIONS, mean, result_scores
from budgetbert.glue.published import is_one_scale, published_rows
from budgetbert.glue.result import METRICS, TITLES, read_result, title
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import Bar, bar_chart


def write_report(path, baseline=None):
    """Writes `glue.md` and `glue.html` beside a `glue.json`, each whole or not at all.

    Args:
        path: str. The file, or its directory.
        baseline: str. Another one by the same harness, as of a random initialisation. Defaults to none.

    Returns:
        str, the path of the page.

    Raises:
        InputError: if a file is not there or is no result.
    """
    result = read_result(path)
    other = None if baseline is None else read_result(baseline)
    directory = path if os.path.isdir(path) else os.path.dirname(path)
    pages.write(os.path.join(directory, "glue.md"), table.markdown(result, other))
    return pages.write(os.path.join(directory, "glue.html"), render(result, other))


def render(result, baseline=None):
    """Returns the page of a result as str.

    Args:
        result: dict, of `glue.json`.
        baseline: dict. Of another one by the same harness. Defaults to none.
    """
    header, rows, legend = table.beside(result, baseline)
    parts = table.facts(result)
    return pages.render(
        "glue/report_page.html",
        title=title(result),
        subtitle=table.protocol_line(result).replace("`", ""),
        status=f"GLUE, {result['split']} scores",
        headline=_headline(result),
        tiles=_tiles(result),
        scores={"header": table.TASK_HEADER, "rows": table.task_rows(result)},
        means=table.means(result),
        notes=table.notes(result),
        baseline=None if baseline is None else _baseline(result, baseline),
        charts=_charts(result, baseline),
        beside={"header": header, "rows": rows, "legend": legend, "ours": 1 if baseline is None else 2},
        marks=table.MARKS,
        command=pages.command_words(result.get("command")),
        tables=pages.fact_tables(*parts.items()),
    )


def _headline(result):
    scores = result_scores(result)
    found = {convention.name: mean(scores, convention) for convention in CONVENTIONS}
    return [{"name": name, "value": f"{value:.1f}"} for name, value in found.items() if value is not None]


def _tiles(result):
    tiles = []
    for name in (name for name in TITLES if name in result["tasks"]):
        task = result["tasks"][name]
        found = task["metrics"][task["main_metric"]]
        seeds = f"{found['n']} seed{'s' if found['n'] > 1 else ''}"
        note = f"{METRICS[task['main_metric']]}, {seeds}"
        tiles.append({"name": TITLES[name], "value": table.percent(found["median"]), "note": note})
    return tiles


def _baseline(result, baseline):
    return {
        "name": title(baseline),
        "header": table.BASELINE_HEADER,
        "rows": table.baseline_rows(result, baseline),
        "warning": table.unlike(result, baseline),
    }


def _charts(result, baseline):
    """Returns a chart for each column that the result has a score of."""
    charts, published = [], published_rows()
    for column, (name, metric) in COLUMNS.items():
        task = result["tasks"].get(name, {})
        if metric not in task.get("metrics", {}):
            continue
        bars = [_bar("this model", task["metrics"][metric], "ours")]
        other = ((baseline or {}).get("tasks", {}).get(name) or {}).get("metrics", {}).get(metric)
        if other is not None:
            bars.append(_bar("baseline", other, "baseline"))
        for row in published:
            # of a source with one number for MNLI that number
            key = column if row.scores.get(column) is not None else column.partition("-m")[0]
            if row.scores.get(key) is not None:
                kind = "other" if is_one_scale(result, row, key) and key == column else "apart"
                bars.append(Bar(row.name + (", test" if row.split == "test" else ""), row.scores[key], kind))
        majority = (task.get("majority") or {}).get(metric)
        svg = bar_chart(f"{METRICS[metric]} of {column}", bars, level=majority and 100 * majority)
        charts.append({"name": column, "unit": METRICS[metric].partition(",")[0], "svg": Markup(svg)})
    return charts


def _bar(label, found, kind):
    return Bar(label, 100 * found["median"], kind, (100 * min(found["values"]), 100 * max(found["values"])))
