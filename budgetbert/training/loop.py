"""The one training loop."""

import bisect
import dataclasses
import math
import time
from collections.abc import Callable

import numpy as np

from budgetbert.batches import stack
from budgetbert.budget import Progress
from budgetbert.training.calibration import CALL_CAPACITY
from budgetbert.training.devices import peak_memory
from budgetbert.training.guards import ROLLBACKS, LossGuard
from budgetbert.training.journal import Journal
from budgetbert.training.processes import Processes
from budgetbert.training.record import KINDS, read_record
from budgetbert.training.stages import Stops


@dataclasses.dataclass
class Loop:
    """Trains until the budget is spent, a signal comes, or a guard ends it.

    Args:
        update: `Update` of the current backend.
        stages: tuple of `Stage`, one for each phase.
        clock: `BudgetClock`.
        stops: `Stops`.
        validate_at: tuple of the spent fractions at which to validate, rising, besides 0 and 1.
        run: `Run`, for the log.
        checkpoints: `Checkpoints`.
        checkpoint_every: tuple of an amount and `"seconds"` or `"steps"`.
        keep_mark: function of a fraction that keeps the model and returns its path; an `OSError` if it cannot.
        callbacks: `keras.callbacks.CallbackList`. Gets each training line of the log at `on_train_batch_end`, each
            validation line at `on_test_end`.
        display: function of a log line and the spent fraction, for people.
        signals: `Signals`, deferred.
        processes: `Processes`. What the first of them decides holds for all; the others run the same loop. Defaults to
            this process alone.
        progress: `Progress` of earlier processes of this run.
        micro_batches: int. Micro-batches that they used; dropout is a function of it.
        seconds: dict of the seconds spent so far by kind.
        durations: dict of the longest validation, sampling and save so far, in seconds.
        phase: int. The number of the present phase, from 0. Defaults to 0.
        passed: int. How many of `validate_at`, and 1 after them, the last validation had passed. Defaults to -1: none.
        verdict: str or `None`. `"early_stop"` where an earlier process of this run was given up.
        guard: `LossGuard`.
        compiled: bool. Whether calibration has compiled the functions; else the first step counts as compilation.
    """

    update: object
    stages: tuple
    clock: object
    stops: Stops
    validate_at: tuple
    run: object
    checkpoints: object
    checkpoint_every: tuple
    keep_mark: Callable
    callbacks: object
    display: Callable
    signals: object
    processes: Processes = dataclasses.field(default_factory=Processes)
    progress: Progress = dataclasses.field(default_factory=Progress)
    micro_batches: int = 0
    seconds: dict = dataclasses.field(default_factory=dict)
    durations: dict = dataclasses.field(default_factory=dict)
    guard: LossGuard = dataclasses.field(default_factory=LossGuard)
    phase: int = 0
    passed: int = -1
    verdict: str | None = None
    compiled: bool = False

    def __call__(self):
        """Runs the loop.

        Returns:
            Why it ended: `"spent"`, the name of a signal, `"stop_at"`, `"early_stop"` or `"diverged"`.
        """
        self._calibrated = self.compiled
        self._enter(self.phase)
        self.seconds = {**dict.fromkeys(KINDS, 0.0), **self.seconds}
        self._journal = Journal(self.plan.matmul_rate)
        self._journal.open(self.progress, self.seconds)
        self._ticket = None
        self._validated = set(self.processes.tell(self._validated_steps()))
        self._reserve()
        self._marks = sorted(mark for mark in self.stops.marks if mark > self._spent())
        self._saved_at = time.monotonic()
        self.callbacks.on_train_begin({"step": self.progress.step})
        if self.progress.step == 0:
            self._save(wait=True)  # so that a disk that cannot be written to is found now; it times a save, too
            self._validate()
        while True:
            ended = self._train()
            self._log()
            if ended != "diverged":
                self._pass_marks()
            if ended in ("spent", "stop_at") and self._ended() == ended:
                self._validate()
            if self._ended() == ended:  # the end may have found that the run has to go back, or a signal came
                break
        if ended != "diverged":
            self._save(wait=True)
        self.callbacks.on_train_end()
        return ended

    def _train(self):
        """Trains until something ends it; returns what."""
        while not (ended := self._ended()):
            if self._next_phase() or not self._step():
                continue
            if self.processes.tell(self._journal.due):
                self._log()
            self._pass_marks()
            if self.passed < self._passed() <= len(self.validate_at):
                self._validate()
            if self.processes.tell(self._save_is_due()):
                self._save()
        return ended

    def _save_is_due(self):
        amount, unit = self.checkpoint_every
        if unit == "steps":  # by their number, so that an interrupted run saves at the same ones as an undisturbed one
            return self.progress.step % amount == 0
        return time.monotonic() - self._saved_at >= amount

    def _validated_steps(self):
        return [line["step"] for line in read_record(self.run.directory).validation] if self.processes.first else []

    def _signal(self):
        return self.processes.signal(self.signals.name)

    def _enter(self, phase):
        """Takes over what belongs to a phase."""
        self.phase, stage = phase, self.stages[phase]
        self.plan, self.schedules, self.rows = stage.plan, stage.schedules, stage.rows
        self.validate, self.samples = stage.validate, stage.samples
        self.compiled = self._calibrated
        self._predictions = None
        self._warm = {"validation": self.compiled, "samples": False}

    def _next_phase(self):
        """Goes over to the phase that the spent fraction has reached; returns whether anything was done for it."""
        if self._reached() == self.phase:
            return False
        self._validate()  # on the rows of the phase that ends
        if not self._ended() and self._reached() != self.phase:  # it may have had to go back, or a signal came
            self._enter(self._reached())
            if self.stages[self.phase].resets_step:
                self.update.reset_step()
            self.guard.forget()
        return True

    def _reached(self):
        spent = self._spent()
        return sum(stage.start <= spent for stage in self.stages[1:])

    def _spent(self):
        return self.clock.fraction(self.progress)

    def _ended(self):
        if ended := self.verdict or self._signal():
            return ended
        spent = self._spent()
        return "spent" if spent >= 1 else "stop_at" if spent >= self.stops.at else None

    def _step(self):
        """One optimizer step; False where clock or signal ended it, and then it never was."""
        spent = self._spent()
        learning_rate, batch_size = self.schedules.learning_rate(spent), self.schedules.batch_size(spent)
        predictions = self.schedules.predictions(spent)
        if predictions != self._predictions:
            self._predictions, self._feed = predictions, self.rows(self.progress.phase_rows[self.phase], predictions)
        total, done, padding, tokens = batch_size // self.plan.micro_batch_size, 0, 0, 0
        while done < total:
            count = min(self.plan.micro_batches_per_call, total - done)
            start = time.monotonic()
            micro_batches = [next(self._feed) for _ in range(count)]
            padding += sum(np.count_nonzero(batch.get("padding_mask", 1) == 0) for batch in micro_batches)
            tokens += sum(self.plan.micro_batch_size * batch["token_ids"].shape[1] for batch in micro_batches)
            batches = stack(micro_batches, CALL_CAPACITY)
            waited = time.monotonic()
            ticket = self.update.accumulate(batches, count, self.micro_batches + done)
            if self._ticket is not None:  # one call is computed while the host prepares the next, and no more
                float(self._ticket)
            self._ticket = ticket
            self.seconds["data_wait"] += waited - start
            self.seconds["step" if self.compiled else "compile"] += time.monotonic() - waited
            done += count
            if done < total and self._ended():
                self.update.drop()
                self._predictions = None  # the rows that were read belong to the next step
                return False
        start = time.monotonic()
        scalars = self.update.apply(learning_rate)
        self.seconds["step" if self.compiled else "compile"] += time.monotonic() - start
        self.compiled = True
        self.micro_batches += total
        progress = self.progress
        phase_rows = list(progress.phase_rows)
        phase_rows[self.phase] += batch_size
        self.progress = Progress(
            progress.step + 1,
            progress.rows + batch_size,
            progress.tokens + tokens,
            progress.flops + tokens * self.schedules.flops_per_token(predictions),
            self.clock.seconds,
            tuple(phase_rows),
        )
        self._journal.add(
            scalars,
            learning_rate=learning_rate,
            batch_size=batch_size,
            mask_rate=self.schedules.mask_rate(spent),
            padding=padding,
            progress=self.progress,
            micro_batches=self.micro_batches,
        )
        return True

    def _log(self):
        """Writes the line of the interval that ends here; the only place where training scalars reach the host.

        Here trouble is found: afterwards the run may stand at an earlier step, or be at its end.
        """
        steps, trouble = self._journal.fetch(), None
        for number, step in enumerate(steps):
            trouble = self.guard.observe(step["loss"] / step["weight"] if step["finite"] else math.nan, step["finite"])
            if trouble:  # what came after it never was
                steps = steps[: number + 1]
                self.progress, self.micro_batches = step["progress"], step["micro_batches"]
                break
        if steps:
            line = {**self.position(), **self._journal.line(steps, self.seconds), "memory": peak_memory()}
            line["padding"] = self.processes.total(line["padding"])
            self.run.log(line)
            self.callbacks.on_train_batch_end(self.progress.step, line)
            self.display(line, self._spent())
        self._journal.open(self.progress, self.seconds)
        if trouble:
            self._roll_back(trouble)

    def _roll_back(self, trouble):
        """Goes back to the last checkpoint from before the trouble; the rows that led into it are not read again."""
        if self.guard.rollbacks == ROLLBACKS:
            self.verdict = "diverged"
            self.incident("diverged", f"{trouble}, after {ROLLBACKS} rollbacks")
            return
        step = self.progress.step
        state = self.checkpoints.restore(before=self.guard.first_wrong(step))
        self.update.load(state["update"])
        self.report_corrupt()
        self.guard.roll_back(state["guard"])
        self.progress = dataclasses.replace(self.progress, step=state["progress"]["step"])
        if state["phase"] != self.phase:
            self._enter(state["phase"])
        self._predictions = None
        rows = f"rows {state['progress']['rows']:,} to {self.progress.rows:,} are left out"
        self.incident("rollback", f"{trouble} at step {step:,}; went back to step {self.progress.step:,}, {rows}")
        self._validated = {validated for validated in self._validated if validated <= self.progress.step}
        self._save(wait=True)

    def incident(self, kind, message):
        """Logs what went wrong and what was done about it."""
        line = {"incident": kind, "step": self.progress.step, "message": message}
        self.run.log(line)
        self.display(line, self._spent())

    def report_corrupt(self):
        """Logs what `Checkpoints.restore` found corrupt."""
        while self.checkpoints.corrupt:
            self.incident("corrupt_checkpoint", self.checkpoints.corrupt.pop(0))

    def _validate(self):
        self._log()
        if self.verdict or self.progress.step in self._validated:
            self.passed = self._passed()
            return
        start = time.monotonic()
        result = self.validate(self._signal)
        self._took("validation", start, "validation")
        if result is None:
            return
        self.passed = self._passed()
        self._validated.add(self.progress.step)
        line = {**self.position(), **result}
        self.run.log(line)
        if self.samples and self.passed % 3 == 1:  # of ten at the first, fourth, seventh and last
            start = time.monotonic()
            self.run.log({"step": self.progress.step, "samples": self.samples()})
            self._took("samples", start, "validation")
        self.callbacks.on_test_end(line)
        self.display(line, self._spent())
        if not math.isfinite(line["validation_loss"]):
            self._roll_back("the validation loss is not finite")
        elif self.stops.early and (
            reason := self.stops.early(self.progress, self.clock.seconds, line["validation_loss"])
        ):
            self.verdict = "early_stop"
            self.incident("early_stop", reason)

    def _took(self, what, start, kind):
        """Books the seconds since `start`; the first time in a process includes compilation, which does not recur."""
        seconds = time.monotonic() - start
        self.seconds[kind] += seconds
        if self._warm[what]:
            self._reserve(what, seconds)
        self._warm[what] = True

    def _pass_marks(self):
        if not self._marks or self._marks[0] > self._spent():
            return
        self._log()
        while self._marks and self._marks[0] <= self._spent() and self.verdict != "diverged":
            start = time.monotonic()
            self.update.synchronize()
            mark = self._marks.pop(0)
            try:
                self.run.log({"mark": mark, "step": self.progress.step, "path": self.keep_mark(mark)})
            except OSError as error:
                self.incident("mark_failed", f"the model at {mark:.0%} of the budget could not be kept ({error})")
            self.seconds["checkpoint"] += time.monotonic() - start

    def _save(self, wait=False):
        self._log()
        if self.verdict == "diverged":
            return
        start = time.monotonic()
        self.update.synchronize()
        self.progress.seconds = self.clock.seconds
        state = {
            "progress": dataclasses.asdict(self.progress),
            "micro_batches": self.micro_batches,
            "seconds": self.seconds,
            "durations": self.durations,
            "guard": self.guard.state,
            "phase": self.phase,
            "passed": self.passed,
            "verdict": self.verdict,
            "update": self.update.state,
        }
        for message in self.checkpoints.save(self.progress.step, state, wait):  # of the one before
            self.incident("checkpoint_failed", message)
        self._saved_at = time.monotonic()
        self.seconds["checkpoint"] += time.monotonic() - start
        self._reserve("checkpoint", self.checkpoints.seconds)

    def _reserve(self, kind=None, seconds=0.0):
        """Keeps back from a budget of time what its end will take: a validation, a save, and the call under way.

        The longest of each so far, since other users of the machine make them vary by a factor of 2.
        """
        seconds = self.processes.tell(seconds)
        if kind:
            self.durations[kind] = max(seconds, self.durations.get(kind, 0.0))
        call = self.plan.micro_batches_per_call * self.plan.micro_batch_size * self.plan.sequence_length
        self.clock.reserve = sum(self.durations.values()) + call / self.plan.tokens_per_second

    def _passed(self):
        return bisect.bisect_right((*self.validate_at, 1.0), self._spent())

    def position(self):
        """Returns what every line of the log states: where the run stands and what it spent."""
        progress = self.progress
        return {
            "step": progress.step,
            "phase": self.phase + 1,
            "tokens": progress.tokens,
            "flops": progress.flops,
            "elapsed_seconds": self.clock.seconds,
            "seconds": {kind: round(value, 3) for kind, value in self.seconds.items()},
            "device": self.plan.device,
            "budget_spent": self._spent(),
        }
