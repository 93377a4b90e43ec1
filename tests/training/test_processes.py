"""The connections between the processes of a run; here between threads, as no backend takes part."""

import concurrent.futures
import queue

import pytest

from budgetbert.budget import Budget, BudgetClock, Progress
from budgetbert.launch import Place
from budgetbert.training.processes import LinkedProcesses, Processes


def together(function, count=3):
    """Runs a function of `LinkedProcesses` as each of some processes; returns what they return, by rank."""
    announced = queue.Queue()

    def broadcast(rank, numbers):
        if rank == 0:
            for _ in range(count - 1):
                announced.put(numbers)
            return numbers
        return announced.get(timeout=60)

    def process(rank):
        place = Place(rank, count, "localhost", 0)
        with LinkedProcesses(place, lambda numbers: broadcast(rank, numbers)) as processes:
            return function(processes)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(process, range(count)))


def test_what_the_first_says_holds_for_all():
    value = {"x": 0.1 + 0.2, "steps": [1, 2], "none": None}
    assert together(lambda processes: processes.tell(value if processes.first else "another")) == [value] * 3


def test_the_first_knows_the_total():
    assert together(lambda processes: processes.total(10**processes.rank))[0] == 111


def test_a_signal_to_one_is_a_signal_to_all():
    def signals(processes):
        seen = []
        while len(seen) < 1000 and (not seen or seen[-1] is None):
            seen.append(processes.signal("SIGUSR1" if processes.rank == 2 and len(seen) >= 3 else None))
            processes.total(0)  # so that the first does not run ahead for good
        return seen

    first, second, third = together(signals)
    assert first == second == third
    assert first[:3] == [None] * 3
    assert first[-1] == "SIGUSR1"


def test_all_read_one_clock():
    def fractions(processes):
        clock = processes.clock(BudgetClock(Budget.parse("1m"), seconds=30 + processes.rank))
        read = []
        for _ in range(5):
            processes.tell(None)
            read.append(clock.fraction(Progress()))
        return read

    first, second, third = together(fractions)
    assert first == second == third
    assert 0.5 < first[0] < first[-1] < 0.6


def test_the_others_wait_for_the_first():
    order = queue.Queue()

    def enter(processes):
        processes.wait_for_first()
        order.put(processes.rank)
        processes.first_is_through()

    together(enter)
    assert order.get() == 0


def test_where_the_first_is_done_nothing_is_left_for_the_others():
    def ask(processes):
        if not processes.first:
            with pytest.raises(SystemExit) as ended:
                processes.tell(None)
            return ended.value.code
        return None

    assert together(ask) == [None, 0, 0]


def test_one_process_decides_alone():
    processes, clock = Processes(), BudgetClock(Budget.parse("1m"))
    assert (processes.tell((1,)), processes.total(2), processes.signal(None)) == ((1,), 2, None)
    assert processes.clock(clock) is clock
