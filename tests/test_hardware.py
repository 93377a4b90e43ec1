from budgetbert import hardware


def test_the_matmul_rate_is_that_of_a_computer_and_is_measured_once():
    rate = hardware.measure_matmul_rate("float32")
    assert 1e8 < rate < 1e16
    assert hardware.measure_matmul_rate("float32") == rate
