"""What keeps a run from losing work: signals that are obeyed in time, and losses that are watched."""

import collections
import math
import signal
import statistics

from budgetbert.budget import Budget
from budgetbert.errors import InputError

_SKIPS = 20  # non-finite steps in a row; loss scaling that starts at 2^15 needs at most 15 to find its scale
_RECENT, _BEFORE = 10, 100  # steps whose mean loss is held against the median of those before them
_ENOUGH_BEFORE = 50
_MARGIN = 1.0  # nats; the mean of ten small batches (32 rows of 19 predictions) varies by 0.05
ROLLBACKS = 3
# A model that gives all entries of a vocabulary of 2^32 the same probability loses 22 nats.
_HIGHEST_LOSS = 1000.0
_DAY = 86_400  # seconds


class Diverged(Exception):
    """Training went wrong; the argument is a phrase that says how. `roll_back` mends it."""


class Signals:
    """Context in which SIGTERM, SIGUSR1 (Slurm's notice of preemption), SIGINT and SIGHUP only set `name`.

    SIGHUP comes where the terminal of a run is closed. What is ignored, as under `nohup`, stays so.

    Until `defer` is called they end the process at once with code 0: before the first step nothing is lost by it.
    """

    _NAMES = ("SIGTERM", "SIGUSR1", "SIGINT", "SIGHUP")

    def __enter__(self):
        self.name = None
        self._deferred = False
        names = [name for name in self._NAMES if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN]
        self._old = {name: signal.signal(getattr(signal, name), self._receive) for name in names}
        return self

    def defer(self):
        """From now on signals wait until they are asked for."""
        self._deferred = True

    def _receive(self, number, frame):
        self.name = signal.Signals(number).name
        if not self._deferred:
            print(f"stopped by {self.name} before the first step: the same command starts again.", flush=True)
            raise SystemExit(0)

    def __exit__(self, *error):
        for name, handler in self._old.items():
            signal.signal(getattr(signal, name), handler)


class LossGuard:
    """Finds the step at which a run went wrong: 20 non-finite steps in a row, or a loss far above what it was.

    It is a pure function of the losses, so that a run that was interrupted judges as an undisturbed one.

    Args:
        margin: float. How far above in nats. Defaults to 1.

    Attributes:
        skipped: int. Steps whose gradient was not finite; the update left the weights as they were.
        rollbacks: int. How often the run went back to an earlier checkpoint.
    """

    def __init__(self, margin=_MARGIN):
        self._margin = margin
        self.skipped = 0
        self.rollbacks = 0
        self._in_a_row = 0
        self._losses = collections.deque(maxlen=_BEFORE + _RECENT)

    def observe(self, loss, finite):
        """Takes the loss of one step.

        Args:
            loss: float. Mean over the batch, nats.
            finite: bool. Whether loss and gradient were finite.

        Returns:
            A phrase that says what is wrong, or `None`.
        """
        if not finite:
            self.skipped += 1
            self._in_a_row += 1
            return f"{_SKIPS} steps in a row were not finite" if self._in_a_row >= _SKIPS else None
        self._in_a_row = 0
        self._losses.append(loss)
        losses = list(self._losses)
        before, recent = losses[:-_RECENT], losses[-_RECENT:]
        if len(before) < _ENOUGH_BEFORE:
            return None
        now, usual = statistics.fmean(recent), statistics.median(before)
        if now <= usual + self._margin:
            return None
        return f"the loss rose to {now:.2f} from {usual:.2f}"

    def roll_back(self, state):
        """Forgets what was observed after a checkpoint, whose guard's state is `state`, and counts."""
        rollbacks, skipped = self.rollbacks + 1, self.skipped
        self.load(state)
        self.rollbacks, self.skipped, self._in_a_row = rollbacks, skipped, 0

    def forget(self):
        """Forgets the losses of before: other rows and a new warm-up make others usual."""
        self._losses.clear()

    @property
    def state(self):
        """dict that JSON can hold and `load` takes."""
        return {
            "skipped": self.skipped,
            "in_a_row": self._in_a_row,
            "rollbacks": self.rollbacks,
            "losses": list(self._losses),
        }

    def load(self, state):
        """Takes over a state."""
        self.skipped, self._in_a_row = state["skipped"], state["in_a_row"]
        self.rollbacks = state["rollbacks"]
        self._losses = collections.deque(state["losses"], maxlen=_BEFORE + _RECENT)

    @staticmethod
    def first_wrong(step):
        """Returns the first step that may have been wrong already when `step` was found to be."""
        return step - _SKIPS + 1


class EarlyStop:
    """24hBERT's end of a hopeless run: a validation loss above a limit after a given time.

    Args:
        after: `budgetbert.budget.Budget`. How much has to be spent before it judges.
        limit: float. Nats.

    Source: Izsak, Berchansky & Levy 2021, `--early_stop_time` (180 min) and `--early_stop_eval_loss` (6).
    """

    # What `--early_stop` may say in place of a time and a loss: 24hBERT's own, or never.
    WORDS = ("published", "none")

    def __init__(self, after, limit):
        self._after = after
        self._limit = limit

    @classmethod
    def parse(cls, text):
        """Reads `--early_stop`, as `3h:6.0`, or `rising`, which is a `Rising`; an empty text is no stop."""
        if not text:
            return None
        if text == Rising.WORD:
            return Rising()
        after, _, limit = text.partition(":")
        try:
            stop = cls(Budget.parse(after), float(limit))
            if not 0 < stop._limit <= _HIGHEST_LOSS:
                raise ValueError(limit)
        except ValueError as error:
            raise InputError(
                f"--early_stop {text!r} cannot be read: write when and the highest loss allowed from then on, as "
                "3h:6.0, or rising, or none."
            ) from error
        return stop

    @staticmethod
    def written(word, budget):
        """Returns one of `WORDS` as a time and a loss for a `Budget`; `None` for no stop.

        The published stop is for budgets of a day and more. It comes a hundredth before an eighth of the budget, so
        that the validation at the eighth judges.
        """
        if word == "none" or budget.unit != "seconds" or budget.amount < _DAY:
            return None
        return f"{0.99 * budget.amount / 8:.0f}s:6.0"

    def judge(self, state, clock):
        """As `__call__`, of a `TrainState` that was just validated and the `BudgetClock` of the run."""
        return self(state.progress, clock.seconds, state.validations[-1]["validation_loss"])

    def __call__(self, progress, seconds, loss):
        """Returns a phrase if the run is to end, else `None`."""
        spent = {"seconds": seconds, "steps": progress.step, "tokens": progress.tokens, "flops": progress.flops}
        if spent[self._after.unit] < self._after.amount or (math.isfinite(loss) and loss <= self._limit):
            return None
        return f"validation loss {loss:.2f} is above {self._limit:g} after {self._after}"


class Rising:
    """The end of a run whose held-out loss rises while it trains, as after many passes over a small corpus.

    Two validations in a row above the lowest before them, by more than rounding, end the run. It judges a phase once a
    fifth is spent of what was left at its first validation: while the learning rate rises, the loss of a model that was
    trained before may rise too, and falls again (Gupta et al. 2023, "Continual Pre-Training of Large Language Models:
    How to (re)warm your model?").

    Example:
        >>> Rising()([2.8, 2.5, 2.7, 2.6])
        'the validation loss was 2.500, and then 2.700 and 2.600'
    """

    WORD = "rising"
    _FROM = 0.2
    _AT_LEAST = 0.005  # nats

    def judge(self, state, clock):
        """As `__call__`, of a `TrainState` that was just validated; the `BudgetClock` is not asked."""
        lines = [line for line in state.validations if line["phase"] == state.phase + 1]
        began = lines[0].get("budget_spent", 0.0)
        judged_from = began + self._FROM * (1.0 - began)
        return self([line["validation_loss"] for line in lines if line.get("budget_spent", 0.0) >= judged_from])

    def __call__(self, losses):
        """Returns a phrase if the run is to end, else `None`.

        Args:
            losses: list of float. Of the validations of a phase from a fifth of the budget on, in nats.
        """
        before, last = losses[:-2], losses[-2:]
        if not before or min(last) < min(before) + self._AT_LEAST:
            return None
        return f"the validation loss was {min(before):.3f}, and then {last[0]:.3f} and {last[1]:.3f}"
