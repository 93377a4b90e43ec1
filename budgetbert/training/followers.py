"""What the processes of a run other than the first have of its directory: they read it, and write nothing."""

from budgetbert.training.checkpoint import Checkpoints
from budgetbert.training.run import Run


class FollowedRun(Run):
    """A `Run` that the first process has started, as the others see it: they read it."""

    def check(self, recipe):
        """The first process has checked it."""

    def start(self, recipe, circumstances):
        """The first process has started it."""

    def write_json(self, name, value):
        """The first process writes it."""

    def log(self, line):
        """The first process logs it."""

    def resume_log(self, step):
        """The first process resumes it."""


class SharedCheckpoints(Checkpoints):
    """Checkpoints that the first of several processes writes and all restore alike; to be called in step.

    Args:
        processes: `Processes`.
        arguments: those of `Checkpoints`.
    """

    def __init__(self, processes, *arguments):
        super().__init__(*arguments)
        self._processes = processes

    def save(self, step, state, wait=False):
        return super().save(step, state, wait) if self._processes.first else []

    def restore(self, before=None):
        """As `Checkpoints.restore`: the first process chooses, the others load what it chose."""
        state = self._processes.tell(super().restore(before) if self._processes.first else None)
        if state and not self._processes.first:
            self._load(self.path(state["progress"]["step"]))
        self._processes.total(0)  # the first does not write there again before all have read
        return state
