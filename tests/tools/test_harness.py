import time

import pytest

pytestmark = pytest.mark.without_backend


@pytest.fixture(autouse=True)
def tools(monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(pytestconfig.rootpath / "tools")


def test_functions_take_turns_and_short_ones_are_called_often():
    from harness import take_turns

    called = {"short": 0, "long": 0}

    def function(name, seconds):
        called[name] += 1
        time.sleep(seconds)
        return 1.0

    taken = take_turns({"short": lambda: function("short", 0.01), "long": lambda: function("long", 0.3)}, 0.1, least=2)
    assert len(taken["short"]) == len(taken["long"]) == 2
    assert called["long"] == 4  # twice before, and once a turn
    assert called["short"] > 8
    assert min(taken["short"]) >= 0.01
    assert min(taken["long"]) >= 0.3


def test_memory_is_that_of_the_second_run():
    from harness import measure_memory

    step, held = measure_memory(lambda: lambda: float(sum(bytearray(2**26)[:9])), "torch")
    assert step() == 0.0
    assert held > 2**25
