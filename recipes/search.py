"""Search: which settings of a recipe a budget is best spent with, tried on the first part of its long schedule.

Hardware  that of the recipe
Time      that of --total_budget, and half a minute for each start of a run
Cost      --total_budget, planned before it starts
Expected  a table of the arms, the winner, its command, and with --seeds 3 whether it won by more than chance
Run       python recipes/search.py --recipe academic_24h --corpus DIR --grid published --run_budget 24h
              --total_budget 60h --stop_at 0.125 --output_dir runs/search
Small     python recipes/search.py --recipe frontier --corpus DIR --grid rates.json --run_budget 8TFLOP
              --total_budget 12TFLOP --stop_at 0.5 --output_dir runs/search
          (rates.json: {"learning_rate": [3e-3, 6e-3, 1.2e-2]})
Source    Izsak, Berchansky & Levy 2021, section 4 (runs stopped at 3 of 24 hours, the schedule that of 24);
          successive halving: Jamieson & Talwalkar 2016, Li et al. 2020, by Optuna
"""

import importlib.util
from pathlib import Path

from absl import flags

from budgetbert import command_line
from budgetbert.errors import InputError
from budgetbert.search.arms import RECIPES, read_arms

flags.DEFINE_enum("recipe", None, list(RECIPES), "Whose settings are searched.")
flags.DEFINE_string("corpus", None, "A prepared corpus.")
flags.DEFINE_string("grid", None, "A JSON file of arms, or published.")
flags.DEFINE_string("run_budget", None, "Of each run: its schedule is that long.")
flags.DEFINE_string("total_budget", None, "Of all runs together, in the same unit.")
flags.DEFINE_float("stop_at", 0.125, "Share of its budget at which a run ends.", 0.001, 1.0)
flags.DEFINE_integer("seeds", 1, "Runs of each arm; their mean loss counts, their spread tells a winner.", 1, 100)
flags.DEFINE_string("output_dir", None, "For runs and report; the same command on it goes on.")


def main():
    given = flags.FLAGS
    command_line.require("recipe", "corpus", "grid", "run_budget", "total_budget", "output_dir")
    command_line.check_output_dir(given.output_dir)

    if not importlib.util.find_spec("optuna"):
        raise InputError("a search needs optuna, which is not installed: pip install 'budgetbert[search]'.")
    from budgetbert.corpus.prepare import is_prepared
    from budgetbert.search.search import Search

    search = Search(
        recipe=str(Path(__file__).with_name(f"{given.recipe}.py")),
        corpus=given.corpus,
        arms=read_arms(given.grid, given.recipe),
        run_budget=given.run_budget,
        total_budget=given.total_budget,
        stop_at=given.stop_at,
        seeds=given.seeds,
        directory=given.output_dir,
    )
    search.check()
    if not all(is_prepared(name) for name in given.corpus.split(",")):
        raise InputError(f"--corpus {given.corpus} is no prepared corpus: make one with recipes/prepare_corpus.py.")
    print(search.plan)
    search()


if __name__ == "__main__":
    command_line.run(main)
