"""`glue.md`, which the terminal shows too, and `glue.html`, a result on one page that needs nothing else."""

import os
import re

from markupsafe import Markup
from rich.markdown import Markdown

from budgetbert import files
from budgetbert.finetuning.published.baseline import compare, mismatches
from budgetbert.finetuning.published.result import METRICS, TITLES, is_reduced, read_result, title
from budgetbert.finetuning.published.scores import (
    COLUMNS,
    CONVENTIONS,
    differences,
    is_one_scale,
    mean,
    missing,
    our_tuning,
    published_rows,
    result_scores,
)
from budgetbert.reporting import numbers
from budgetbert.reporting import page as pages
from budgetbert.reporting.charts import Bar, bar_chart

# The marks of scores, which the text explains.
_REDUCED, _UNSTATED, _BOTH = "*", "?", "†"


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
    files.write(os.path.join(directory, "glue.md"), markdown(result, other))
    return files.write(os.path.join(directory, "glue.html"), render(result, other))


def comparison(path, baseline):
    """Returns the comparison of a `glue.json` with that of a baseline as Markdown (str); arguments are paths."""
    result, other = read_result(path), read_result(baseline)
    start, against, _ = _text(result, other).split("\n## ")
    table = against.partition("\n")[2].strip()
    return f"{title(result)} against {title(other)}. {start.splitlines()[0]}\n\n{table}"


def print_result(result, console, baseline=None):
    """Prints a result on a `rich.console.Console`; the other arguments as for `render`."""
    console.print(Markdown(f"# GLUE: {pages.plain(title(result))}\n\n{_text(result, baseline)}"), soft_wrap=False)


def markdown(result, baseline=None):
    """Returns `glue.md` (str); arguments as for `render`."""
    parts = [f"# GLUE: {pages.plain(title(result))}\n", _text(result, baseline)]
    for table in pages.fact_tables(*_facts(result).items()):
        rows = (f"| {pages.plain(key)} | {pages.plain(value)} |" for key, value in table["rows"])
        parts.append("\n".join((f"## {pages.plain(table['name'])}\n", "| | |", "|---|---|", *rows)) + "\n")
    return "\n".join(parts)


def render(result, baseline=None):
    """Returns the page of a result as str.

    Args:
        result: dict, of `glue.json`.
        baseline: dict. Of another one by the same harness. Defaults to none.
    """
    text = _text(result, baseline).partition("\n")[2]
    start, *sections = (_html(part) for part in re.split(r"\n(?=## )", text))
    scores = result_scores(result)
    means = ((convention.name, mean(scores, convention)) for convention in CONVENTIONS)
    return pages.render(
        "finetuning/report_page.html",
        title=title(result),
        subtitle=_protocol(result),
        status=f"GLUE, {result['split']} scores",
        means=[(name, value) for name, value in means if value is not None],
        tasks=_tasks(result),
        titles=TITLES,
        metrics=METRICS,
        start=start,
        sections=sections,
        ours=1 if baseline is None else 2,
        charts=_charts(result, baseline),
        command=pages.command_words(result.get("command")),
        tables=pages.fact_tables(*_facts(result).items()),
    )


def _html(text):
    page = pages.markdown_to_html(text)
    for verdict, kind in (("beaten", "good"), ("not beaten", "bad")):
        page = page.replace(f"<td>{verdict}</td>", f'<td class="verdict {kind}">{verdict}</td>')
    return Markup(page)


def _text(result, baseline):
    """Returns the Markdown text of a result from its protocol on; arguments as for `render`."""
    scores = result_scores(result)
    means = [(convention, mean(scores, convention), missing(scores, convention)) for convention in CONVENTIONS]
    published = published_rows()
    beside = [(title(result), result["split"], _cells_of(result))]
    if baseline is not None:
        name = title(baseline)
        beside.append((f"baseline: {name[0].lower()}{name[1:]}", baseline["split"], _cells_of(baseline)))
    beside += [(row.name, row.split, _cells(row.scores, _UNSTATED, row.unstated)) for row in published]
    return pages.render(
        "finetuning/glue.md",
        result=result,
        protocol=_protocol(result, "`"),
        tasks=_tasks(result),
        titles=TITLES,
        metrics=METRICS,
        reduced=[name for name in result["tasks"] if is_reduced(result, name)],
        means=means,
        notes=_notes(result),
        baseline=baseline,
        baseline_title=None if baseline is None else title(baseline),
        comparisons=[] if baseline is None else compare(result, baseline),
        mismatches=[] if baseline is None else mismatches(result, baseline),
        columns=[*COLUMNS, *(convention.name for convention in CONVENTIONS)],
        beside=beside,
        published=published,
        differences=differences,
    )


def _protocol(result, quote=""):
    described = result["protocol_settings"].get("description", "").rstrip(".")
    named = f"Protocol {quote}{result['protocol']}{quote}"
    return f"{named}{f': {described}' if described else ''}. Split: {result['split']}."


def _tasks(result):
    return {name: result["tasks"][name] for name in TITLES if name in result["tasks"]}


def _notes(result):
    """Returns what is to be known of single tasks (list of str): samples, failed runs, scores at chance."""
    notes = []
    for name, task in _tasks(result).items():
        said = list(task.get("notes") or ())
        failed = task.get("failed_seeds") or ()
        if failed and not any("failed to train" in note for note in said):
            said.append(f"seed{'s' if len(failed) > 1 else ''} {', '.join(map(str, failed))} failed to train")
        majority = (task.get("majority") or {}).get(task["main_metric"])
        if majority is not None and task["metrics"][task["main_metric"]]["median"] <= majority:
            said.append(f"its {METRICS[task['main_metric']]} is no better than that of the most frequent class")
        if our_tuning(result["protocol_settings"]) == "grid per task" and task.get("configuration"):
            chosen = (f"{key.replace('_', ' ')} {value:g}" for key, value in task["configuration"].items())
            said.append(f"chosen from the grid: {', '.join(chosen)}")
        notes += [f"{TITLES[name]}: {'; '.join(said)}."] if said else []
    absent = [TITLES.get(name, str(name)) for name in result.get("missing") or ()]
    return [*notes, *([f"Not measured: {', '.join(absent)}."] if absent else ())]


def _cells_of(result):
    reduced = [column for column, (task, _) in COLUMNS.items() if is_reduced(result, task)]
    return _cells(result_scores(result), _REDUCED, reduced)


def _cells(scores, mark, marked):
    """Returns tuples of a value and its mark: the scores, then the means, which are marked where any score is."""
    cells = []
    for column in COLUMNS:
        both = column == "MNLI-m" and scores.get("MNLI") is not None
        value = scores["MNLI"] if both else scores.get(column)
        cells.append((value, (mark if value is not None and column in marked else "") + (_BOTH if both else "")))
    values = (mean(scores, convention) for convention in CONVENTIONS)
    return [*cells, *((value, mark if marked and value is not None else "") for value in values)]


def _facts(result):
    """Returns what was finetuned and how (dict of headings to dict), without paths of the machine."""
    model, settings = result.get("model") or {}, result["protocol_settings"]
    # The seeds are stated with each score, because `--seeds` may have asked for others than the protocol's.
    settings = {key: value for key, value in settings.items() if key not in ("name", "description", "seeds")}
    settings["mnli_transfer"] = settings.get("mnli_transfer") or False
    pretraining, finetuning = dict(result.get("pretraining") or {}), dict(result.get("finetuning") or {})
    for values, key, write in (
        *((pretraining, key, numbers.short) for key in ("tokens", "flops")),
        (pretraining, "hours", lambda hours: numbers.significant(hours, 3)),
        (pretraining, "validation_loss", lambda loss: f"{numbers.nats(loss)} nats"),
        (finetuning, "seconds", numbers.duration),
    ):
        if values.get(key):
            values[key] = write(values[key])
    if model.get("random"):
        pretraining = {"known": "none, a random initialisation"}
    facts = {
        "Model": {"parameters": model.get("parameters"), "weights": "random" if model.get("random") else "pretrained"},
        "Pretraining": pretraining or {"known": "nothing: the model lies in no directory of a run"},
        f"Protocol {result['protocol']}": {"split": result["split"], **settings},
        "Finetuning": finetuning,
    }
    return {
        heading: {key: value for key, value in values.items() if value not in (None, "", [], {})}
        for heading, values in facts.items()
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
            # A source with one number for MNLI has that number in both of its charts.
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
