import pytest

from budgetbert import schedules
from budgetbert.budget import Budget
from budgetbert.errors import InputError
from budgetbert.training.plan import batch
from budgetbert.training.plan.calibration import Speed

pytestmark = pytest.mark.without_backend


def choose(budget, tokens_per_second=1000.0, published=4096):
    budget = Budget.parse(budget)

    def steps_at(size):
        return batch.buys(budget, lambda x: size, 128, lambda x: 1e9, lambda rows: rows * 128 / tokens_per_second)[0]

    return batch.choose_batch_size(budget, published, steps_at)[0]


def test_a_budget_in_steps_takes_the_published_batch():
    assert choose("50steps") == 4096


def test_the_published_batch_is_taken_from_1000_steps_on():
    assert choose(f"{1000 * 4096 * 128}tokens") == 4096
    assert choose(f"{1000 * 4096 * 128 - 1}tokens") == 2048


@pytest.mark.parametrize(("tokens", "size"), [(1000 * 64 * 128, 64), (1000 * 64 * 128 - 1, 32), (128, 32)])
def test_else_the_largest_power_of_two_that_leaves_1000_steps_or_32(tokens, size):
    assert choose(f"{tokens}tokens") == size


def test_flops_and_seconds_buy_what_they_cost():
    assert choose(f"{1000 * 256 * 128}GFLOP") == 256  # at 1 GFLOP per token
    # 5 % of a time budget goes to validation and the rest
    assert choose(f"{1000 * 128 * 128 / 1000 / 0.95 + 1}s") == 128


def test_the_steps_of_a_ramp_are_counted_as_they_fall():
    def batch_at(x):
        return schedules.batch_ramp(x, 256, 32, 0.6)

    def flops_at(x):
        return 2e9 if x < 0.5 else 1e9

    def buys(budget):
        return batch.buys(Budget.parse(budget), batch_at, 128, flops_at, lambda rows: rows * 128 / 1000)

    steps = done = flops = 0  # the loop itself, a step at a time
    while done < 1e7:
        rows = batch_at(done / 1e7)
        flops += rows * 128 * flops_at(done / 1e7)
        steps, done = steps + 1, done + rows * 128
    assert buys("10Mtokens") == pytest.approx((steps, 1e7, flops), rel=0.01)
    assert buys(f"{1e7 / 1000 / 0.95}s") == pytest.approx((steps, 1e7, flops), rel=0.01)
    assert buys("1000steps")[1] == pytest.approx(sum(batch_at(i / 1000) * 128 for i in range(1000)), rel=0.01)


def test_too_few_steps_of_the_smallest_batch_are_refused_with_the_way_out():
    budget = Budget(100 * 32 * 128, "tokens")
    batch.refuse_hopeless(budget, "bert_large_24h", "text.txt", 1e9, 128, 150.0)
    budget = Budget(100 * 32 * 128 - 1, "tokens")
    with pytest.raises(InputError, match=r"only 99 steps of 32 rows.*--preset mini --corpus text.txt.*--demo"):
        batch.refuse_hopeless(budget, "bert_large_24h", "text.txt", 1e9, 128, 150.0)


def test_a_validation_takes_at_most_half_a_percent_of_a_time_budget():
    speed = Speed(64, 1.0, 0.1, 0.5, 0.0, 5.0)
    assert batch.validation_rows(5000, Budget.parse("1h"), speed) == 1024
    assert batch.validation_rows(5000, Budget.parse("400s"), speed) == 256
    assert batch.validation_rows(5000, Budget.parse("1s"), speed) == 64
    assert batch.validation_rows(40, Budget.parse("1s"), speed) == 40
    assert batch.validation_rows(5000, Budget.parse("1step"), speed) == 1024
