"""What a search found: `search.json`, `report.md` with a picture beside it, and the table on the terminal."""

import dataclasses
import json
import math
import os
import shlex
import statistics
from pathlib import Path

from rich.table import Table

from budgetbert import files
from budgetbert.budget import describe
from budgetbert.reporting import charts, page
from budgetbert.reporting.numbers import nats
from budgetbert.search.arms import short_names
from budgetbert.training.run.record import read_record

# How an outcome is told of an arm that was judged before it came about, at a share of its budget.
_TOLD = {"whole": "whole, to {}", "given up": "given up at {}", "failed": "failed after {}", "cut short": "cut at {}"}


@dataclasses.dataclass
class Outcome:
    """What became of an arm.

    Args:
        state: str. `"not tried"` (default), `"whole"` (it was judged at all rungs), `"given up"`, `"failed"` or
            `"cut short"` (the search's budget ended).
        losses: list of float. Its validation loss at each rung that it came to, in nats. Defaults to none.
        failure: str, why it failed, or `None` (default).
        by_seed: list of float. The losses of its runs at the last of these rungs. Defaults to none.
    """

    state: str = "not tried"
    losses: list = dataclasses.field(default_factory=list)
    failure: str | None = None
    by_seed: list = dataclasses.field(default_factory=list)


def compare(rows):
    """Returns how far the best arm is ahead, and whether that is more than chance.

    Args:
        rows: list of dict with `arm`, `at`, `losses` and `by_seed`, the best arm first.

    Returns:
        dict: `deviation`, the standard deviation of a run's loss between the seeds of an arm, pooled over all arms that
        were judged with several, each at the last rung that it came to (`None` without any); `level`, list of the arms
        that were judged where the best one was, and whose mean loss is less than two of it behind.
    """
    several = [row["by_seed"] for row in rows if len(row["by_seed"]) > 1]
    if not several:
        return {"deviation": None, "level": []}
    squares = sum(sum((loss - statistics.mean(losses)) ** 2 for loss in losses) for losses in several)
    deviation = math.sqrt(squares / sum(len(losses) - 1 for losses in several))
    best = rows[0]
    beside = [row for row in rows[1:] if row["losses"] and row["at"] == best["at"]]
    level = [row["arm"] for row in beside if row["losses"][-1] - best["losses"][-1] <= 2 * deviation]
    return {"deviation": deviation, "level": level}


def verdict_of(result):
    """Returns the sentence (str) on what a search has shown; empty where no arm has won."""
    if not result["winner"]:
        return ""
    if result["deviation"] is None:
        return "One run an arm tells nothing of chance: --seeds 3 would say whether the winner is one."
    of_chance = f"two standard deviations between seeds (2 x {nats(result['deviation'])}, pooled over all arms)"
    if not result["level"]:
        return f"The winner is ahead by more than {of_chance}."
    arms = ", ".join(map(str, result["level"]))
    return f"No verdict: the winner is ahead of {arms} by no more than {of_chance}."


def write_result(search, outcomes, ended):
    """Writes `search.json` and `report.md`.

    Args:
        search: `Search`.
        outcomes: list of `Outcome`, one for each arm.
        ended: str, why the search ended: `done` or `budget`.

    Returns:
        dict that `search.json` holds. Its `arms` are ranked: those that came further first, of them the lowest loss;
        those that failed come last.
    """
    rows = []
    for number, (arm, outcome) in enumerate(zip(search.arms, outcomes, strict=True)):
        at = search.rungs[len(outcome.losses) - 1] if outcome.losses else 0.0
        rows.append({"arm": number, "name": arm.name, "at": at, **dataclasses.asdict(outcome)})
    ranked = sorted(
        rows, key=lambda row: (row["state"] == "failed", -row["at"], row["losses"][-1] if row["losses"] else math.inf)
    )
    winner = ranked[0] if ranked[0]["losses"] and ranked[0]["state"] != "failed" else None
    result = {
        "winner": winner and {**winner, **dataclasses.asdict(search.arms[winner["arm"]])},
        "ended": ended,
        "spent": search.spent(),
        "unit": search.budgets[0].unit,
        "rungs": list(search.rungs),
        "seeds": search.seeds,
        "arms": ranked,
        **compare([row for row in ranked if row["state"] != "failed"]),
    }
    files.write(os.path.join(search.directory, "search.json"), json.dumps(result, indent=1))
    values = {
        **_values(search, result),
        "picture": _draw(search, rows),
        "command": winner and command(search, winner["arm"], "CORPUS", "DIR"),
    }
    files.write(os.path.join(search.directory, "report.md"), page.render("search/page.md", **result, **values))
    return result


def command(search, arm, corpus, output_dir):
    """Returns the command (str) that trains an arm for the whole schedule."""
    words = ["python", f"recipes/{Path(search.recipe).name}", *search.arms[arm].arguments]
    words += [f"--budget={search.run_budget}", f"--corpus={corpus}", f"--output_dir={output_dir}"]
    return shlex.join(words)


def print_result(search, result, console):
    """Prints a result, as `write_result` returns it, on a `rich.console.Console`."""
    values = _values(search, result)
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("arm", "settings", "outcome", *(f"at {rung:.1%}" for rung in result["rungs"])):
        table.add_column(head, justify="left" if head in ("settings", "outcome") else "right", overflow="fold")
    for row in result["arms"]:
        table.add_row(
            str(row["arm"]), values["own"][row["arm"]], values["outcomes"][row["arm"]], *map(nats, row["losses"])
        )
    console.print(f"\n{values['explained']}", markup=False)
    console.print(table, soft_wrap=False)
    for row in result["arms"]:
        if row["failure"]:
            console.print(f"arm {row['arm']} failed: {row['failure']}", markup=False)
    console.print(f"\n{values['account']}", markup=False)
    if values["verdict"]:
        console.print(values["verdict"], markup=False)
    if winner := result["winner"]:
        console.print(f"winner: arm {winner['arm']}, {winner['name']}, {nats(winner['losses'][-1])}", markup=False)
        whole = command(search, winner["arm"], search.corpus, search.run_directory(winner["arm"], 0))
        console.print(f"its run goes on to the end of the schedule with: {whole}", markup=False)
    console.print(f"report: {os.path.join(search.directory, 'report.md')}", markup=False)


def _values(search, result):
    """Returns what page and terminal tell in the same words."""
    alike, own = short_names(search.arms)
    spent, total = search.told(result["spent"]), search.told(search.budgets[1].amount)
    runs = "one run an arm" if search.seeds == 1 else f"the mean of {search.seeds} seeds an arm"
    return {
        "own": own,
        "verdict": verdict_of(result),
        "outcomes": {row["arm"]: _outcome(row) for row in result["arms"]},
        "explained": (
            f"Validation loss in nats at shares of a run's budget of {search.told(search.budgets[0].amount)}, {runs}; "
            f"less is better.{f' In all arms: {alike}.' if alike else ''}"
        ),
        "account": f"spent {spent} of {total}{', which ended the search' if result['ended'] == 'budget' else ''}",
    }


def _outcome(row):
    return _TOLD[row["state"]].format(f"{row['at']:.1%}") if row["losses"] else row["state"]


def _draw(search, rows):
    """Draws the curves of the arms that were judged; returns the name of the picture, `None` of fewer than two."""
    judged = [row["arm"] for row in rows if row["losses"]]
    if len(judged) < 2:
        return None
    own = short_names(search.arms)[1]
    series = [read_record(search.run_directory(arm, 0)).series("flops", "validation_loss") for arm in judged]
    path = os.path.join(search.directory, "comparison.png")
    names = [f"{arm}: {own[arm]}" for arm in judged]
    charts.draw_comparison(names, series, "model FLOPs", "validation loss, nats", describe, path)
    return os.path.basename(path)
