"""Work shared between processes, with results in the order of the tasks.

joblib was tried in place of this file: 12 seconds after a `kill -9` of the program its workers were all still there,
as they wait for tasks until an idle time is over, and it offers no place to start the thread that would end them.
"""

import collections
import concurrent.futures
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading

from budgetbert.errors import InputError

# Workers need no threads, as the other cores have workers of their own.
_WORKER_ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1"),
}
_current = (None, None)  # In a worker: what the function of the present map was made from, and that function.


class WorkerKilled(InputError):
    """A worker process ended without a word."""


def available_cores():
    """Returns the number of CPU cores (int) that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@contextlib.contextmanager
def worker_environment():
    """Sets the variables of the environment that worker processes are to be started with."""
    before = {name: os.environ.get(name) for name in _WORKER_ENVIRONMENT}
    os.environ.update(_WORKER_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class Workers:
    """Processes that apply functions to tasks; started once and used for map after map. A context manager.

    Args:
        number: int. With 1, everything happens in this process. Defaults to `None`: one per CPU core that this process
            may use.

    Example:

    >>> from operator import methodcaller
    >>> with Workers(1) as workers:
    ...     print(list(workers.map(methodcaller, ("upper",), ["one", "two"])))
    ['ONE', 'TWO']
    """

    reads_files = False  # This process reads the files, and hands the text to the others.

    def __init__(self, number=None):
        if number is None:
            number = available_cores()
        if number < 1:
            raise InputError(f"--workers={number} is out of range: give at least 1.")
        self.number = number
        self._pool, self._started = None, contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def release(self):
        """Ends the processes at once, and so gives their memory back; the next `map` starts others."""
        self._started.close()
        self._pool = None

    def map(self, make_function, arguments, tasks):
        """Applies a function to each task; the results do not depend on the number of processes.

        At most two tasks per worker are under way, so memory stays bounded however many tasks there are.

        Args:
            make_function: a module-level function or class; each process calls it once, and what it returns is
                applied to the tasks.
            arguments: tuple, the arguments of `make_function`.
            tasks: iterable, perhaps a generator, which is read as results are taken.

        Yields:
            The results, in the order of the tasks.

        Raises:
            InputError: if a worker was killed.
        """
        if self.number == 1:
            yield from map(make_function(*arguments), tasks)
            return
        self._start()
        # What the function is made from is packed once; a task costs a copy on top, and a process unpacks it once.
        packed, pending = pickle.dumps((make_function, arguments)), collections.deque()
        try:
            for task in tasks:
                pending.append(self._pool.submit(_run, packed, task))
                if len(pending) >= 2 * self.number:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise WorkerKilled(
                "a worker process was killed, most likely because memory ran out: give fewer --workers; the same "
                "command goes on where this one ended."
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def _start(self):
        if self._pool:
            return
        # A training recipe may have TensorFlow's threads running, and a fork would copy their locks: hence spawn.
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._pool = concurrent.futures.ProcessPoolExecutor(self.number, context, _start_worker, (theirs,))
        # Workers are started when they are needed, so the variables stay set until the end.
        self._started.enter_context(worker_environment())
        self._started.callback(theirs.close)
        self._started.callback(self._pool.shutdown, cancel_futures=True)
        self._started.callback(ours.close)


def _start_worker(connection):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent alone.
    threading.Thread(target=_end_with_parent, args=(connection,), daemon=True).start()


def _end_with_parent(connection):
    """Ends this process when the parent closes its end of a pipe, or is killed: it would wait for tasks forever."""
    connection.poll(None)
    os._exit(1)


def _run(packed, task):
    global _current
    if _current[0] != packed:
        make_function, arguments = pickle.loads(packed)
        _current = (None, None)  # The tables of the map before are freed first.
        _current = (packed, make_function(*arguments))
    return _current[1](task)
