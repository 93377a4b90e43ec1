import functools
import math

import keras
import numpy as np
import pytest

from budgetbert import schedules
from budgetbert.budget import Budget, BudgetClock, Progress
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend

FACTORS = {
    "linear": schedules.linear,
    "linear from its peak": lambda x: schedules.linear(x, warmup=0.0),
    "exponential": schedules.exponential,
    "triangle2": schedules.triangle,
    "triangle1": lambda x: schedules.triangle(x, start=0.5),
    "one_cycle": schedules.one_cycle,
    "cosine": schedules.cosine,
    "cosine with warm-up": lambda x: schedules.cosine(x, warmup=0.1),
    "polynomial": lambda x: schedules.polynomial(x, warmup=0.4),
    "NVIDIA's polynomial": lambda x: schedules.polynomial(x, warmup=0.2843, power=0.5),
    "warmup_stable_decay": schedules.warmup_stable_decay,
}
ENDS = {"exponential": 0.01}
EVERY = pytest.mark.parametrize("name", FACTORS)


@EVERY
def test_every_schedule_stays_between_zero_and_its_peak_and_ends_exactly(name):
    schedule, end = FACTORS[name], ENDS.get(name, 0.0)
    values = [schedule(x) for x in np.linspace(-0.5, 1.5, 2001)]
    assert min(values) == min(end, schedule(0.0))
    # the grid may straddle a peak, by 0.001 of the budget
    assert max(values) == pytest.approx(1.0, abs=0.005)
    assert max(values) <= 1.0
    assert schedule(1.0) == end
    assert schedule(1.01) == end
    assert schedule(-0.01) == schedule(0.0)


@pytest.mark.parametrize(("hours", "factor"), [(0, 0), (0.72, 0.5), (1.44, 1), (12.72, 0.5), (24, 0)])
def test_linear_has_the_published_values_over_24_hours(hours, factor):
    assert schedules.linear(hours / 24, warmup=0.06) == pytest.approx(factor)


def test_linear_equals_the_original_formula_where_that_is_right():
    # its denominator max(1 hour, T - W) is T - W for T = 24
    total, warm = 24.0, 1.44
    for p in np.linspace(0, total, 97):
        original = p / warm if p < warm else max(0.0, total - p) / max(1.0, total - warm)
        assert schedules.linear(p / total, warmup=0.06) == pytest.approx(original)


def test_learning_rate_does_not_jump_at_the_end_of_the_warmup_of_a_short_budget():
    # the original falls from 1 to 0.47 there with T = 0.5 h; a fraction of the budget knows no hours
    assert schedules.linear(0.06 - 1e-9) == pytest.approx(1, abs=1e-6)
    assert schedules.linear(0.06 + 1e-9) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "factor"), [(0, 0.25), (0.1, 0.35), (0.25, 0.5), (0.5, 0.75), (0.75, 1), (0.9, 0.4), (1, 0), (1.01, 0)]
)
def test_triangle_has_the_values_of_budget_triangle2(x, factor):
    assert schedules.triangle(x) == pytest.approx(factor)


@pytest.mark.parametrize(("x", "factor"), [(0, 0), (0.1, 0.2), (0.25, 0.5), (0.5, 1), (0.75, 0.5), (1, 0)])
def test_one_cycle_has_the_values_of_budget_one_cycle(x, factor):
    assert schedules.one_cycle(x) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("x", "factor"), [(0, 0), (0.05, 0.5), (0.1, 1), (0.4, 0.75), (0.55, 0.5), (0.7, 0.25), (1, 0)]
)
def test_cosine_is_half_a_cosine_after_its_warmup(x, factor):
    assert schedules.cosine(x, warmup=0.1) == pytest.approx(factor)


@pytest.mark.parametrize(
    ("steps", "warmup", "power", "dropped"), [(7038, 0.4, 1.0, 0.6), (1561, 0.2, 1.0, 0.8), (7038, 0.2843, 0.5, 0.846)]
)
def test_lamb_decays_from_step_0_on_and_its_warmup_overrides_that(steps, warmup, power, dropped):
    # Google's `optimization.py` in Keras's words: a PolynomialDecay over all steps, another rate while it warms up
    decay = keras.optimizers.schedules.PolynomialDecay(1.0, steps, end_learning_rate=0.0, power=power)
    last = int(warmup * steps)  # of the warm-up
    for step in (0, last // 2, last, last + 1, steps // 2, steps - 1, steps):
        original = step / (warmup * steps) if step <= last else float(decay(step))
        assert schedules.polynomial(step / steps, warmup, power) == pytest.approx(original, abs=1e-6)
    assert schedules.polynomial((last + 1) / steps, warmup, power) == pytest.approx(dropped, abs=1e-3)


def test_nvidias_curve_is_the_square_root_of_what_is_left_to_the_last_bit():
    for step in range(2001, 7039):
        assert schedules.polynomial(step / 7038, warmup=0.2843, power=0.5) == (1.0 - step / 7038) ** 0.5


@pytest.mark.parametrize(
    ("x", "factor"), [(0, 0), (0.005, 0.5), (0.01, 1), (0.8, 1), (0.85, 0.5), (0.9, 1 - math.sqrt(0.5)), (1, 0)]
)
def test_warmup_stable_decay_falls_as_one_minus_the_square_root(x, factor):
    assert schedules.warmup_stable_decay(x, warmup=0.01, decay=0.2) == pytest.approx(factor)


def test_exponential_equals_24hberts_over_steps():
    total, warm = 100_000, 6_000
    end = 0.99 ** ((total - warm) / 1000)
    for p in range(0, total + 1, 500):
        original = (p / warm) ** 2 if p < warm else 0.99 ** ((p - warm) / 1000)
        assert schedules.exponential(p / total, warmup=0.06, end=end) == pytest.approx(original)


def test_the_learning_rate_ends_with_the_budget_though_steps_become_ten_times_slower():
    now = [0.0]
    clock = BudgetClock(Budget.parse("10m"), now=lambda: now[0])
    clock.reserve = 20.0
    rates = []
    while clock.fraction(Progress()) < 1:
        rates.append(schedules.linear(clock.fraction(Progress())))
        now[0] += 0.5 if now[0] < 300 else 5.0
    assert len(rates) == 600 + 56
    assert max(rates) == pytest.approx(1, abs=0.02)
    # the last step starts within one slow step of the end, and after it nothing is left
    assert 0 < rates[-1] <= 5 / 580 / 0.94
    assert schedules.linear(clock.fraction(Progress())) == 0
    assert now[0] == pytest.approx(580)


@pytest.mark.parametrize(("x", "rows"), [(0, 512), (0.15, 2560), (0.30, 4608), (0.45, 6656), (0.60, 8192), (1, 8192)])
def test_the_batch_ramp_has_crammings_values(x, rows):
    assert schedules.batch_ramp(x, final=8192, micro=512) == rows


def test_the_batch_ramp_follows_crammings_formula_and_takes_whole_micro_batches():
    seen = set()
    for i in range(1, 1000):
        x = i / 1001  # no multiple of a step of the ramp, where the original's rounding decides
        original = min((int(x * 8192 / 0.6) // 96 + 1) * 96, 96 * 85)
        rows = schedules.batch_ramp(x, final=96 * 85, micro=96, until=0.6 * 96 * 85 / 8192)
        assert rows == original
        seen.add(rows)
    assert seen == set(range(96, 96 * 85 + 1, 96))
    assert schedules.batch_ramp(0, final=64, micro=16, until=0) == 64


def test_a_batch_that_is_no_whole_number_of_micro_batches_is_refused():
    # Cramming then accumulates 86 micro-batches and divides by 85
    with pytest.raises(ValueError, match="8192 rows is no whole number of micro-batches of 96"):
        schedules.batch_ramp(0.5, final=8192, micro=96)


@pytest.mark.parametrize(
    ("text", "values", "highest"),
    [
        ("0.15", {0: 0.15, 0.5: 0.15, 1: 0.15}, 0.15),
        ("0.30:0.15", {-1: 0.3, 0: 0.3, 0.5: 0.225, 0.9: 0.165, 1: 0.15, 2: 0.15}, 0.3),
        ("0.1:0.3:0.2", {0: 0.1, 0.25: 0.2, 0.5: 0.3, 0.75: 0.25, 1: 0.2}, 0.3),
        ("0.30,0.20@0.5,0.15@0.8", {0: 0.3, 0.499: 0.3, 0.5: 0.2, 0.799: 0.2, 0.8: 0.15, 1: 0.15}, 0.3),
    ],
)
def test_mask_rates_are_constant_a_line_or_steps(text, values, highest):
    rate = schedules.parse_mask_rate(text)
    assert rate.highest == highest
    for x, value in values.items():
        assert rate(x) == pytest.approx(value), x
    assert rate(1.0) == pytest.approx(values[1], abs=0)  # to the last bit


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("0.3:", "cannot be read"),
        ("0.3,0.15", "cannot be read"),
        ("0.3@0,0.15@0.5", "cannot be read"),
        ("1.5", "between 0 and 1"),
        ("0.3:0", "between 0 and 1"),
        ("0.3:nan", "between 0 and 1"),
        ("0.3,0.15@0", "must rise"),
        ("0.3,0.2@0.8,0.15@0.5", "must rise"),
        ("0.3,0.15@1.5", "must rise"),
    ],
)
def test_a_mask_rate_that_is_none_is_refused_by_name(text, message):
    with pytest.raises(InputError, match=message) as error:
        schedules.parse_mask_rate(text)
    assert f"--mask_rate {text!r}" in str(error.value)


@pytest.mark.parametrize("curve", [schedules.linear, functools.partial(schedules.polynomial, warmup=0.4, power=2.0)])
def test_a_warm_up_takes_the_place_of_another_and_the_rest_stays(curve):
    changed = schedules.with_settings(curve, warmup=0.1)
    assert changed(0.05) == pytest.approx(0.5)
    assert changed(0.55) == pytest.approx(0.5 if curve is schedules.linear else 0.45**2)
    assert schedules.with_settings(curve) is curve
    assert schedules.with_settings(curve, "cosine")(0.5) == pytest.approx(0.5)


def test_a_warm_up_needs_a_schedule_that_has_one():
    with pytest.raises(InputError, match=r"triangle, which has none: give one of linear"):
        schedules.with_settings(functools.partial(schedules.triangle, start=0.25), warmup=0.1)
    with pytest.raises(InputError, match="reaches into the decay"):
        schedules.with_settings(schedules.warmup_stable_decay, warmup=0.9)
    assert all(schedules.with_settings(curve)(1.0) < 0.02 for curve in schedules.CURVES.values())
