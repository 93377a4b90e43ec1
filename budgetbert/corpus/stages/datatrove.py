"""A preparation on Hugging Face's `datatrove`: the stages as its pipelines, for more text than one machine is for.

Every stage of a preparation applies a function to tasks, and leaves files; here a stage is one pipeline, whose ranks
take the tasks in turn. The functions are those of the plain path, unchanged, and so are the bytes that they leave.
Ranks may run on any machine that sees the output directory under the same path.
"""

import contextlib
import functools
import tempfile
import time
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from budgetbert.corpus.stages.parts import read_json, write_json
from budgetbert.corpus.stages.pool import worker_environment

_SECONDS_BETWEEN_LOOKS = 10


class ApplyToTasks(PipelineStep):
    """Applies a function to those tasks that fall to a rank.

    Args:
        make_function, arguments, tasks: as for `pool.Workers.map`; `tasks` is a list.
        results: `Path` of the folder for what the function returns.
    """

    type, name = "budgetbert", "stage"

    def __init__(self, make_function, arguments, tasks, results):
        super().__init__()
        # An executor writes its steps down as JSON, and takes a class that is a dataclass for an instance of one.
        self._make_function = functools.partial(make_function, *arguments)
        self._tasks, self._results = tasks, results

    def run(self, data=None, rank=0, world_size=1):
        apply = self._make_function()
        for number in range(rank, len(self._tasks), world_size):
            with self.track_time():
                write_json(self._results / f"{number:06d}.json", apply(self._tasks[number]))
        yield from data or ()


class DatatroveWorkers:
    """Does what `pool.Workers` does by executors of `datatrove`; for `prepare.prepare_corpus(workers=...)`.

    Each process reads whole files, so that text is best in many of them; sources other than files are refused.

    Args:
        number: int. The number of ranks of a stage with enough tasks: those that run at a time, or a few times that.
        directory: str or `Path`, for logs and results of ranks; seen by all of them.
        make_executor: function of the keyword arguments `pipeline`, `tasks` and `logging_dir` that returns an executor
            of `datatrove`. Defaults to `None`: a `LocalPipelineExecutor` with `number` processes.
    """

    reads_files = True

    def __init__(self, number, directory, make_executor=None):
        self.number, self._directory = number, Path(directory)
        self._make_executor = make_executor or self._local

    def _local(self, **arguments):
        return LocalPipelineExecutor(workers=self.number, start_method="spawn", **arguments)

    def __enter__(self):
        self._environment = worker_environment()
        self._environment.__enter__()
        return self

    def __exit__(self, *error):
        self._environment.__exit__(*error)
        with contextlib.suppress(OSError):  # There is none, or it holds something else.
            self._directory.rmdir()

    def release(self):
        """Does nothing: no process outlives a stage."""

    def map(self, make_function, arguments, tasks):
        """As `pool.Workers.map`, but the first result comes when all tasks are done."""
        tasks = list(tasks)
        if not tasks:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._directory) as scratch:
            step = ApplyToTasks(make_function, arguments, tasks, Path(scratch))
            logs = f"{scratch}/logs"
            executor = self._make_executor(pipeline=[step], tasks=min(self.number, len(tasks)), logging_dir=logs)
            executor.run()
            while executor.get_incomplete_ranks(skip_completed=True):  # Some executors only submit the ranks.
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            for number in range(len(tasks)):
                yield read_json(Path(scratch, f"{number:06d}.json"))
