"""The model of a run whose held-out loss is the lowest, kept for good."""

import os
import pathlib
import time

from budgetbert.errors import is_disk_full
from budgetbert.training.loop.hooks import keep_back

_MODEL, _LINE = os.path.join("marks", "best.keras"), os.path.join("marks", "best.json")


class Best:
    """Keeps the model at the lowest validation loss so far as `marks/best.keras`, the validation in `best.json`.

    A restart may go back behind the best validation: what was kept stays, as it is a model of this run all the same.

    Args:
        log: `Log`.
        step: `Step`.
        checkpoints: `Checkpoints`.

    Attributes:
        line: dict. The validation of the model that is kept, `None` before the first.
    """

    def __init__(self, log, step, checkpoints):
        self._log, self._step, self._checkpoints = log, step, checkpoints
        self.line = log.run.read_json(_LINE)

    @property
    def path(self):
        """str. Where the model is."""
        return self._log.run.path(_MODEL)

    def __call__(self, state):
        """Keeps the model of a `TrainState` that was just validated, if it is the best."""
        line = state.validations[-1]
        is_best = self.line is None or line["validation_loss"] < self.line["validation_loss"]
        # Only the first process has to have kept the best one before, and all have to do alike.
        if not self._log.processes.broadcast(is_best):
            return
        start, run = time.monotonic(), self._log.run
        self._step.synchronize()
        try:
            if run.writes:
                pathlib.Path(run.path("marks")).mkdir(exist_ok=True)
                self._checkpoints.save_model(self.path)
                run.write_json(_LINE, line)
        except OSError as error:
            if is_disk_full(error):  # To go on would lose it; a restart comes here again.
                raise
            self._log.incident(state, "mark_failed", f"the best model could not be kept ({error})")
        else:
            self.line = line
        seconds = time.monotonic() - start
        state.seconds["checkpoint"] += seconds
        keep_back(state, self._log, "best", seconds)

    def is_better_than(self, state):
        """Returns whether the model that is kept has a lower loss than the last validation of a `TrainState`."""
        return self.line is not None and self.line["validation_loss"] < state.validations[-1]["validation_loss"]
