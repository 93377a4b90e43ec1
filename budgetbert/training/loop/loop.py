"""The one training loop."""

import collections
import dataclasses
import time

import numpy as np

from budgetbert.batches import stack
from budgetbert.budget import Progress
from budgetbert.processes import Processes
from budgetbert.schedules import Schedules
from budgetbert.training.loop.feed import Feed
from budgetbert.training.loop.guards import Signals
from budgetbert.training.loop.state import TrainState
from budgetbert.training.plan.calibration import CALL_CAPACITY


@dataclasses.dataclass
class Loop:
    """Trains one phase until its share of the budget is spent, a signal comes, or a hook ends it.

    Args:
        step: `Step` of the current backend.
        feed: `Feed` of the phase.
        schedules: `Schedules` over the x of the phase.
        clock: `PhaseClock`, or `BudgetClock` where there is one phase.
        state: `TrainState`. It is changed in place.
        hooks: sequence of functions of the state, called after each step in their order.
        signals: `Signals`, deferred.
        processes: `Processes`. What the first of them decides holds for all; the others run the same loop. Defaults to
            this process alone.
        per_call: int. The most micro-batches of a call of `accumulate`. Defaults to 1.
        compiled: bool. Whether the functions are compiled; else the first step counts as compilation. Defaults to
            `False`.
    """

    step: object
    feed: Feed
    schedules: Schedules
    clock: object
    state: TrainState
    hooks: tuple
    signals: Signals
    processes: Processes = dataclasses.field(default_factory=Processes)
    per_call: int = 1
    compiled: bool = False

    def __post_init__(self):
        self._last_call = None
        self._lengths = set()

    def __call__(self):
        """Runs the loop.

        Returns:
            Why it ended: `"spent"`, `"stop_at"`, `"early_stop"` or the name of a signal.

        Raises:
            Diverged: if a hook found that training went wrong.
        """
        while not (why := self.ended()):
            if self.train_step():  # False: clock or signal came, and the open sums were dropped
                for hook in self.hooks:
                    hook(self.state)
        return why

    def ended(self):
        """Returns why the phase has ended, `None` while it goes on."""
        verdict = self.state.verdict or self.processes.signal(self.signals.name)
        return verdict or self.clock.ended(self.state.progress)

    def train_step(self):
        """Does one optimizer step; returns whether it was done: where clock or signal ended it, it never was."""
        state, rows = self.state, self.feed.micro_batch_size
        x = self.clock.fraction(state.progress)
        learning_rate, batch_size = self.schedules.learning_rate(x), self.schedules.batch_size(x)
        predictions = self.schedules.predictions(x)
        first_use, total = state.progress.phase_rows[state.phase], batch_size // rows
        # How many tokens are computed in rows of each length.
        done, padding, tokens = 0, 0, collections.Counter()
        while done < total:
            count = min(self.per_call, total - done)
            start = time.monotonic()
            micro_batches = self.feed(first_use + done * rows, count, predictions)
            count, token_ids = len(micro_batches), micro_batches[0]["token_ids"]
            length = token_ids.shape[-1]
            # Rows of another length are another program.
            compiles = bool(self._lengths) and length not in self._lengths
            self._lengths.add(length)
            padding += sum(np.count_nonzero(batch.get("padding_mask", 1) == 0) for batch in micro_batches)
            tokens[length] += count * token_ids.size
            batches = stack(micro_batches, CALL_CAPACITY)
            waited = time.monotonic()
            before = self._last_call
            self._last_call = self.step.accumulate(batches, count, state.micro_batches + done)
            if before is not None:  # One call is computed while the host prepares the next, and no more.
                float(before)
            state.seconds["data_wait"] += waited - start
            self._book(waited, compiles)
            done += count
            if done < total and self.ended():
                self.step.drop()
                return False
        start = time.monotonic()
        scalars = self.step.apply(learning_rate)
        self._book(start)
        self.compiled = True
        flops = sum(number * self.schedules.flops_per_token(predictions, length) for length, number in tokens.items())
        state.micro_batches += total
        state.progress = self._after(batch_size, tokens.total(), flops)
        mask_rate = self.schedules.mask_rate(x)
        settings = {"learning_rate": learning_rate, "batch_size": batch_size, "mask_rate": mask_rate}
        state.last = {"scalars": scalars, "padding": padding, **settings}
        return True

    def _book(self, start, compiles=False):
        is_step = self.compiled and not compiles
        self.state.seconds["step" if is_step else "compile"] += time.monotonic() - start

    def _after(self, batch_size, tokens, flops):
        before, phase_rows = self.state.progress, list(self.state.progress.phase_rows)
        phase_rows[self.state.phase] += batch_size
        return Progress(
            step=before.step + 1,
            rows=before.rows + batch_size,
            tokens=before.tokens + tokens,
            flops=before.flops + flops,
            seconds=self.clock.seconds,
            phase_rows=tuple(phase_rows),
        )


def train_phase(loop, log, validate, save, marks=lambda state: None):
    """Trains a phase to its end, with what is done before the first step of a run and after the last of a phase.

    Args:
        loop: `Loop`.
        log, validate, save: those of its hooks.
        marks: `Marks`. Defaults to none.

    Returns:
        As `Loop`: a signal may have come meanwhile, or the last validation given up the run.
    """
    state = loop.state
    if state.passed < 0:
        save.now(state, wait=True)  # A disk that cannot be written to is found now; this times a save, too.
        validate.now(state)
    ended = loop()
    log.flush(state)
    marks(state)
    if ended in ("spent", "stop_at"):
        validate.now(state)
    return loop.ended()
