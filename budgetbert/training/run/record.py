"""What a run has written down, for readers: the report, comparisons. Imports no Keras."""

import dataclasses
import json
import math
import os

from budgetbert import files
from budgetbert.budget import describe, utilization
from budgetbert.corpus import store
from budgetbert.errors import InputError

# The loop splits the seconds into these kinds.
KINDS = ("compile", "step", "data_wait", "validation", "checkpoint")


@dataclasses.dataclass(frozen=True)
class Record:
    """`recipe.json`, `plan.json` and `log.jsonl` of a run, finished or not.

    After a restart or a rollback some steps stand twice in the log; of them the last count.

    Args:
        directory: str.
        recipe: dict. What decides the result.
        circumstances: dict. What may differ between two starts of the run, with versions and platform.
        plan: dict, empty where the run was never planned.
        training: list of dict. The lines of intervals, their steps rising.
        validation: list of dict. The lines of validations, their steps rising.
        events: list of dict. Lines of incidents, restarts and changes, in the order of their happening; each has
            `after_step`, the last step that the log had reached before.
        samples: list of dict. Lines with filled masks, their steps rising.
        marks: list of dict. Lines of retained checkpoints.
        final: dict, the last line of a finished run, or `None`.
    """

    directory: str
    recipe: dict
    circumstances: dict
    plan: dict
    training: list
    validation: list
    events: list
    samples: list
    marks: list
    final: dict | None

    @property
    def position(self):
        """The newest line that says where the run stands: steps, tokens, FLOPs, seconds; empty before the first."""
        newest = (*self.training[-1:], *self.validation[-1:])
        return self.final or max(newest, key=lambda line: (line["step"], line.get("elapsed_seconds", 0)), default={})

    def series(self, x, y):
        """Returns two lists: the values of the keys `x` and `y` where a line of the log has both as finite numbers.

        `y` is taken from training lines, or from validation lines where its name says so.
        """
        lines = self.validation if y.startswith("validation_") else self.training
        points = [(line[x], line[y]) for line in lines if _is_number(line.get(x)) and _is_number(line.get(y))]
        return [point[0] for point in points], [point[1] for point in points]

    def find(self, key):
        """Returns the newest value of a key in the log, else in the plan, else in `recipe.json`, else `None`."""
        lines = [self.final or {}, *reversed(self.validation), *reversed(self.training)]
        for place in (*lines, self.plan, self.recipe, self.circumstances):
            if place.get(key) is not None:
                return place[key]
        return None

    @property
    def unigram_entropy(self):
        """The unigram entropy of the held-out rows in nats, what a validation loss may be compared with.

        `None` where it is not known, and for a run of the time when validation showed one token in five that was to
        be predicted: its losses are below the entropy by what was shown.
        """
        comparable = "validation_masks" in self.recipe
        return self.find("validation_unigram_entropy") if comparable else None

    def sources(self):
        """Returns the last names of the corpus's sources and their tokens, as str.

        `None` where the prepared corpus is no longer where it was, or is another. The paths themselves stay here: they
        tell a reader nothing, and may tell too much.
        """
        for folder in (os.path.join(self.directory, "corpus"), self.circumstances.get("corpus")):
            try:
                manifest = read_json(os.path.join(folder or self.directory, store.MANIFEST))
                if manifest and store.fingerprint(manifest) == self.recipe.get("corpus"):
                    return ", ".join(
                        f"{os.path.basename(source['source'].rstrip('/'))} ({describe(source['tokens'])} tokens)"
                        for source in manifest["sources"]
                    )
            except (InputError, KeyError, TypeError, AttributeError):
                continue
        return None

    def summary(self, mark=None):
        """Returns what a result made from this run's model, or its card, says of the training.

        Args:
            mark: str. The path, in the directory, of a model that was kept on the way: the summary then states the
                step and the cost that it had. Defaults to none, the newest state.

        Returns:
            dict. What is not known is `None`.
        """
        position = self.position
        if mark:
            step = next((line["step"] for line in self.marks if line.get("path") == mark), None)
            lines = [line for line in (*self.training, *self.validation) if line["step"] == step]
            position = max(lines, key=len, default={})
        losses = [line for line in self.validation if line["step"] <= position.get("step", 0)]
        return {
            **{key: self.recipe.get(key) for key in ("recipe", "preset", "budget", "corpus")},
            "sources": self.sources(),
            "steps": position.get("step"),
            **{key: position.get(key) for key in ("tokens", "flops")},
            "hours": position.get("elapsed_seconds") and position["elapsed_seconds"] / 3600,
            "device": self.find("device"),
            "validation_loss": losses[-1]["validation_loss"] if losses else None,
        }

    @property
    def seconds(self):
        """Dict of the seconds spent by kind, `other` included: what the clock says beyond the kinds."""
        spent = {kind: float(value) for kind, value in self.position.get("seconds", {}).items()}
        if spent and "elapsed_seconds" in self.position:
            spent["other"] = max(0.0, self.position["elapsed_seconds"] - sum(spent.values()))
        return spent

    @property
    def training_rate(self):
        """Tokens per second of training itself, or `None`: of steps and data wait, not of the rest."""
        return self._while_training("tokens")

    @property
    def training_mfu(self):
        """Model FLOPs of training over the measured rate of the device's matrix products, or `None`.

        Also `None` where that would be above 1, see `faster_than_its_products`.
        """
        rate, peak = self._while_training("flops"), self.plan.get("matmul_rate")
        return utilization(rate, peak) if rate and peak else None

    @property
    def faster_than_its_products(self):
        """bool, whether training was faster than the matrix products were measured, while the machine was busy."""
        rate, peak = self._while_training("flops"), self.plan.get("matmul_rate")
        return bool(rate and peak) and utilization(rate, peak) is None

    def _while_training(self, key):
        busy = self.seconds.get("step", 0.0) + self.seconds.get("data_wait", 0.0)
        return self.position[key] / busy if busy and key in self.position else None


def read_record(directory):
    """Reads the `Record` of a run; an unfinished last line of the log is left out.

    Raises:
        InputError: if the directory holds no run, or a file of it is damaged.
    """
    written = read_json(os.path.join(directory, "recipe.json"))
    if not isinstance(written, dict) or not isinstance(written.get("recipe"), dict):
        raise InputError(f"{directory} holds no run (no recipe.json of one): give the --output_dir of a run.")
    lines = read_lines(os.path.join(directory, "log.jsonl"))
    training, validation, samples, events, marks, final, reached = [], [], [], [], {}, None, 0
    for line in lines:
        if "resumed_from_step" in line or "incident" in line or "changed" in line:
            events.append({**line, "after_step": reached})
            if "resumed_from_step" in line or line.get("incident") == "rollback":
                final, reached = None, line.get("resumed_from_step", line.get("step", reached))
                for kept in (training, validation, samples):
                    _drop_after(kept, reached)
            continue
        if "mark" in line:
            marks[line["mark"]] = line
        elif line.get("final"):
            final = line
        else:
            for kept, key in ((training, "learning_rate"), (validation, "validation_loss"), (samples, "samples")):
                if key in line and "step" in line:
                    _drop_after(kept, line["step"] - 1)
                    kept.append(line)
        reached = line.get("step", reached)
    circumstances, plan = written.get("circumstances") or {}, read_json(os.path.join(directory, "plan.json")) or {}
    kept = (training, validation, events, samples, list(marks.values()), final)
    return Record(directory, written["recipe"], circumstances, plan, *kept)


def _is_number(value):
    return isinstance(value, int | float) and math.isfinite(value)


def _is_step(value):
    return type(value) is int and 0 <= value < 2**63


def _is_amount(value):
    """Returns whether a line of the log may have a value as a number; what was not finite is written as `None`."""
    return value is None or type(value) in (int, float)


def _are_samples(value):
    return isinstance(value, list) and all(isinstance(sample, dict) for sample in value)


# What readers of a log rely on, where a line has it.
_KINDS_OF_A_LINE = {
    "step": _is_step,
    "phase": _is_step,
    # A run that went on from nothing says null.
    "resumed_from_step": lambda value: value is None or _is_step(value),
    "final": lambda value: type(value) is bool,
    "incident": lambda value: isinstance(value, str),
    "message": lambda value: isinstance(value, str),
    "changed": lambda value: isinstance(value, dict),
    "samples": _are_samples,
    "seconds": lambda value: _is_amount(value) or (isinstance(value, dict) and all(map(_is_amount, value.values()))),
    "mark": _is_amount,
    "path": lambda value: isinstance(value, str),
    **dict.fromkeys(("tokens", "flops", "elapsed_seconds", "loss", "validation_loss", "learning_rate"), _is_amount),
    **dict.fromkeys(("tokens_per_second", "mfu", "batch_size", "mask_rate", "gradient_norm"), _is_amount),
}


def _drop_after(lines, step):
    while lines and lines[-1]["step"] > step:
        lines.pop()


def read_json(path):
    """Reads a JSON file of a run; `None` if there is none.

    Raises:
        InputError: if it is damaged.
    """
    value = _read(path, json.load)
    if not files.is_as_written(value):
        raise InputError(
            f"{path} is damaged, it is not what was written: put it back from a copy, or give another --output_dir."
        )
    if isinstance(value, dict):
        value.pop("sha256", None)
    return value


def read_lines(path):
    """Reads a log as a list of dict, empty if there is none; an unfinished last line is left out.

    Raises:
        InputError: if it is damaged.
    """
    lines = _read(path, lambda file: [json.loads(line) for line in file if line.endswith("\n")]) or []
    if not all(isinstance(line, dict) for line in lines):
        raise InputError(f"{path} is not the log of a run: give another --output_dir.")
    for number, line in enumerate(lines, start=1):
        for key, is_right in _KINDS_OF_A_LINE.items():
            if key in line and not is_right(line[key]):
                raise InputError(
                    f"{path} is damaged, as its line {number} has the {key} {str(line[key])[:50]!r}: delete that line, "
                    "or give another --output_dir."
                )
    return lines


def _read(path, parse):
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # A pipe would be waited for.
            raise InputError(f"{path} cannot be read: it is no regular file.")
        with open(path, encoding="utf-8") as file:
            return parse(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable as JSON ({error}): give another --output_dir.") from error
