"""Checkpoints: all that a run needs to go on, each in a directory of its own, checksummed, the last few kept."""

import errno
import json
import os
import pathlib
import shutil
import threading
import time
import warnings

import numpy as np

from budgetbert.errors import InputError, TrainingError, is_disk_full, is_out_of_memory, one_line
from budgetbert.files import replacing, sha256
from budgetbert.processes import Processes
from budgetbert.training.run.checkpoint_directory import (
    ARRAYS,
    STATE,
    path_of,
    read_state,
    sha256_of_state,
    steps_in,
)
from budgetbert.training.run.float32_copy import Float32Copy


class Checkpoints:
    """The checkpoints of a run, as `step-00001234/{model.keras, optimizer.npz, state.json}`.

    Of several processes the first writes them, and all restore alike; they call `save` and `restore` in step.

    Args:
        directory: str.
        model: built `keras.Model`. Saved with a float32 policy, whatever it computes in.
        optimizer: built `keras.optimizers.Optimizer`.
        keep: int. How many of the newest are kept. Defaults to 3. Those that a rollback may need are kept besides.
        regular: function of a step that says whether an undisturbed run saves there too. A rollback goes to one of
            these, so that an interruption does not change where it goes. Defaults to all steps.
        first_wrong: function of the step at which trouble is found that returns the first step that may have been
            wrong already. Defaults to that step itself.
        processes: `Processes`. Defaults to this process alone.

    Attributes:
        seconds: float. How long the longest of the writes took.
        disk_is_full: bool. Whether the last write that is done failed for want of space.
        corrupt: list of str. What `restore` found corrupt.
    """

    def __init__(
        self,
        directory,
        model,
        optimizer,
        keep=3,
        regular=lambda step: True,
        first_wrong=lambda step: step,
        processes=None,
    ):
        self._directory, self._model, self._optimizer = directory, model, optimizer
        self._keep, self._regular, self._first_wrong = keep, regular, first_wrong
        self._processes = processes or Processes()
        self._copy = None
        self._thread = self._error = None
        self.seconds = 0.0
        self.corrupt = []

    def save(self, step, state, wait=False):
        """Writes a checkpoint, then drops the oldest beyond `keep`. A failed write leaves the others as they are.

        Training waits for a copy in memory only; a thread writes it.

        Args:
            step: int.
            state: dict that JSON can hold.
            wait: bool. Whether to return when it is written. Defaults to `False`.

        Returns:
            List of str: what went wrong with the write before this one, at most one.

        Raises:
            TrainingError: if it cannot be written and `wait`.
        """
        if not self._processes.first:
            return []
        failed = self._finish()
        self._take_copy()
        slots = {}
        self._optimizer.save_own_variables(slots)
        slots = {name: np.array(value) for name, value in slots.items()}  # torch's share memory with the variables
        arguments = (step, slots, json.dumps(state, indent=1, allow_nan=False))
        self._thread = threading.Thread(target=self._write, args=arguments, name="checkpoint")
        self._thread.start()
        if wait:
            self.wait()
        return failed

    def wait(self):
        """Returns when the last checkpoint is written.

        Raises:
            TrainingError: if it could not be written.
        """
        if failed := self._finish():
            raise TrainingError(f"{failed[0]}: mend that, and the same command goes on after the checkpoint before.")

    @property
    def disk_is_full(self):
        return is_disk_full(self._error)

    def finish_writing(self):
        """Returns when no checkpoint is being written any more, whether it could be or not."""
        if self._thread:
            self._thread.join()

    def _finish(self):
        self.finish_writing()
        error, self._thread, self._error = self._error, None, None
        return [f"a checkpoint could not be written to {self._directory} ({one_line(error)})"] if error else []

    def _write(self, step, slots, state):
        start = time.monotonic()
        try:
            # The directory of the run itself is not made again where somebody deleted it.
            pathlib.Path(self._directory).mkdir(exist_ok=True)
            self._delete_left_overs()
            with replacing(self.path(step)) as temporary:
                os.makedirs(temporary)
                self._copy.save(os.path.join(temporary, "model.keras"))
                np.savez(os.path.join(temporary, "optimizer.npz"), **slots)
                sums = {name: sha256(os.path.join(temporary, name)) for name in ARRAYS}
                state = {**json.loads(state), "sha256": sums}
                sums[STATE] = sha256_of_state(state)
                with open(os.path.join(temporary, STATE), "w", encoding="utf-8") as file:
                    json.dump(state, file, indent=1)
            for old in self._superfluous():
                shutil.rmtree(self.path(old))
            self.seconds = max(self.seconds, time.monotonic() - start)
        except Exception as error:  # HDF5 and zipfile have several of their own for a full disk
            self._error = error
            self._delete_left_overs()  # make room again

    def _superfluous(self):
        """The steps that neither the newest few are nor what trouble found from now on may go back to."""
        steps = self._steps()
        first_wrong = self._first_wrong(steps[-1])
        safe = max((step for step in steps if step <= first_wrong and self._regular(step)), default=0)
        return [step for step in steps[: -self._keep] if step < safe]

    def _delete_left_overs(self):
        """Deletes what a process that was killed, or a write that failed, left behind."""
        for name in os.listdir(self._directory) if os.path.isdir(self._directory) else ():
            path = os.path.join(self._directory, name)
            if name.endswith(".old") and not os.path.exists(path.removesuffix(".old")):
                os.replace(path, path.removesuffix(".old"))  # killed between the two renames of a replacement
            elif name.endswith((".tmp", ".old")):
                shutil.rmtree(path, ignore_errors=True)

    def path(self, step):
        """Returns the directory of a checkpoint."""
        return path_of(self._directory, step)

    def restore(self, before=None, check=lambda step, state: None):
        """Loads the newest sound checkpoint into model and optimizer.

        A corrupt one is put aside under another name, with a warning: one whose files are not what was written, or
        cannot be loaded although they are.

        Args:
            before: int. Only of a regular step before this one, or else the oldest; later ones are then deleted.
                Defaults to `None`: any will do.
            check: function of a step and its state that raises where the state cannot be used. Defaults to none.

        Returns:
            Its state, or `None` where there is no checkpoint.

        Raises:
            InputError: if there are checkpoints and all are corrupt, or `check` says so.
        """
        state = self._processes.broadcast(self._restore(before, check) if self._processes.first else None)
        if state and not self._processes.first:
            self._load(self.path(state["progress"]["step"]))
        self._processes.barrier()  # The first process does not write there again before all have read.
        return state

    def _restore(self, before, check):
        self._finish()
        self._delete_left_overs()
        steps = self._steps()
        if before is not None:
            steps = [step for step in steps if step < before and self._regular(step)] or steps[:1]
        for step in reversed(steps):
            path = self.path(step)
            try:
                state = read_state(path)
                check(step, state)
                self._load(path)
            except Exception as error:  # HDF5, zipfile and Keras have many of their own for a damaged file
                if is_out_of_memory(error) or isinstance(error, InputError):
                    raise
                why = one_line(error) if isinstance(error, OSError | ValueError) else repr(error)[:300]
                self.corrupt.append(f"{path} is corrupt ({why}): going back to the checkpoint before.")
                warnings.warn(self.corrupt[-1], stacklevel=2)
                aside = os.path.join(self._directory, f"corrupt-{os.path.basename(path)}")
                shutil.rmtree(aside, ignore_errors=True)  # the step may have been corrupt once before
                os.replace(path, aside)
                continue
            for later in self._steps() if before is not None else ():
                if later > step:
                    shutil.rmtree(self.path(later))
            return state
        if os.path.isdir(self._directory) and any(name.startswith("corrupt-") for name in os.listdir(self._directory)):
            raise InputError(f"all checkpoints in {self._directory} are corrupt: start anew in another --output_dir.")
        return None

    def _load(self, path):
        with warnings.catch_warnings():
            # the optimizer that KerasHub compiles every task with, which nobody uses: in float16 it has a scale
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            self._model.load_weights(os.path.join(path, "model.keras"))
        with np.load(os.path.join(path, "optimizer.npz"), allow_pickle=False) as variables:
            if len(variables.files) != len(self._optimizer.variables):  # Keras would leave the optimizer as it is
                raise ValueError(f"optimizer.npz holds {len(variables.files)} variables")
            self._optimizer.load_own_variables(variables)

    def load_other(self, path):
        """Loads a checkpoint of another run into model and optimizer, after comparing it with its checksums.

        Args:
            path: str. Its directory, which is only read.

        Returns:
            Its state.

        Raises:
            OSError, ValueError or others, see `read_state`: if it is not what was written, or of other variables.
        """
        state = read_state(path)
        self._load(path)
        return state

    def save_model(self, path):
        """Writes the model alone as a `.keras` file.

        Raises:
            OSError: if it cannot be written.
        """
        self.finish_writing()
        self._take_copy()
        try:
            with replacing(path) as temporary:
                self._copy.save(temporary)
        except OSError:
            raise
        except Exception as error:  # HDF5 and zipfile have several of their own for a full disk
            code = errno.ENOSPC if is_disk_full(error) else errno.EIO
            raise OSError(code, one_line(error), path) from error

    def _take_copy(self):
        if self._copy is None:
            self._copy = Float32Copy(self._model)
        self._copy.update()

    def _steps(self):
        return steps_in(self._directory)
