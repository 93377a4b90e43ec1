"""A result as tables: `glue.md`, and what terminal and page show. Scores are in percent, as papers give them."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from budgetbert.budget import describe, describe_seconds
from budgetbert.glue import baseline as baselines
from budgetbert.glue.means import COLUMNS, CONVENTIONS, mean, missing, result_scores
from budgetbert.glue.published import differences, our_tuning, published_rows
from budgetbert.glue.result import METRICS, TITLES, is_reduced, spread, title

NONE = "–"
REDUCED, UNSTATED, BOTH = "*", "?", "†"  # marks of scores
TASK_HEADER = ("task", "metric", "median", "spread", "seeds", "majority class", "examples", "trained on")
BASELINE_HEADER = ("task", "metric", "score", "baseline", "difference", "has to exceed", "verdict", "how")
MARKS = (
    f"Marks: {REDUCED} not on all of the official rows; {UNSTATED} the source does not state the metric; {BOTH} one "
    "number for matched and mismatched."
)


def percent(share):
    """Returns a share as papers write a score (str): 53.3."""
    return NONE if share is None else f"{100 * share:.1f}"


def task_rows(result):
    """Returns a row (list of str, see `TASK_HEADER`) for each metric of each task, in GLUE's order."""
    rows = []
    for name in (name for name in TITLES if name in result["tasks"]):
        task = result["tasks"][name]
        for metric, found in task["metrics"].items():
            rows.append(
                [
                    TITLES[name] + (REDUCED if is_reduced(result, name) else ""),
                    METRICS[metric],
                    percent(found["median"]),
                    percent(spread(found)) if found["n"] > 1 else NONE,
                    str(found["n"]),
                    percent((task.get("majority") or {}).get(metric)),
                    f"{task['examples']:,}",
                    f"{task['train_examples']:,}" if task.get("train_examples") else NONE,
                ]
            )
    return rows


def notes(result):
    """Returns what is to be known of single tasks (list of str): stand-ins, failed runs, scores at chance."""
    told = []
    for name in (name for name in TITLES if name in result["tasks"]):
        task, said = result["tasks"][name], []
        said += task.get("notes") or ()
        failed = task.get("failed_seeds") or ()
        if failed and not any("failed to train" in note for note in said):
            said.append(f"seed{'s' if len(failed) > 1 else ''} {', '.join(map(str, failed))} failed to train")
        majority = (task.get("majority") or {}).get(task["main_metric"])
        if majority is not None and task["metrics"][task["main_metric"]]["median"] <= majority:
            said.append(f"its {METRICS[task['main_metric']]} is no better than that of the most frequent class")
        if our_tuning(result["protocol_settings"]) == "grid per task" and task.get("configuration"):
            chosen = (f"{key.replace('_', ' ')} {value:g}" for key, value in task["configuration"].items())
            said.append(f"chosen from the grid: {', '.join(chosen)}")
        told += [f"{TITLES[name]}: {'; '.join(said)}."] if said else []
    absent = [TITLES.get(name, str(name)) for name in result.get("missing") or ()]
    return [*told, *([f"Not measured: {', '.join(absent)}."] if absent else ())]


def means(result):
    """Returns each mean of a result, or why there is none (list of str)."""
    scores = result_scores(result)
    return [
        f"{convention.name.capitalize()}: "
        + (
            f"none, without {', '.join(missing(scores, convention))}"
            if missing(scores, convention)
            else f"{mean(scores, convention):.1f}"
        )
        + f". {convention.description}"
        for convention in CONVENTIONS
    ]


def beside(result, baseline=None):
    """Lays a result beside the published rows.

    Args:
        result: dict, of `glue.json`.
        baseline: dict, of another one by the same harness. Defaults to none.

    Returns:
        tuple of the header (list of str), the rows (list of list of str, ours first) and the legend (list of tuples
        of a published row's name and its protocol, budget, differences and source, str).
    """
    header = ["", "split", *COLUMNS, *(convention.name for convention in CONVENTIONS)]
    rows = [_ours(title(result), result)]
    if baseline is not None:
        rows.append(_ours(_baseline_name(baseline), baseline))
    published = published_rows()
    rows += [[row.name, row.split, *_scores(row.scores, UNSTATED, row.unstated)] for row in published]
    return header, rows, [(row.name, _legend(result, row)) for row in published]


def baseline_rows(result, baseline):
    """Returns a row (list of str, see `BASELINE_HEADER`) for each task that both have."""
    return [
        [
            TITLES[one.task],
            METRICS[one.metric],
            f"{one.score:.1f}",
            f"{one.baseline:.1f}",
            f"{one.difference:+.1f}".replace("-", "−"),
            NONE if one.threshold is None else f"{one.threshold:.1f}",
            one.verdict,
            one.basis,
        ]
        for one in baselines.compare(result, baseline)
    ]


def unlike(result, baseline):
    """Returns one sentence on what the two were not finetuned alike in, or `None`."""
    found = baselines.mismatches(result, baseline)
    return f"Baseline and result were not made alike: {'; '.join(found)}." if found else None


def facts(result):
    """Returns what was finetuned and how (dict of headings to dict of str), without paths of the machine."""
    model, settings = result.get("model") or {}, result["protocol_settings"]
    # the seeds are told with each score: `--seeds` may have asked for others than the protocol's
    settings = {key: value for key, value in settings.items() if key not in ("name", "description", "seeds")}
    settings["mnli_transfer"] = settings.get("mnli_transfer") or False
    pretraining = result.get("pretraining") or {}
    seconds = (result.get("finetuning") or {}).get("seconds")
    amounts = {key: describe(pretraining[key]) for key in ("tokens", "flops") if pretraining.get(key)}
    if pretraining.get("hours"):
        amounts["hours"] = f"{pretraining['hours']:.3g}"
    if pretraining.get("validation_loss"):
        amounts["validation_loss"] = f"{pretraining['validation_loss']:.3f} nats"
    told = {
        "Model": {"parameters": model.get("parameters"), "weights": "random" if model.get("random") else "pretrained"},
        "Pretraining": {**pretraining, **amounts} or {"known": "nothing: the model lies in no directory of a run"},
        f"Protocol {result['protocol']}": {"split": result["split"], **settings},
        "Finetuning": {
            **(result.get("finetuning") or {}),
            **({"seconds": describe_seconds(seconds)} if seconds else {}),
        },
    }
    if model.get("random"):
        told["Pretraining"] = {"known": "none, a random initialisation"}
    return {
        heading: {
            key.replace("_", " "): _value(value) for key, value in values.items() if value not in (None, "", [], {})
        }
        for heading, values in told.items()
        if values
    }


def protocol_line(result):
    """Returns the protocol's name, its sentence and the split (str)."""
    described = result["protocol_settings"].get("description", "").rstrip(".")
    return f"Protocol `{result['protocol']}`" + (f": {described}" if described else "") + f". Split: {result['split']}."


def markdown(result, baseline=None):
    """Returns `glue.md` (str); arguments as `beside`."""
    header, rows, legend = beside(result, baseline)
    lines = [f"# GLUE: {title(result)}", "", protocol_line(result), ""]
    lines += _table(TASK_HEADER, task_rows(result), left=2)
    lines += ["", "Spread: largest minus smallest over the seeds."]
    lines += ["", *(f"- {text}" for text in (*means(result), *notes(result)))]
    if baseline is not None:
        lines += ["", f"## Against the baseline: {title(baseline)}", ""]
        lines += baseline_markdown(result, baseline)
    lines += ["", "## Beside published scores", "", *_table(header, rows, left=2), "", MARKS, ""]
    lines += [f"- {name}: {text}" for name, text in legend]
    for heading, values in facts(result).items():
        lines += ["", f"## {heading}", "", *_table(("", ""), values.items(), left=2)]
    return "\n".join(lines) + "\n"


def baseline_markdown(result, baseline):
    """Returns the comparison with a baseline as lines of Markdown."""
    rows = baseline_rows(result, baseline)
    lines = _table(BASELINE_HEADER, rows, left=2) if rows else ["No task is in both."]
    warning = unlike(result, baseline)
    return [*lines, "", warning] if warning else lines


def print_result(result, baseline=None, console=None):
    """Prints the tables of a result on a terminal; arguments as `beside`, and a `rich.console.Console`."""
    if console is None:
        console = Console()
        console = console if console.is_terminal else Console(width=160)
    header, rows, legend = beside(result, baseline)
    console.print(f"[bold]{escape(title(result))}[/]  {escape(protocol_line(result))}", soft_wrap=True)
    console.print(_rich(TASK_HEADER, task_rows(result), left=2))
    for text in (*means(result), *notes(result)):
        console.print(escape(text), soft_wrap=True)
    if baseline is not None:
        console.print(_rich(BASELINE_HEADER, baseline_rows(result, baseline), left=2))
        console.print(escape(unlike(result, baseline) or ""), soft_wrap=True)
    console.print(_rich(header, rows, left=2))
    for name, text in (("", MARKS), *legend):
        console.print(escape(f"{name}: {text}" if name else text), style="dim", soft_wrap=True)


def _ours(name, result):
    reduced = [column for column, (task, _) in COLUMNS.items() if is_reduced(result, task)]
    return [name, result["split"], *_scores(result_scores(result), REDUCED, reduced)]


def _baseline_name(baseline):
    name = title(baseline)
    return f"baseline: {name[0].lower()}{name[1:]}"


def _scores(scores, mark, marked):
    """Returns the cells of a row: scores and means, those that rest on `marked` columns with a mark."""
    cells = []
    for column in COLUMNS:
        score, both = scores.get(column), column == "MNLI-m" and scores.get("MNLI") is not None
        score = scores["MNLI"] if both else score
        text = NONE if score is None else f"{score:.1f}"
        cells.append(text + (mark if score is not None and column in marked else "") + (BOTH if both else ""))
    for convention in CONVENTIONS:
        value = mean(scores, convention)
        cells.append(NONE if value is None else f"{value:.1f}{mark if marked else ''}")
    return cells


def _legend(result, row):
    budget = row.pretraining
    spent = [
        f"{budget['hours']:g} h" if budget["hours"] else "",
        f"on {budget['hardware']}" if budget["hardware"] else "",
        f"{describe(budget['tokens'])} tokens" if budget["tokens"] else "",
        f"{describe(budget['parameters'])} parameters" if budget["parameters"] else "",
    ]
    pretraining = "none" if budget["tokens"] == 0 else ", ".join(filter(None, spent)) or "not given"
    differing = differences(result, row)
    scale = f"Not one scale with ours: {'; '.join(differing)}." if differing else "No difference of protocol is known."
    return f"{row.protocol} Pretraining: {pretraining}. {scale} Source: {row.source}."


def _value(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{key} {_value(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "; ".join(map(_value, value)) if any(" " in str(item) for item in value) else ", ".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _table(header, rows, left):
    """Returns lines of a Markdown table; the first `left` columns and those of words are aligned left."""
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    aligned = ["---" if index < left or name in ("verdict", "how") else "--:" for index, name in enumerate(header)]
    return [f"| {' | '.join(cells)} |" for cells in (header, aligned, *rows)]


def _rich(header, rows, left):
    table = Table(box=None, padding=(0, 1), header_style="cyan")
    for index, name in enumerate(header):
        words = index < left or name in ("verdict", "how")
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table
