"""The dial: a budget in wall-clock time, optimizer steps, tokens or FLOPs, and the clock that says what is spent."""

import dataclasses
import re
import time

from budgetbert.errors import InputError

_MULTIPLIERS = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PATTERN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(?:(?P<time>[smhd])|(?P<multiplier>[kMBGTPE]?)\s*(?P<unit>steps?|tokens?|FLOPs?))",
    re.ASCII,
)
# The least and the most of each unit that anybody can mean: ten years, and 1,000 times the largest known trainings.
_RANGES = {"seconds": (0.001, 315_360_000.0), "steps": (1, 1e12), "tokens": (1, 1e18), "flops": (1, 1e30)}


@dataclasses.dataclass(frozen=True)
class Budget:
    """An amount of one unit.

    Args:
        amount: float. How much, in `unit`.
        unit: str. `"seconds"` of wall-clock time, optimizer `"steps"`, `"tokens"` (rows x sequence length), or
            `"flops"` (model FLOPs, see `budgetbert.flops`).

    Example:

    >>> Budget.parse("12.1Btokens")
    Budget(amount=12100000000.0, unit='tokens')
    """

    amount: float
    unit: str

    @classmethod
    def parse(cls, text):
        """Reads `90s`, `10m`, `24h`, `1d`, `5000steps`, `12.1Btokens` or `1.4EFLOP`.

        Multipliers are k, M, B or G, T, P, E.

        Raises:
            InputError: if `text` is none of these, or too small or too large to be meant.
        """
        match = _PATTERN.fullmatch(text.strip())
        if not match:
            raise InputError(
                f"--budget {text!r} cannot be read: write a time (90s, 10m, 24h, 1d), steps (5000steps), tokens "
                "(12.1Btokens) or FLOPs (1.4EFLOP); multipliers are k, M, B or G, T, P, E."
            )
        number = float(match["number"])
        if match["time"]:
            budget = cls(number * _SECONDS[match["time"]], "seconds")
        else:
            budget = cls(number * _MULTIPLIERS[match["multiplier"]], match["unit"].rstrip("s").lower() + "s")
        least, most = _RANGES[budget.unit]
        if not least <= budget.amount <= most:
            raise InputError(
                f"--budget {text!r} is no amount to plan with: give at least {least:g} and at most {most:.4g} "
                f"{budget.unit_name}."
            )
        if budget.unit == "steps" and budget.amount != int(budget.amount):
            raise InputError(f"--budget {text!r} is not a whole number of steps.")
        return budget

    def __str__(self):
        return describe_seconds(self.amount) if self.unit == "seconds" else f"{describe(self.amount)} {self.unit_name}"

    @property
    def unit_name(self):
        """The unit as people write it."""
        return "FLOPs" if self.unit == "flops" else self.unit


@dataclasses.dataclass
class Progress:
    """What a run has done up to its last applied update. All counts are totals across restarts; `phase_rows` are the
    rows by phase."""

    step: int = 0
    rows: int = 0
    tokens: int = 0
    flops: float = 0.0
    seconds: float = 0.0
    phase_rows: tuple = (0,)


class BudgetClock:
    """Says which fraction of the budget is spent; in a budget of time, downtime between restarts is not counted.

    Args:
        budget: `Budget`.
        seconds: float. Seconds spent before this process started the clock (earlier processes of the same run, and
            the compilation done while calibrating). Defaults to 0.
        now: function without arguments that returns seconds. Defaults to `time.monotonic`.

    Attributes:
        reserve: float. What is kept back at the end of a budget of time for the last validation and save, in seconds;
            the caller keeps it at the longest that each has taken.
        stop_at: float. The fraction at which training stops by the way. 1 by default: at the end.

    Example:
        >>> clock = BudgetClock(Budget.parse("10steps"))
        >>> clock.fraction(Progress(step=5))
        0.5
        >>> clock.ended(Progress(step=10))
        'spent'
    """

    def __init__(self, budget, seconds=0.0, now=time.monotonic):
        self.budget = budget
        self.reserve = 0.0
        self.stop_at = 1.0
        self._now = now
        self._start = now() - seconds

    @property
    def seconds(self):
        """Seconds of wall clock spent, restarts included, downtime not."""
        return self._now() - self._start

    @property
    def available(self):
        """What training may spend, in the unit of the budget."""
        return self.budget.amount - (self.reserve if self.budget.unit == "seconds" else 0)

    def spent(self, progress):
        """Returns what is spent, in the unit of the budget; a `Progress` is ignored in a budget of time."""
        if self.budget.unit == "seconds":
            return self.seconds
        return getattr(progress, {"steps": "step"}.get(self.budget.unit, self.budget.unit))

    def fraction(self, progress):
        """Returns x in [0, 1]: spent / (budget - reserve). Every schedule is a function of it.

        Args:
            progress: `Progress`. What was done; ignored in a budget of time.
        """
        spent, available = self.spent(progress), self.available
        return 1.0 if spent >= available else spent / available

    def ended(self, progress):
        """Returns `"spent"`, `"stop_at"`, or `None` while there is something left to spend."""
        x = self.fraction(progress)
        return "spent" if x >= 1 else "stop_at" if x >= self.stop_at else None


class PhaseClock:
    """The clock of one phase of a run: its x goes from 0 to 1 over its own share of the budget.

    What a phase overspends, with its last step, is taken from the next one. The reserve of a budget of time is kept
    back at the end of the last phase alone.

    Args:
        run: `BudgetClock` of the run.
        begin: float. What the phases before may spend, in the unit of the budget. Defaults to 0.
        end: float or `None`. What this phase and those before may spend; `None` (default) for the last phase.

    Example:
        >>> run = BudgetClock(Budget.parse("12steps"))
        >>> second = PhaseClock(run, begin=8)
        >>> second.fraction(Progress(step=10)), run.fraction(Progress(step=9))
        (0.5, 0.75)
    """

    def __init__(self, run, begin=0.0, end=None):
        self.run = run
        self._begin = begin
        self._end = end

    @property
    def seconds(self):
        """As `BudgetClock.seconds`, of the run."""
        return self.run.seconds

    def fraction(self, progress):
        """Returns the phase's own x in [0, 1]."""
        spent, end = self.run.spent(progress), self.run.available if self._end is None else self._end
        return 1.0 if spent >= end else max(0.0, (spent - self._begin) / (end - self._begin))

    def ended(self, progress):
        """Returns `"stop_at"` where the run stops by the way, `"spent"` at the end of the phase, else `None`."""
        return self.run.ended(progress) or ("spent" if self.fraction(progress) >= 1 else None)


def describe(amount):
    """Returns a count in three digits and a multiplier: 12.1B, 4.65E, 32.8k."""
    for name in "EPTBMk":
        if amount >= 0.9995 * _MULTIPLIERS[name]:  # what rounds to 1,000 of the next smaller one
            return f"{amount / _MULTIPLIERS[name]:.3g}{name}"
    return f"{amount:.3g}"


def describe_seconds(seconds):
    """Returns a duration as people say it: 45.0 s, 10 min 0 s, 24 h 0 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"


def utilization(flops_per_second, matmul_rate):
    """Returns the model FLOPs utilisation (MFU): the share of the rate of matrix products that training comes to.

    `None` where it would be above 1: then the matrix products were measured while the machine was busy, and no share of
    their rate says anything.

    Args:
        flops_per_second: float. Model FLOPs.
        matmul_rate: float. FLOP/s of matrix products, as measured.
    """
    share = flops_per_second / matmul_rate
    return share if share <= 1 else None
