"""A result against a baseline by the same harness, as a random initialisation: what is more than chance."""

import dataclasses
import math

from budgetbert.finetuning.published.result import TITLES, examples_of, spread


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The main metric of one task, in percent.

    Args:
        task: str, as typed at `--tasks`.
        metric: str.
        score, baseline: float. Medians over seeds.
        threshold: float or `None`. What the difference has to exceed; `None` where nothing can be said.
        basis: str. What the threshold is, or why there is none.
    """

    task: str
    metric: str
    score: float
    baseline: float
    threshold: float | None
    basis: str

    @property
    def difference(self):
        """float, score minus baseline."""
        return self.score - self.baseline

    @property
    def beaten(self):
        """bool, or `None` where nothing can be said."""
        return None if self.threshold is None else self.difference > self.threshold

    @property
    def verdict(self):
        """str."""
        return {True: "beaten", False: "not beaten", None: "not decided"}[self.beaten]


def compare(result, baseline):
    """Compares the main metric of each task that both have (list of `Comparison`, in GLUE's order).

    A difference counts if it exceeds twice the spread of the baseline's seeds. Where the baseline has one seed, twice
    the binomial standard error of its accuracy, sqrt(p (1 - p) / examples); other metrics are no proportion, and of
    them nothing can be said.

    Args:
        result, baseline: dict, of `glue.json`.
    """
    return [
        _compare(name, result, baseline) for name in TITLES if name in result["tasks"] and name in baseline["tasks"]
    ]


def mismatches(result, baseline):
    """Returns what the two were not finetuned alike in (list of str); of one harness it is empty."""
    ours, theirs = result["protocol_settings"], baseline["protocol_settings"]
    tasks = [name for name in TITLES if name in result["tasks"] and name in baseline["tasks"]]
    pairs = [(key, baseline.get(key), result.get(key)) for key in ("protocol", "split")]
    pairs += [(key, theirs.get(key), ours.get(key)) for key in sorted({*ours, *theirs} - {"description", "seeds"})]
    pairs += [
        (f"{name}: {key}", baseline["tasks"][name].get(key), result["tasks"][name].get(key))
        for name in tasks
        for key in ("examples", "train_examples")
    ]
    return [f"{key.replace('_', ' ')} {old!r} against {new!r}" for key, old, new in pairs if old != new]


def _compare(name, result, baseline):
    task, other = result["tasks"][name], baseline["tasks"][name]
    metric = task["main_metric"]
    found, base = task["metrics"][metric], other["metrics"].get(metric)
    if base is None:
        return Comparison(name, metric, 100 * found["median"], math.nan, None, f"the baseline has no {metric}")
    threshold, basis = _threshold(metric, base, examples_of(other, metric))
    if task["examples"] != other["examples"]:
        threshold, basis = None, f"{task['examples']:,} examples against {other['examples']:,}"
    return Comparison(name, metric, 100 * found["median"], 100 * base["median"], threshold, basis)


def _threshold(metric, base, examples):
    """Returns what a difference in percent has to exceed, or `None`, and what that is."""
    if len(base["values"]) > 1:
        return 200 * spread(base), f"twice the spread of {len(base['values'])} seeds"
    if not metric.startswith("accuracy"):
        return None, f"one seed, and {metric} is no proportion: no binomial error"
    share = base["median"]
    return 200 * math.sqrt(share * (1 - share) / examples), f"one seed: twice the binomial error of {examples:,}"
