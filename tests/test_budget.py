import pytest

from budgetbert.budget import Budget, BudgetClock, PhaseClock, Progress, describe, describe_seconds
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend


class FakeTime:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "seconds"),
        ("10m", 600, "seconds"),
        ("24h", 86400, "seconds"),
        ("1.5d", 129600, "seconds"),
        ("5000steps", 5000, "steps"),
        ("5ksteps", 5000, "steps"),
        ("1step", 1, "steps"),
        ("12.1Btokens", 12.1e9, "tokens"),
        ("12.1 Gtokens", 12.1e9, "tokens"),
        ("3Mtokens", 3e6, "tokens"),
        ("1.4EFLOP", 1.4e18, "flops"),
        ("2PFLOPs", 2e15, "flops"),
        ("1e15FLOP", 1e15, "flops"),
    ],
)
def test_a_budget_is_read(text, amount, unit):
    budget = Budget.parse(text)
    assert budget.unit == unit
    assert budget.amount == pytest.approx(amount)


@pytest.mark.parametrize(
    "text", ["", "10", "10M", "h", "-3h", "24 hours", "1.5steps", "0h", "0steps", "5kh", "nanh", "1e999s", "1e400steps"]
)
def test_what_is_no_budget_is_refused_by_name(text):
    with pytest.raises(InputError, match="--budget"):
        Budget.parse(text)


def test_half_of_a_time_budget_less_its_reserve_is_half_spent():
    now = FakeTime()
    clock = BudgetClock(Budget(110, "seconds"), now=now)
    clock.reserve = 10
    now.now += 50
    assert clock.fraction(Progress()) == 0.5
    now.now += 500
    assert clock.fraction(Progress()) == 1.0


def test_seconds_of_an_earlier_process_count_and_downtime_does_not():
    now = FakeTime()
    clock = BudgetClock(Budget(100, "seconds"), seconds=30, now=now)
    now.now += 20
    assert clock.seconds == 50
    assert clock.fraction(Progress()) == 0.5


def test_other_budgets_ignore_the_clock():
    now = FakeTime()
    progress = Progress(step=25, tokens=3000, flops=5e9)
    for budget, fraction in (
        (Budget(100, "steps"), 0.25),
        (Budget(6000, "tokens"), 0.5),
        (Budget(5e9, "flops"), 1.0),
        (Budget(1e9, "flops"), 1.0),
    ):
        clock = BudgetClock(budget, now=now)
        clock.reserve = 1e6
        now.now += 1e6
        assert clock.fraction(progress) == fraction


def test_a_reserve_beyond_the_budget_ends_it_at_once():
    clock = BudgetClock(Budget(5, "seconds"), now=FakeTime())
    clock.reserve = 6
    assert clock.fraction(Progress()) == 1.0


def test_amounts_are_told_as_people_say_them():
    assert [describe(x) for x in (7, 32768, 999_900, 12.1e9, 1.4e18)] == ["7", "32.8k", "1M", "12.1B", "1.4E"]
    assert [describe_seconds(x) for x in (4.2, 600, 86400)] == ["4.2 s", "10 min 0 s", "24 h 0 min"]
    assert str(Budget.parse("12.1Btokens")) == "12.1B tokens"


def test_each_phase_has_an_x_of_its_own_and_pays_what_the_one_before_overspent():
    run = BudgetClock(Budget(1200, "tokens"))
    first, second = PhaseClock(run, 0.0, 800.0), PhaseClock(run, 800.0)
    assert [first.fraction(Progress(tokens=tokens)) for tokens in (0, 400, 800, 900)] == [0.0, 0.5, 1.0, 1.0]
    assert [second.fraction(Progress(tokens=tokens)) for tokens in (700, 800, 900, 1200)] == [0.0, 0.0, 0.25, 1.0]
    assert first.ended(Progress(tokens=799)) is None
    assert first.ended(Progress(tokens=800)) == "spent"
    assert run.fraction(Progress(tokens=900)) == 0.75


def test_the_reserve_is_kept_back_at_the_end_of_the_last_phase_alone():
    now = FakeTime()
    run = BudgetClock(Budget(120, "seconds"), now=now)
    first, last = PhaseClock(run, 0.0, 80.0), PhaseClock(run, 80.0)
    run.reserve = 20
    now.now += 90
    assert first.fraction(Progress()) == 1.0
    assert last.fraction(Progress()) == 0.5
    now.now += 10
    assert last.ended(Progress()) == "spent"
    assert run.fraction(Progress()) == 1.0


def test_a_stop_by_the_way_is_a_share_of_the_whole_run_whatever_the_phase():
    run = BudgetClock(Budget(12, "steps"))
    run.stop_at = 0.5
    first = PhaseClock(run, 0.0, 8.0)
    assert first.ended(Progress(step=5)) is None
    assert first.ended(Progress(step=6)) == "stop_at"
    assert run.ended(Progress(step=12)) == "spent"
