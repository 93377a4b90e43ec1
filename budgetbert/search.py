"""A search over the settings of a recipe: many runs of one long schedule, stopped early, the hopeless ones first.

Each arm is a run of the recipe with flags of its own. All arms have the same budget, and so the same schedule, of which
they see the first part; they share rows and masks where they have equal seeds. An arm goes through rungs, at each of
which it stops and is judged by its validation loss; Optuna's successive halving gives up those behind. A run that is to
go on goes on where it stopped, and so does a search that was killed.
"""

import dataclasses
import functools
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from budgetbert import files
from budgetbert.budget import Budget, describe
from budgetbert.errors import InputError, TrainingError
from budgetbert.reporting import charts, page
from budgetbert.reporting.numbers import nats
from budgetbert.training.flags import Options
from budgetbert.training.run.record import read_record

# An arm is first judged at an eighth of its run at the earliest; at each rung half of the arms go on.
_RUNGS, _HALVES = 4, 2
# What the search sets itself.
_TAKEN = ("corpus", "output_dir", "budget", "seed", "stop_at", "plan_only", "recalibrate", "demo", "given")
# 24hBERT's: batches of 4K, 8K and 16K, three rates, four warm-ups. The final values are those of its README.
_PUBLISHED = {
    "academic_24h": {
        "batch_size": [4096, 8192, 16_384],
        "learning_rate": [5e-4, 1e-3, 2e-3],
        "warmup": [0.0, 0.02, 0.04, 0.06],
    }
}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One configuration.

    Args:
        flags: dict of flags of the recipe and their values.
        config: dict of fields of the preset that are overridden.

    Example:

    >>> Arm({"learning_rate": 1e-3}, {"num_layers": 6}).name
    'learning_rate=0.001 num_layers=6'
    """

    flags: dict
    config: dict

    @property
    def name(self):
        """str, for people."""
        return " ".join(f"{key}={value}" for key, value in {**self.flags, **self.config}.items()) or "as published"

    @property
    def arguments(self):
        """list of str, for the recipe's command line."""
        given = [f"--{key}={value}" for key, value in self.flags.items()]
        return given + ([f"--config={json.dumps(self.config)}"] if self.config else [])


def read_arms(grid, recipe):
    """Reads what is to be tried.

    Args:
        grid: str. `published`, or the path of a JSON file: a list of arms, each an object with `flags`, `config` or
            both, or an object of flags and lists of their values, all combinations of which are arms.
        recipe: str, its name.

    Returns:
        list of `Arm`, two at least.

    Raises:
        InputError: naming what cannot be used.
    """
    if grid == "published":
        if recipe not in _PUBLISHED:
            raise InputError(f"--grid published: {recipe} published none; {', '.join(_PUBLISHED)} did. Give a file.")
        written = _PUBLISHED[recipe]
    else:
        try:
            written = json.loads(Path(grid).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"--grid {grid} cannot be read: {error.strerror}.") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"--grid {grid} is not JSON ({error}): see --help.") from error
    if isinstance(written, dict) and all(isinstance(values, list) and values for values in written.values()):
        pairs = ([(key, value) for value in values] for key, values in written.items())
        written = [{"flags": dict(combination)} for combination in itertools.product(*pairs)]
    if not isinstance(written, list) or not all(_is_arm(one) for one in written):
        raise InputError(
            f'--grid {grid} is no list of arms, as [{{"flags": {{"learning_rate": 0.001}}}}, ...], and no object of '
            'lists, as {"learning_rate": [0.001, 0.002]}.'
        )
    arms = [Arm(one.get("flags", {}), one.get("config", {})) for one in written]
    for number, arm in enumerate(arms):
        _check(arm, number, grid)
    if len(arms) < 2:
        raise InputError(f"--grid {grid} has {len(arms)} arms: a search needs two at least.")
    return arms


def _is_arm(one):
    return isinstance(one, dict) and one and set(one) <= {"flags", "config"} and all(map(_is_dict, one.values()))


def _is_dict(value):
    return isinstance(value, dict)


def _check(arm, number, grid):
    """Raises an `InputError` where the recipe would refuse what an arm sets."""
    known = {field.name for field in dataclasses.fields(Options)} - set(_TAKEN)
    for name in arm.flags:
        if name not in known:
            raise InputError(f"--grid {grid}, arm {number}: {name} is none of {', '.join(sorted(known))}.")
    as_text = {name: value if isinstance(value, int | float) else str(value) for name, value in arm.flags.items()}
    rest = {"preset": "mini_bert", "budget": "1steps", "mask_rate": "0.15", "config": json.dumps(arm.config)}
    try:
        Options.read({**rest, **as_text}, family="bert")
    except InputError as error:
        raise InputError(f"--grid {grid}, arm {number}: {error}") from error


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
        seeds: int. Runs of an arm, whose mean loss counts.
        directory: str, for runs, state and report.
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
        """Tuple of two float: the budget of a run, and that of all; a refusal if they cannot be compared."""
        run, total = Budget.parse(self.run_budget), Budget.parse(self.total_budget)
        if run.unit != total.unit:
            raise InputError(
                f"--run_budget {self.run_budget} is in {run.unit} and --total_budget {self.total_budget} in "
                f"{total.unit}: give both in one unit."
            )
        return run.amount, total.amount

    def check(self):
        """Raises an `InputError` where the budget cannot buy a look at each arm and one whole run."""
        run, total = self.budgets
        least = run * self.seeds * (len(self.arms) * self.rungs[0] + self.stop_at - self.rungs[0])
        if least > total:
            raise InputError(
                f"--total_budget {self.total_budget} is less than {describe(least)}, which a first look at "
                f"{len(self.arms)} arms and one whole run with {self.seeds} seeds each take: give more, fewer arms, or "
                "a smaller --stop_at."
            )

    @property
    def plan(self):
        """str, what will be spent, before anything is."""
        run, total = self.budgets
        unit = Budget.parse(self.run_budget).unit
        rungs = ", ".join(f"{rung:.1%}" for rung in self.rungs)
        most = run * self.seeds * len(self.arms) * self.stop_at
        # Half of the arms, rounded up, go on at each rung.
        going, before, expected = len(self.arms), 0.0, 0.0
        for rung in self.rungs:
            expected += run * self.seeds * going * (rung - before)
            going, before = -(-going // _HALVES), rung
        return (
            f"{len(self.arms)} arms of {self.seeds} seeds, judged at {rungs} of {self.run_budget}: about "
            f"{describe(expected)} {unit} if half of the arms go on at each, {describe(most)} if all do, "
            f"{describe(total)} at most"
        )

    def run_directory(self, arm, seed):
        """Returns the path (str) of a run."""
        return os.path.join(self.directory, f"arm-{arm:02d}", f"seed-{seed}")

    def __call__(self):
        """Searches, or goes on with it; returns the dict that `search.json` holds.

        Raises:
            InputError: if the directory holds another search, or a recipe refuses its flags.
            TrainingError: if a run fails.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        os.makedirs(self.directory, exist_ok=True)
        with _only_one(self.directory):
            self._claim()
            backend = optuna.storages.journal.JournalFileBackend(os.path.join(self.directory, "study.jsonl"))
            pruner = optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=_HALVES, min_early_stopping_rate=0
            )
            study = optuna.create_study(
                study_name="search",
                storage=optuna.storages.JournalStorage(backend),
                pruner=pruner,
                direction="minimize",
                load_if_exists=True,
            )
            why = self._search(study, optuna)
            return self._finish(study, why)

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

    def _search(self, study, optuna):
        """Goes through the arms; returns why it ended: `done` or `budget`."""
        states = optuna.trial.TrialState
        for trial in study.get_trials(states=(states.RUNNING,)):
            # That of a search which was killed: its runs are there, and go on.
            study.tell(trial.number, state=states.FAIL)
        done = {trial.params["arm"] for trial in study.get_trials(states=(states.COMPLETE, states.PRUNED))}
        choice = {"arm": optuna.distributions.CategoricalDistribution(range(len(self.arms)))}
        for number in (number for number in range(len(self.arms)) if number not in done):
            study.enqueue_trial({"arm": number})
            trial = study.ask(choice)
            loss = None
            for resource, rung in enumerate(self.rungs):
                if self._cost(number, rung) + self.spent() > self.budgets[1]:
                    study.tell(trial, state=states.FAIL)
                    return "budget"
                loss = statistics.mean(self._train(number, seed, rung) for seed in range(self.seeds))
                self._say(f"arm {number} ({self.arms[number].name}) at {rung:.1%}: {nats(loss)}")
                trial.report(loss, _HALVES**resource)
                if resource + 1 < len(self.rungs) and trial.should_prune():
                    break
            else:
                study.tell(trial, loss)
                continue
            study.tell(trial, state=states.PRUNED)
        return "done"

    def _cost(self, arm, rung):
        """What it takes, in the budget's unit, to bring the runs of an arm to a rung."""
        wanted = self.budgets[0] * rung
        return sum(max(0.0, wanted - self._spent_by(arm, seed)) for seed in range(self.seeds))

    def spent(self):
        """Returns what all runs have spent, in the budget's unit."""
        return sum(self._spent_by(arm, seed) for arm in range(len(self.arms)) for seed in range(self.seeds))

    def _spent_by(self, arm, seed):
        directory = self.run_directory(arm, seed)
        if not os.path.exists(os.path.join(directory, "log.jsonl")):
            return 0.0
        unit = Budget.parse(self.run_budget).unit
        key = {"seconds": "elapsed_seconds", "steps": "step"}.get(unit, unit)
        return float(read_record(directory).position.get(key, 0))

    def _train(self, arm, seed, rung):
        """Brings a run to a rung, and returns its validation loss there."""
        directory = self.run_directory(arm, seed)
        command = [sys.executable, self.recipe, f"--corpus={self.corpus}", f"--output_dir={directory}"]
        command += [f"--budget={self.run_budget}", f"--stop_at={rung:.9g}", f"--seed={seed}", *self.arms[arm].arguments]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            told = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"code {done.returncode}"
            kind = InputError if done.returncode == 2 else TrainingError
            raise kind(f"arm {arm} ({self.arms[arm].name}) ended with this: {told}")
        losses = read_record(directory).series("step", "validation_loss")[1]
        return losses[-1]

    def _say(self, text):
        Console(highlight=False, soft_wrap=True).print(text, markup=False)

    def _finish(self, study, why):
        """Writes `search.json` and the page, and prints the table."""
        trials = {trial.params["arm"]: trial for trial in study.get_trials() if "arm" in trial.params}
        rows = []
        for number, arm in enumerate(self.arms):
            trial = trials.get(number)
            losses = list(trial.intermediate_values.values()) if trial else []
            state = trial.state.name.lower() if trial else "waiting"
            told = {"complete": "whole", "pruned": "given up", "fail": "cut short"}.get(state, "not tried")
            at = self.rungs[len(losses) - 1] if losses else 0.0
            rows.append({"arm": number, "name": arm.name, "state": told, "at": at, "losses": losses})
        ranked = sorted(rows, key=lambda row: (-row["at"], row["losses"][-1] if row["losses"] else math.inf))
        winner = ranked[0] if ranked[0]["losses"] else None
        result = {
            "winner": winner and {**winner, **dataclasses.asdict(self.arms[winner["arm"]])},
            "ended": why,
            "spent": self.spent(),
            "unit": Budget.parse(self.run_budget).unit,
            "rungs": list(self.rungs),
            "seeds": self.seeds,
            "arms": ranked,
        }
        files.write(os.path.join(self.directory, "search.json"), json.dumps(result, indent=1))
        self._draw(rows)
        command = [Path(self.recipe).name, *(self.arms[winner["arm"]].arguments if winner else ())]
        told = {**result, "command": " ".join(command), "total": self.budgets[1]}
        text = page.render("search_page.md", **told, describe=describe)
        files.write(os.path.join(self.directory, "report.md"), text)
        _print(result, self)
        return result

    def _draw(self, rows):
        series, names = [], []
        for row in (row for row in rows if row["losses"]):
            record = read_record(self.run_directory(row["arm"], 0))
            names.append(f"{row['arm']}: {row['name']}")
            series.append(record.series("flops", "validation_loss"))
        if len(names) > 1:
            path = os.path.join(self.directory, "comparison.png")
            charts.draw_comparison(names, series, "model FLOPs", "validation loss, nats", describe, path)


def _only_one(directory):
    try:
        return files.Lock(directory)
    except BlockingIOError as error:
        raise InputError(f"{directory} is in use by another search: wait for it, or choose another one.") from error


def _print(result, search):
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for head in ("arm", "settings", "outcome", *(f"{rung:.1%}" for rung in result["rungs"])):
        table.add_column(head, justify="left" if head in ("settings", "outcome") else "right", overflow="fold")
    for row in result["arms"]:
        table.add_row(str(row["arm"]), row["name"], row["state"], *map(nats, row["losses"]))
    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    console.print(table)
    spent, total = result["spent"], search.budgets[1]
    console.print(f"\nspent {describe(spent)} of {describe(total)} {result['unit']}", end="")
    console.print(", which ended the search" if result["ended"] == "budget" else "")
    if winner := result["winner"]:
        console.print(f"winner: arm {winner['arm']}, {winner['name']}, {nats(winner['losses'][-1])}", markup=False)
    console.print(f"report: {os.path.join(search.directory, 'report.md')}", markup=False)
