import os
import signal
import subprocess
import sys
import time

import pytest

from budgetbert.corpus.stages.pool import Workers
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend


class Slow:
    """Waits as long as a task says, in seconds, and returns the task."""

    def __call__(self, seconds):
        time.sleep(seconds)
        return seconds


class Modules:
    """Returns which modules a worker has imported."""

    def __call__(self, names):
        return sorted(set(names) & set(sys.modules))


class KillWorker:
    def __call__(self, task):
        os.kill(os.getpid(), signal.SIGKILL)


def test_results_come_in_the_order_of_the_tasks_and_tasks_are_read_as_they_are_needed():
    read = []

    def tasks():
        for number, seconds in enumerate([0.2, 0, 0.1, 0, 0, 0.1, 0, 0]):
            read.append(number)
            yield seconds

    with Workers(2) as workers:
        results = []
        for result in workers.map(Slow, (), tasks()):
            results.append(result)
            assert len(read) <= len(results) + 4
    assert results == [0.2, 0, 0.1, 0, 0, 0.1, 0, 0]


def test_workers_import_no_keras_and_leave_the_environment_as_it_was():
    before = dict(os.environ)
    with Workers(2) as workers:
        found = list(workers.map(Modules, (), [("keras", "tensorflow", "torch", "jax", "sys")] * 2))
        workers.release()
        assert dict(os.environ) == before
        assert list(workers.map(Slow, (), [0])) == [0]  # Others are started.
    assert found == [["sys"]] * 2
    assert dict(os.environ) == before


def test_a_killed_worker_ends_the_work_with_one_sentence():
    with Workers(2) as workers, pytest.raises(InputError, match=r"a worker process was killed, .*fewer --workers"):
        list(workers.map(KillWorker, (), range(4)))


def test_an_interrupted_map_does_not_wait_for_its_tasks():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Workers(2) as workers:
        for _ in workers.map(Slow, (), [0, 60, 60, 60]):
            raise KeyboardInterrupt
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "number",
    [signal.SIGKILL, *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM))],
)
def test_workers_end_with_their_program(number):
    program = (
        "import signal\n"
        # A shell starts what it runs in the background with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from tests.corpus.stages.test_pool import Slow\n"
        "from budgetbert.corpus.stages.pool import Workers\n"
        "if __name__ == '__main__':\n"
        "    with Workers(2) as workers:\n"
        "        for _ in workers.map(Slow, (), [0, 60, 60, 60]):\n"
        "            print('started', flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    # The workers inherit the pipe, so that it ends when the last of them does.
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout.readline() == b"started\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode != 0


def test_there_are_as_many_workers_as_cores_that_may_be_used():
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert Workers().number == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert Workers().number == len(allowed)
