from budgetbert import hardware
from budgetbert.training.plan import device


def test_the_matmul_rate_is_that_of_a_computer_and_is_measured_at_each_call():
    rates = [hardware.measure_matmul_rate("float32") for _ in range(3)]
    assert all(1e8 < rate < 1e16 for rate in rates)
    assert len(set(rates)) > 1  # A clock of nanoseconds does not say the same three times.


def test_a_plan_measures_the_matmul_rate_once_in_a_process():
    assert device.matmul_rate("float32") == device.matmul_rate("float32")
