"""A search over the settings of a recipe: many runs of one long schedule, stopped early, the hopeless ones first.

Each arm is a run of the recipe with flags of its own. All arms have the same budget, and so the same schedule, of which
they see the first part; they share rows and masks where they have equal seeds. An arm goes through rungs, at each of
which it stops and is judged by its validation loss; Optuna's successive halving gives up those behind. A run that is to
go on goes on where it stopped.

Nothing is kept of the search but the runs: what an arm's loss was at a rung stands in the logs, from which the same
decisions follow again. A search that was killed so goes on as one that was not.
"""

import dataclasses
import functools
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

from budgetbert import files
from budgetbert.budget import Budget
from budgetbert.errors import InputError, TrainingError
from budgetbert.reporting.numbers import nats
from budgetbert.search.report import Outcome, print_result, write_result
from budgetbert.terminal import LastingConsole
from budgetbert.training.run.checkpoint_directory import steps_in
from budgetbert.training.run.record import read_record

# An arm is first judged at an eighth of its run at the earliest; at each rung half of the arms go on.
_RUNGS, _HALVES = 4, 2
# What a run logs where it is given up.
_GIVEN_UP = ("diverged", "early_stop")


class ArmFailed(Exception):
    """A run of an arm diverged, or its own `--early_stop` gave it up; the argument says why."""


class BudgetSpent(Exception):
    """The next runs of a search would pass its `--total_budget`."""


@dataclasses.dataclass(frozen=True)
class Search:
    """What was asked of a search.

    Args:
        recipe: str, the path of the recipe.
        corpus: str, of a prepared corpus.
        arms: list of `Arm`.
        run_budget: str, of each run: how long its schedule is.
        total_budget: str, of the same unit, for all that is trained.
        stop_at: float. The share of its budget at which a run ends.
        seeds: int. Runs of an arm, whose mean loss counts. Equal seeds have equal rows and masks in all arms.
        directory: str, for runs and report.
    """

    recipe: str
    corpus: str
    arms: list
    run_budget: str
    total_budget: str
    stop_at: float
    seeds: int
    directory: str

    @property
    def rungs(self):
        """Tuple of the shares of the run's budget at which an arm is judged, rising; the last is `stop_at`."""
        number = min(_RUNGS, 1 + math.ceil(math.log2(len(self.arms))))
        return tuple(self.stop_at / _HALVES**place for place in reversed(range(number)))

    @functools.cached_property
    def budgets(self):
        """Tuple of two `Budget`: that of a run, and that of all; a refusal if they cannot be compared."""
        run, total = _budget("run_budget", self.run_budget), _budget("total_budget", self.total_budget)
        if run.unit != total.unit:
            raise InputError(
                f"--run_budget {self.run_budget} is in {run.unit_name} and --total_budget {self.total_budget} in "
                f"{total.unit_name}: give both in one unit."
            )
        return run, total

    def told(self, amount):
        """Returns an amount of the budgets' unit as people write it: 80 steps, 2 h 30 min."""
        return str(Budget(amount, self.budgets[0].unit))

    def check(self):
        """Raises an `InputError` where the budget cannot buy a look at each arm and one whole run."""
        if not 0 < self.stop_at <= 1:  # The bounds of absl let nan pass.
            raise InputError(f"--stop_at {self.stop_at} is no share of the budget: give a number up to 1.")
        run, total = self.budgets
        least = run.amount * self.seeds * (len(self.arms) * self.rungs[0] + self.stop_at - self.rungs[0])
        if least > total.amount:
            raise InputError(
                f"--total_budget {self.total_budget} is less than {self.told(least)}, which a first look at "
                f"{len(self.arms)} arms and one whole run with {self.seeds} seeds each take: give more, fewer arms, or "
                "a smaller --stop_at."
            )

    @property
    def plan(self):
        """str, what will be spent, before anything is."""
        run, total = self.budgets
        rungs = ", ".join(f"{rung:.1%}" for rung in self.rungs)
        most = run.amount * self.seeds * len(self.arms) * self.stop_at
        # Half of the arms, rounded up, go on at each rung.
        going, before, expected = len(self.arms), 0.0, 0.0
        for rung in self.rungs:
            expected += run.amount * self.seeds * going * (rung - before)
            going, before = -(-going // _HALVES), rung
        seeds = f" of {self.seeds} seeds" if self.seeds > 1 else ""
        return (
            f"{len(self.arms)} arms{seeds}, judged at {rungs} of {self.told(run.amount)}: about {self.told(expected)} "
            f"if half of the arms go on at each, {self.told(most)} if all do, {self.told(total.amount)} at most"
        )

    def run_directory(self, arm, seed):
        """Returns the path (str) of a run."""
        return os.path.join(self.directory, f"arm-{arm:02d}", f"seed-{seed}")

    def __call__(self):
        """Searches, or goes on with it; returns the dict that `search.json` holds.

        Raises:
            InputError: if the directory holds another search, or a recipe refuses its flags.
            TrainingError: if a run ends before its rung for any reason but its loss, as of a full disk or a signal.
        """
        os.makedirs(self.directory, exist_ok=True)
        with _only_one(self.directory):
            self._claim()
            console = LastingConsole(highlight=False, soft_wrap=True)
            outcomes, ended = self._search(console)
            result = write_result(self, outcomes, ended)
            print_result(self, result, console)
            return result

    def _claim(self):
        """Writes what was asked for, or refuses the directory of another search."""
        asked = dataclasses.asdict(self) | {"recipe": Path(self.recipe).stem}
        del asked["directory"], asked["total_budget"]
        path = Path(self.directory, "asked.json")
        if not path.exists():
            files.write(path, json.dumps(asked, indent=1))
        there = json.loads(path.read_text(encoding="utf-8"))
        for name, value in json.loads(json.dumps(asked)).items():
            if there.get(name) != value:
                raise InputError(
                    f"{self.directory} holds another search: its {name} is {there.get(name)} and not {value}: choose "
                    "another --output_dir."
                )

    def _search(self, console):
        """Goes through the arms; returns a list with the `Outcome` of each, and why it ended: `done` or `budget`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = optuna.pruners.SuccessiveHalvingPruner(
            min_resource=1, reduction_factor=_HALVES, min_early_stopping_rate=0
        )
        study = optuna.create_study(pruner=pruner, direction="minimize")
        outcomes = [Outcome() for _ in self.arms]
        for number, outcome in enumerate(outcomes):
            trial = study.ask()
            try:
                for resource, rung in enumerate(self.rungs):
                    outcome.by_seed = self._judge(number, rung)
                    outcome.losses.append(statistics.mean(outcome.by_seed))
                    told = f"arm {number} ({self.arms[number].name}) at {rung:.1%}: {nats(outcome.losses[-1])}"
                    console.print(told, markup=False)
                    trial.report(outcome.losses[-1], _HALVES**resource)
                    if rung < self.stop_at and trial.should_prune():
                        outcome.state = "given up"
                        break
                else:
                    outcome.state = "whole"
            except ArmFailed as failure:
                outcome.state, outcome.failure = "failed", str(failure)
                console.print(f"arm {number} ({self.arms[number].name}) failed: {failure}", markup=False)
            except BudgetSpent:
                outcome.state = "cut short" if outcome.losses else "not tried"
                return outcomes, "budget"
            states = {"whole": "COMPLETE", "given up": "PRUNED", "failed": "FAIL"}
            value = outcome.losses[-1] if outcome.state == "whole" else None
            study.tell(trial, value, state=optuna.trial.TrialState[states[outcome.state]])
        return outcomes, "done"

    def _judge(self, arm, rung):
        """Returns the validation loss of each run of an arm at a rung, to which those are brought that are not there.

        Raises:
            ArmFailed: if a run has given up.
            BudgetSpent: if there is not enough left for it.
        """
        losses = [self._loss_at(arm, seed, rung) for seed in range(self.seeds)]
        missing = [seed for seed, loss in enumerate(losses) if loss is None]
        wanted = self.budgets[0].amount * rung
        cost = sum(max(0.0, wanted - self._spent_by(arm, seed)) for seed in missing)
        if missing and cost + self.spent() > self.budgets[1].amount:
            raise BudgetSpent
        for seed in missing:
            losses[seed] = self._train(arm, seed, rung)
        return losses

    def _loss_at(self, arm, seed, rung):
        """Returns the validation loss of a run at a rung; `None` where the run is not there yet.

        Raises:
            ArmFailed: if it has given up on the way.
        """
        directory = self.run_directory(arm, seed)
        if not os.path.exists(os.path.join(directory, "recipe.json")):
            return None
        record = read_record(directory)
        steps, losses = record.series("step", "validation_loss")
        shares, _ = record.series("budget_spent", "validation_loss")
        there = ((step, loss) for step, share, loss in zip(steps, shares, losses, strict=True) if share >= rung)
        step, loss = next(there, (math.inf, None))
        for event in record.events:
            if event.get("incident") in _GIVEN_UP and event["step"] <= step:
                raise ArmFailed(event["message"])
        # A run that was killed before it was saved there comes to that step again, and writes another line.
        saved = steps_in(os.path.join(directory, "checkpoints"))
        return loss if saved and step <= saved[-1] else None

    def spent(self):
        """Returns what all runs have spent, in the budget's unit."""
        return sum(self._spent_by(arm, seed) for arm in range(len(self.arms)) for seed in range(self.seeds))

    def _spent_by(self, arm, seed):
        directory = self.run_directory(arm, seed)
        if not os.path.exists(os.path.join(directory, "log.jsonl")):
            return 0.0
        unit = self.budgets[0].unit
        key = {"seconds": "elapsed_seconds", "steps": "step"}.get(unit, unit)
        return float(read_record(directory).position.get(key, 0))

    def _train(self, arm, seed, rung):
        """Brings a run to a rung, and returns its validation loss there."""
        command = [sys.executable, self.recipe, f"--corpus={self.corpus}", f"--budget={self.run_budget}"]
        command += [f"--output_dir={self.run_directory(arm, seed)}", f"--seed={seed}", f"--stop_at={rung!r}"]
        command += self.arms[arm].arguments
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        told = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"
        who = f"arm {arm} ({self.arms[arm].name})"
        if done.returncode == 2:
            raise InputError(f"{who} ended with this: {told}")
        loss = self._loss_at(arm, seed, rung)
        if done.returncode or loss is None:
            raise TrainingError(f"{who} ended before {rung:.1%} of its budget, with this: {told}")
        return loss


def _budget(flag, text):
    """Reads a `Budget`; the error of one that cannot be read names the flag."""
    try:
        return Budget.parse(text)
    except InputError as error:
        raise InputError(str(error).replace("--budget", f"--{flag}", 1)) from error


def _only_one(directory):
    try:
        return files.Lock(directory)
    except BlockingIOError as error:
        raise InputError(f"{directory} is in use by another search: wait for it, or choose another one.") from error
