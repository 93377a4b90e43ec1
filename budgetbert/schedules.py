"""Pure curves over the spent fraction x of the budget. Outside [0, 1] they keep the value of the nearer end.

Those of the learning rate return a factor of its peak, never negative, and reach their end exactly at x = 1. Batch
size and mask rate follow curves of the same kind.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable

from budgetbert.errors import InputError


def _clamp(x):
    return min(max(x, 0.0), 1.0)


def _after_warmup(x, warmup):
    """The share of the budget after the warm-up that is spent; 1 at x = 1 to the last bit."""
    return (x - warmup) / (1.0 - warmup)


def linear(x, warmup=0.06):
    """24hBERT's time-linear schedule: rises from 0 to 1 over the first `warmup` of the budget, then falls to 0.

    The original divides by max(1 hour, budget - warm-up), so with a budget under about 64 minutes its learning rate
    jumps down at the end of the warm-up; this one is exact for any budget.

    Args:
        x: float, the spent fraction of the budget.
        warmup: float in [0, 1). Defaults to 0.06.

    Source: Izsak, Berchansky & Levy 2021, section 3, and their `--lr_schedule time --curve linear`.
    """
    x = _clamp(x)
    return x / warmup if x < warmup else (1.0 - x) / (1.0 - warmup)


def exponential(x, warmup=0.06, end=0.01):
    """24hBERT's exponential schedule: rises as (x / warmup)^2, then falls geometrically to `end`.

    The original falls by 0.99 per 1,000 steps, or per 1,000 hours where it counts hours, which is no fall at all. Here
    the end is given; over T steps after the warm-up the original's is `0.99 ** (T / 1000)`.

    Args:
        x: float, the spent fraction of the budget.
        warmup: float in [0, 1). Defaults to 0.06.
        end: float in (0, 1]. The factor at x = 1. Defaults to 0.01.

    Source: Izsak, Berchansky & Levy 2021, their `--curve exp`.
    """
    x = _clamp(x)
    return (x / warmup) ** 2 if x < warmup else end ** _after_warmup(x, warmup)


def triangle(x, start=0.25, cooldown=0.25):
    """Cramming's `budget-triangle2`: rises from `start`, peaks at 1 - cooldown, falls to 0.

    `start=0.5` is its `budget-triangle1`.

    Args:
        x: float, the spent fraction of the budget.
        start: float in [0, 1]. The factor at x = 0. Defaults to 0.25.
        cooldown: float in (0, 1). The share of the budget after the peak. Defaults to 0.25.

    Source: Geiping & Goldstein 2022, section 4.3. Unlike the original it never goes below 0.
    """
    x = _clamp(x)
    return min(start + x * (1.0 - start) / (1.0 - cooldown), (1.0 - x) / cooldown)


def one_cycle(x):
    """Cramming's `budget-one-cycle`: rises from 0 to 1 at half of the budget, falls to 0.

    Source: Geiping & Goldstein 2022, section 4.3.
    """
    return triangle(x, start=0.0, cooldown=0.5)


def cosine(x, warmup=0.0):
    """Half a cosine from 1 to 0, after a linear warm-up.

    Args:
        x: float, the spent fraction of the budget.
        warmup: float in [0, 1). Defaults to 0.

    Source: Loshchilov & Hutter 2017; Cramming's `budget-cosine-decay`.
    """
    x = _clamp(x)
    return x / warmup if x < warmup else 0.5 * (1.0 + math.cos(math.pi * _after_warmup(x, warmup)))


def polynomial(x, warmup=0.0, power=1.0, ahead=0.0):
    """LAMB's decay: a power of what is left of the budget, which a linear warm-up overrides at the start.

    The decay counts from x = 0 and not from the end of the warm-up, so the factor drops from 1 to
    `(1 - warmup) ** power` where the warm-up ends: to 0.6 and 0.8 with the paper's warm-ups of 0.4 and 0.2, to 0.846
    with NVIDIA's 0.2843.

    Args:
        x: float, the spent fraction of the budget (of the phase, where there are two).
        warmup: float in [0, 1). Defaults to 0.
        power: float above 0. 1 in the paper (default), 0.5 in NVIDIA's code.
        ahead: float. What is added to x: NVIDIA's code counts a step before it is made, so that its first one has a
            rate already and its last one has none. Defaults to 0.

    Source: You et al. 2020, appendix: lr0 (1 - t / T). That the warm-up overrides it is from published code, as
        the paper's own was not: Google's BERT and ALBERT (`optimization.py`), MLPerf's reference;
        DeepLearningExamples, PyTorch BERT, `PolyWarmUpScheduler`.
    """
    x = _clamp(x + ahead)
    return x / warmup if x < warmup else (1.0 - x) ** power


def warmup_stable_decay(x, warmup=0.01, decay=0.2):
    """A linear warm-up, a plateau at 1, and a fall to 0 as 1 - sqrt over the last `decay` of the budget.

    Args:
        x: float, the spent fraction of the budget.
        warmup: float in [0, 1). Defaults to 0.01.
        decay: float in (0, 1 - warmup]. Defaults to 0.2.

    Source: Hägele et al. 2024 (arXiv 2405.18392), section 3, equation 1 with f = 1 - sqrt.
    """
    x = _clamp(x)
    if x < warmup:
        return x / warmup
    return 1.0 - math.sqrt(max(0.0, 1.0 - (1.0 - x) / decay))


# Those of the learning rate, by the names that --schedule has for them.
CURVES = {
    curve.__name__: curve
    for curve in (linear, exponential, triangle, one_cycle, cosine, polynomial, warmup_stable_decay)
}


def with_settings(curve, name=None, warmup=None):
    """Returns another curve, or the same one with another warm-up.

    Args:
        curve: function of x, perhaps a `functools.partial` of one, which keeps its other settings.
        name: str, a key of `CURVES`. Defaults to `None`: the same one.
        warmup: float in [0, 1). Defaults to `None`: that of the curve, or of the other one's default.

    Raises:
        InputError: if the curve has no warm-up.
    """
    curve = curve if name is None else CURVES[name]
    if warmup is None:
        return curve
    function, settings = getattr(curve, "func", curve), getattr(curve, "keywords", {})
    with_one = [name for name, other in CURVES.items() if "warmup" in inspect.signature(other).parameters]
    if function.__name__ not in with_one:
        raise InputError(
            f"--warmup {warmup:g} does not go with the schedule {function.__name__}, which has none: give one of "
            f"{', '.join(with_one)} at --schedule."
        )
    decay = inspect.signature(function).parameters.get("decay")
    if decay and warmup > 1 - settings.get("decay", decay.default):
        raise InputError(f"--warmup {warmup:g} reaches into the decay of {function.__name__}: give less.")
    return functools.partial(function, **{**settings, "warmup": warmup})


def batch_ramp(x, final, micro, until=0.6):
    """Cramming's batch-size ramp: grows linearly from one micro-batch to `final` rows, in whole micro-batches.

    Args:
        x: float, the spent fraction of the budget.
        final: int. Rows of the full batch, a multiple of `micro`.
        micro: int. Rows of a micro-batch.
        until: float in [0, 1]. The spent fraction where the full batch is reached; 0 for no ramp. Defaults to 0.6.

    Returns:
        int, rows.

    Raises:
        ValueError: if `final` is no multiple of `micro`.

    Source: Geiping & Goldstein 2022, `backend/torch_default.py` (`batch_size_ramp`).
    """
    if final % micro:
        raise ValueError(f"A batch of {final} rows is no whole number of micro-batches of {micro} rows.")
    x = _clamp(x)
    if x >= until:
        return final
    whole = math.floor(x / until * (final // micro) + 1e-9)  # 0.15 of 0.6 is a quarter, rounded or not
    return min(micro * (whole + 1), final)


@dataclasses.dataclass(frozen=True)
class MaskRate:
    """A mask rate as a function of the spent fraction x of the budget.

    Args:
        points: tuple of tuples (x, rate), x rising from 0.
        linear: bool. Whether the rate moves in a straight line from point to point, or stays at the last one passed.
    """

    points: tuple
    linear: bool

    def __call__(self, x):
        x = _clamp(x)
        passed = [point for point in self.points if point[0] <= x]
        position, rate = passed[-1]
        if not self.linear or len(passed) == len(self.points):
            return rate
        next_position, next_rate = self.points[len(passed)]
        return rate + (next_rate - rate) * (x - position) / (next_position - position)

    @property
    def highest(self):
        """The highest rate, which says how many prediction slots a row needs."""
        return max(rate for _, rate in self.points)


def parse_mask_rate(text):
    """Reads `--mask_rate`.

    Args:
        text: str. `"0.15"`: constant. `"0.30:0.15"`: linear from the first at the start to the last at the end of the
            budget (more of them are evenly spaced). `"0.30,0.20@0.5,0.15@0.8"`: steps, each from the spent fraction
            after its @ on.

    Returns:
        `MaskRate`.

    Raises:
        InputError: if `text` is none of these, or a rate is not between 0 and 1.

    Source: a falling rate is Ankner et al. 2024 (Dynamic Masking Rate Schedules, arXiv 2305.15096): 30 % to 15 %,
        linear.
    """
    text = str(text).strip()
    try:
        if ":" in text:
            rates = [float(part) for part in text.split(":")]
            points = tuple((i / (len(rates) - 1), rate) for i, rate in enumerate(rates))
        else:
            first, *others = text.split(",")
            steps = [part.split("@") for part in others]
            points = ((0.0, float(first)), *((float(position), float(rate)) for rate, position in steps))
    except ValueError as error:
        raise InputError(
            f"--mask_rate {text!r} cannot be read: write a rate (0.15), a line (0.30:0.15), or steps by the spent "
            "fraction of the budget (0.30,0.15@0.5)."
        ) from error
    if not all(0 < rate < 1 for _, rate in points):
        raise InputError(f"--mask_rate {text!r} is no share of the tokens: give rates between 0 and 1.")
    positions = [position for position, _ in points]
    if any(not 0 < position <= 1 for position in positions[1:]) or positions != sorted(set(positions)):
        raise InputError(f"--mask_rate {text!r}: the fractions after @ must rise and lie between 0 and 1.")
    return MaskRate(points, linear=":" in text)


@dataclasses.dataclass(frozen=True)
class Schedules:
    """The settings of the steps of a phase, as functions of its x, the spent fraction of its share of the budget.

    Args:
        learning_rate: returns the learning rate.
        batch_size: returns the rows of an optimizer step, a multiple of the micro-batch.
        flops_per_token: function of the predictions of a full row, and of the length at which a row is computed, that
            returns the model FLOPs of a token.
        mask_rate: returns the share of the tokens to predict. Defaults to `None`: nothing is masked.
        predictions: returns the predictions of a full row. Defaults to 0.
    """

    learning_rate: Callable
    batch_size: Callable
    flops_per_token: Callable
    mask_rate: Callable = lambda x: None
    predictions: Callable = lambda x: 0
