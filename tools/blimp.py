"""BLiMP of masked-LMs: how often the grammatical one of two sentences is the more likely one. No finetuning.

Hardware  any CPU: the time is that of about 12 forward passes for each sentence
Time      4 x 128 on two cores: a minute with 100 pairs of each of the 67 paradigms, ten with all 67,000
Expected  55 from random weights, to which the shorter of two sentences is the likelier; humans agree on 88.6
Run       python tools/blimp.py runs/a/model.keras runs/b/model.keras --blimp blimp.jsonl.xz
Source    Warstadt et al. 2020, BLiMP; scores by pseudo-log-likelihood, Salazar et al. 2020
"""

import json
import time

from absl import flags
from rich.table import Table

from budgetbert import command_line, files
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import number, score
from budgetbert.terminal import LastingConsole

flags.DEFINE_string("blimp", None, "All of BLiMP as one file: its lines of JSON, also compressed.")
flags.DEFINE_integer("pairs_per_paradigm", 100, "So many of each at most, the same for every model; 1,000 are all.", 1)
flags.DEFINE_string("json", None, "File for the figures.")


def main(*paths):
    given = flags.FLAGS
    if not paths:
        raise InputError("no model is given: python tools/blimp.py runs/mine/model.keras --blimp FILE.")
    command_line.require("blimp")
    command_line.check_exists("blimp")
    command_line.start_keras()
    from budgetbert.finetuning.published.blimp import judge, read_blimp
    from budgetbert.models import BertBudgetMaskedLM
    from budgetbert.models.loading import load_any

    pairs, results = read_blimp(given.blimp, given.pairs_per_paradigm), {}
    for path in paths:
        model = load_any(path)
        if not isinstance(model, BertBudgetMaskedLM):
            raise InputError(f"--model {path} is no masked-LM, so it finds no sentence likely: give that of a run.")
        started = time.perf_counter()
        results[path] = judge(model, pairs)
        results[path]["seconds"] = round(time.perf_counter() - started, 1)
    _print(results, LastingConsole(highlight=False))
    if given.json:
        files.write(given.json, json.dumps(results, indent=1))


def _print(results, console):
    table = Table("phenomenon", box=None, header_style="bold")
    for place in range(len(results)):
        table.add_column(chr(ord("A") + place), justify="right")
    found = list(results.values())
    for name in found[0]["phenomena"]:
        table.add_row(name.replace("_", " "), *(score(result["phenomena"][name]) for result in found))
    table.add_section()
    for name, digits in (("accuracy", 1), ("standard_error", 1), ("ties", 1)):
        table.add_row(name.replace("_", " "), *(score(result[name], digits) for result in found))
    table.add_row("seconds", *(number(result["seconds"]) for result in found))
    for place, path in enumerate(results):
        console.print(f"{chr(ord('A') + place)}  {path}", markup=False, soft_wrap=True)
    console.print(f"{number(found[0]['pairs'])} pairs; percent of them, 50 is chance", markup=False)
    console.print(table)


if __name__ == "__main__":
    command_line.run(main, arguments=True)
