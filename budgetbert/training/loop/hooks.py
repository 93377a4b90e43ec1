"""What is done between the steps: the log, marks, validation, checkpoints. Each hook knows when it is due."""

import bisect
import math
import os
import pathlib
import time

import numpy as np
from keras import ops

from budgetbert.budget import utilization
from budgetbert.errors import is_disk_full
from budgetbert.processes import Processes
from budgetbert.training.loop.guards import Diverged
from budgetbert.training.plan.device import peak_memory
from budgetbert.training.run.directory import finite

LOG_EVERY = (20, 10.0)  # Steps or seconds, whichever comes first.
_SAMPLE_EVERY = 3  # Of ten validations the first, fourth, seventh and last show what the model makes of masked words.


class Log:
    """Writes the lines of `log.jsonl`, and judges the losses: once an interval the scalars of its steps reach the host.

    The other hooks call `flush` before they act, so that nothing is kept that was not judged.

    Args:
        run: `Run`.
        clock: `BudgetClock` of the run.
        device: `Device`.
        watchers: sequence of functions of a line (of training, of a validation, an incident) and the spent fraction:
            loggers, the display. Defaults to none.
        processes: `Processes`. Defaults to this process alone.
        every: tuple of int and float, the steps or seconds of an interval. Defaults to 20 steps or 10 seconds.
    """

    def __init__(self, run, clock, device, watchers=(), processes=None, every=LOG_EVERY):
        self.run, self.clock = run, clock
        self.processes = processes or Processes()
        self._device, self._watchers, self._every = device, watchers, every
        self._told_of_products = False
        self._steps = []

    def __call__(self, state):
        self._steps.append({**state.last, "progress": state.progress, "micro_batches": state.micro_batches})
        steps, seconds = self._every
        if self.processes.broadcast(len(self._steps) >= steps or time.monotonic() - self._begun["time"] >= seconds):
            self.flush(state)

    def begin(self, state):
        """Begins an interval: before the first step of a process, and wherever the one before ends."""
        self._steps = []
        self._begun = {"time": time.monotonic(), "seconds": dict(state.seconds), "progress": state.progress}

    def flush(self, state):
        """Writes the line of the interval that ends here.

        Raises:
            Diverged: if a loss says that training went wrong; the state then is that of the step that showed it.
        """
        steps, trouble = [_fetch(step) for step in self._steps], None
        for number, step in enumerate(steps):
            loss = step["loss"] / step["weight"] if step["finite"] else math.nan
            if trouble := state.guard.observe(loss, step["finite"]):
                # What came after this step is as if it had never been.
                steps = steps[: number + 1]
                state.progress, state.micro_batches = step["progress"], step["micro_batches"]
                break
        if steps:
            self._write_training_line(state, steps)
        self.begin(state)
        if trouble:
            raise Diverged(trouble)

    def position(self, state):
        """Returns what every line states: where the run stands and what it spent."""
        return {
            "step": state.progress.step,
            "phase": state.phase + 1,
            "tokens": state.progress.tokens,
            "flops": state.progress.flops,
            "elapsed_seconds": self.clock.seconds,
            "seconds": {kind: round(value, 3) for kind, value in state.seconds.items()},
            "device": self._device.name,
            "budget_spent": self.clock.fraction(state.progress),
        }

    def incident(self, state, kind, message):
        """Logs what went wrong and what was done about it."""
        line = {"incident": kind, "step": state.progress.step, "message": message}
        self.run.log(line)
        self.show(state, line)

    def show(self, state, line):
        """Shows a line to the watchers."""
        for watch in self._watchers:
            watch(line, self.clock.fraction(state.progress))

    def _write_training_line(self, state, steps):
        line = {**self.position(state), **self._describe(state, steps), "memory": peak_memory()}
        line["padding"] = self.processes.sum_over_processes(line["padding"])
        self.run.log(line)
        self.show(state, line)
        if line["mfu"] is None and not self._told_of_products:
            self._told_of_products = True
            why = "training is faster than its matrix products were measured, on a busy machine: no MFU is given"
            self.incident(state, "matmul_rate", f"{why}; --recalibrate measures them again")

    def _describe(self, state, steps):
        """Returns what a line says of the steps of its interval."""
        before, seconds = self._begun["progress"], self._begun["seconds"]
        spent = {kind: state.seconds[kind] - seconds[kind] for kind in seconds}
        training = max(1e-9, time.monotonic() - self._begun["time"] - spent["validation"] - spent["checkpoint"])
        last, finite = steps[-1], [step for step in steps if step["finite"]]
        tokens, flops = last["progress"].tokens - before.tokens, last["progress"].flops - before.flops
        return {
            "loss": _ratio(sum(step["loss"] for step in finite), sum(step["weight"] for step in finite)),
            "learning_rate": last["learning_rate"],
            "batch_size": last["batch_size"],
            "mask_rate": last["mask_rate"],
            "padding": sum(step["padding"] for step in steps) / tokens,
            "gradient_norm": _ratio(sum(step["gradient_norm"] for step in finite), len(finite)),
            "skipped_steps": len(steps) - len(finite),
            "tokens_per_second": tokens / training,
            "mfu": utilization(flops / training, self._device.matmul_rate),
            "data_wait": spent["data_wait"] / training,
            **{name: last[name] for name in ("parameter_norm", "loss_scale") if name in last},
        }


class Marks:
    """Keeps the model for good at some spent fractions of the budget.

    The state says up to where the marks were looked at, so that after a resume none is kept twice or forgotten. One
    that was passed before it was asked for is not made up.

    Args:
        log: `Log`.
        marks: sequence of float, the fractions.
        step: `Step`.
        checkpoints: `Checkpoints`.
    """

    def __init__(self, log, marks, step, checkpoints):
        self._log, self._marks, self._step, self._checkpoints = log, sorted(marks), step, checkpoints

    def begin(self, state):
        """Before the first step of a process: what a state passed that says nothing of marks counts as looked at."""
        if state.marked is None:
            state.marked = self._log.clock.fraction(state.progress)

    def __call__(self, state):
        spent = self._log.clock.fraction(state.progress)
        due = [mark for mark in self._marks if state.marked < mark <= spent]
        if due:
            self._log.flush(state)
        for mark in due:
            start = time.monotonic()
            self._step.synchronize()
            try:
                path = self._keep(mark)
            except OSError as error:
                if is_disk_full(error):  # To go on would lose the mark; a restart comes here again.
                    raise
                message = f"the model at {mark:.0%} of the budget could not be kept ({error})"
                self._log.incident(state, "mark_failed", message)
            else:
                self._log.run.log({"mark": mark, "step": state.progress.step, "path": path})
            state.seconds["checkpoint"] += time.monotonic() - start
        state.marked = max(state.marked, spent)

    def _keep(self, mark):
        """Saves the model as `marks/0.5.keras` and returns that path, relative to the run."""
        name, run = os.path.join("marks", f"{mark:g}.keras"), self._log.run
        if run.writes:
            pathlib.Path(run.path("marks")).mkdir(exist_ok=True)
            self._checkpoints.save_model(run.path(name))
        return name


class Validate:
    """Validates where the run passes certain spent fractions of its budget.

    Args:
        log: `Log`.
        evaluate: function of a function that says whether to give up, see `Validation`; returns a dict, or `None`.
        at: tuple of the fractions, rising, besides 0 and 1.
        signals: `Signals`. One of them ends a validation without a result.
        samples: function without arguments that returns what the model makes of some masked words, or `None` (default).
        early_stop: `EarlyStop`, `Rising` or `None` (default).
        compiled: bool. Whether the first validation compiles nothing any more. Defaults to `False`.
        best: `Best`, which keeps the model at the lowest loss, or `None` (default).
    """

    def __init__(self, log, evaluate, at, signals, samples=None, early_stop=None, compiled=False, best=None):
        self._log, self._evaluate, self._samples, self._best = log, evaluate, samples, best
        self._at, self._signals, self._early_stop = at, signals, early_stop
        self._warm = {"validation": compiled, "samples": False}

    def __call__(self, state):
        if state.passed < self._passed(state) <= len(self._at):
            self.now(state)

    def now(self, state):
        """Validates, unless that was done at this step.

        Raises:
            Diverged: if the loss is not finite.
        """
        log = self._log
        log.flush(state)
        if state.verdict or state.progress.step in [line["step"] for line in state.validations]:
            state.passed = self._passed(state)
            return
        start = time.monotonic()
        result = self._evaluate(lambda: log.processes.signal(self._signals.name))
        self._took(state, "validation", start)
        if result is None:
            return
        state.passed = self._passed(state)
        line = {**log.position(state), **result}
        log.run.log(line)
        if self._samples and state.passed % _SAMPLE_EVERY == 1:
            start = time.monotonic()
            log.run.log({"step": line["step"], "samples": self._samples()})
            self._took(state, "samples", start)
        log.show(state, line)
        loss = line["validation_loss"]
        if not math.isfinite(loss):
            raise Diverged("the validation loss is not finite")
        where = {name: line[name] for name in ("step", "phase", "budget_spent")}
        state.validations.append(finite({**where, **result}))
        if self._best:
            self._best(state)
        if self._early_stop and (reason := self._early_stop.judge(state, log.clock)):
            state.verdict = "early_stop"
            log.incident(state, "early_stop", reason)

    def _passed(self, state):
        return bisect.bisect_right((*self._at, 1.0), self._log.clock.fraction(state.progress))

    def _took(self, state, what, start):
        """Books the seconds since `start`; the first time in a process includes compilation, which does not recur."""
        seconds = time.monotonic() - start
        state.seconds["validation"] += seconds
        keep_back(state, self._log, what, seconds if self._warm[what] else 0.0)
        self._warm[what] = True


class Save:
    """Saves a checkpoint once an interval, and at once where the disk was full: then the run has to end.

    Args:
        log: `Log`.
        checkpoints: `Checkpoints`.
        step: `Step`.
        every: `Cadence`.
    """

    def __init__(self, log, checkpoints, step, every):
        self._log, self._checkpoints, self._step, self._every = log, checkpoints, step, every
        self._saved_at = time.monotonic()

    def __call__(self, state):
        due = self._every.due(state.progress.step, time.monotonic() - self._saved_at)
        if self._log.processes.broadcast(self._checkpoints.disk_is_full or due):
            self.now(state)

    def now(self, state, wait=False):
        """Saves a checkpoint; with `wait` it is written when this returns.

        Raises:
            TrainingError: if it cannot be written and `wait`, or the disk is full for the second time.
        """
        log = self._log
        log.flush(state)
        start = time.monotonic()
        wait = wait or self._checkpoints.disk_is_full
        self._step.synchronize()
        state.progress.seconds = log.clock.seconds
        state.step = self._step.state
        for message in self._checkpoints.save(state.progress.step, state.to_json(), wait):
            log.incident(state, "checkpoint_failed", message)  # That is the checkpoint before.
        self._saved_at = time.monotonic()
        state.seconds["checkpoint"] += time.monotonic() - start
        keep_back(state, log, "checkpoint", self._checkpoints.seconds)


def keep_back(state, log, what, seconds):
    """Keeps back from a budget of time what its end will take: a validation, a save, and the call under way.

    The longest of each so far counts, since other users of the machine make them vary by a factor of 2.
    """
    state.durations[what] = max(log.processes.broadcast(seconds), state.durations.get(what, 0.0))
    log.clock.reserve = sum(state.durations.values())


def _fetch(step):
    """Returns the settings of a step with its scalars as floats."""
    values = {name: float(ops.convert_to_numpy(value)) for name, value in step["scalars"].items()}
    finite = bool(np.isfinite(values["gradient_norm"]) and np.isfinite(values["loss"]))
    return {**step, **values, "finite": finite}


def _ratio(total, weight):
    return total / weight if weight else None
