"""The connections between the processes of a run, here between threads, without a backend."""

import concurrent.futures
import queue
import socket

import pytest

from budgetbert.budget import Budget, BudgetClock, Progress
from budgetbert.launchers import Place
from budgetbert.processes import Processes

pytestmark = pytest.mark.without_backend


def together(function, count=3, before=lambda port: None):
    """Runs a function of `Processes` as each of some processes; returns what they return, by rank.

    `before` is called with the port of the first before the others know it.
    """
    announced = queue.Queue()

    def broadcast(rank, numbers):
        if rank == 0:
            before(numbers[0])
            for _ in range(count - 1):
                announced.put(numbers)
            return numbers
        return announced.get(timeout=60)

    def process(rank):
        place = Place(rank, count, "localhost", 0)
        with Processes(place, lambda numbers: broadcast(rank, numbers)) as processes:
            return function(processes)

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(process, range(count)))


def test_what_the_first_says_holds_for_all():
    value = {"x": 0.1 + 0.2, "steps": [1, 2], "none": None}
    assert together(lambda processes: processes.broadcast(value if processes.first else "another")) == [value] * 3


def test_the_first_knows_the_total():
    assert together(lambda processes: processes.sum_over_processes(10**processes.rank))[0] == 111


def test_a_signal_to_one_is_a_signal_to_all():
    def signals(processes):
        seen = []
        while len(seen) < 1000 and (not seen or seen[-1] is None):
            seen.append(processes.signal("SIGUSR1" if processes.rank == 2 and len(seen) >= 3 else None))
            processes.barrier()  # so that the first does not run ahead for good
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
            processes.broadcast(None)
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
        processes.release_others()

    together(enter)
    assert order.get() == 0


def test_where_the_first_is_done_nothing_is_left_for_the_others():
    def ask(processes):
        if not processes.first:
            with pytest.raises(SystemExit) as ended:
                processes.broadcast(None)
            return ended.value.code
        return None

    assert together(ask) == [None, 0, 0]


def test_strangers_at_the_port_are_not_let_in():
    """One says nothing, one says what no process would; both stay connected."""
    strangers = []

    def knock(port):
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            strangers.append(socket.create_connection(("localhost", port), timeout=10))
            strangers[-1].sendall(said)

    assert together(lambda processes: processes.broadcast(processes.rank), before=knock) == [0] * 3
    for stranger in strangers:
        stranger.close()


def test_one_process_decides_alone():
    processes, clock = Processes(), BudgetClock(Budget.parse("1m"))
    assert (processes.broadcast((1,)), processes.sum_over_processes(2), processes.signal(None)) == ((1,), 2, None)
    assert processes.clock(clock) is clock
