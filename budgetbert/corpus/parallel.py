"""Work shared between processes, with results in the order of the tasks."""

import collections
import concurrent.futures
import contextlib
import itertools
import multiprocessing.connection
import os
import pickle
import signal
import threading

from budgetbert.command_line import InputError

# Workers need no Keras (5 seconds and 700 MB each), and no threads, as the other cores have workers of their own.
_WORKER_ENVIRONMENT = {
    **{"BUDGETBERT_WITHOUT_KERAS": "1", "TOKENIZERS_PARALLELISM": "false"},
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1"),
}
_current = (None, None)  # of this process, if it is a worker: the number of a map, and its function


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
        number: int. With 1, everything happens in this process.
    """

    reads_files = False  # this process reads, and hands the text to the others

    def __init__(self, number):
        self.number = number
        self._pool = self._environment = None
        self._maps = itertools.count()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.release()

    def release(self):
        """Ends the processes, and so gives their memory back; the next `map` starts others."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._environment.__exit__(None, None, None)
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
        pool = self._started()
        # packed once: what each task costs on top is a copy, and it is unpacked once per process
        packed = pickle.dumps((make_function, arguments))
        number, pending = next(self._maps), collections.deque()
        try:
            for task in tasks:
                pending.append(pool.submit(_run, number, packed, task))
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

    def _started(self):
        if not self._pool:
            # spawn, not fork: a training recipe may have TensorFlow's threads running; a fork would copy their locks.
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(self.number, context, _start_worker)
            self._environment = worker_environment()
            self._environment.__enter__()  # until the end, as workers are started when they are needed
        return self._pool


class WorkerKilled(InputError):
    """A worker process ended without a word."""


def ordered_map(make_function, arguments, tasks, workers):
    """`Workers.map` with `workers` (int) processes of its own."""
    with Workers(workers) as started:
        yield from started.map(make_function, arguments, tasks)


def _start_worker():
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is answered by the parent alone
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """Ends this process when its parent was killed: it would wait for tasks forever."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _run(number, packed, task):
    global _current
    if _current[0] != number:
        make_function, arguments = pickle.loads(packed)
        _current = (None, None)  # frees the tables of the map before
        _current = (number, make_function(*arguments))
    return _current[1](task)
