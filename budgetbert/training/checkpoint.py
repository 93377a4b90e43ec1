"""Checkpoints: all that a run needs to go on, each in a directory of its own, checksummed, the last few kept."""

import hashlib
import json
import os
import re
import shutil
import threading
import time
import warnings

import keras
import numpy as np
from keras import ops

from budgetbert.budget import Progress
from budgetbert.command_line import InputError
from budgetbert.training.guards import LossGuard
from budgetbert.training.run import replacing


class Checkpoints:
    """The checkpoints of a run, as `step-00001234/{model.keras, optimizer.npz, state.json}`.

    Args:
        directory: str.
        model: built `keras.Model`. Saved with a float32 policy, whatever it computes in.
        optimizer: built `keras.optimizers.Optimizer`.
        keep: int. How many of the newest are kept. Defaults to 3. Those that a rollback may need are kept besides.
        regular: function of a step that says whether an undisturbed run saves there too. A rollback goes to one of
            these, so that an interruption does not change where it goes. Defaults to all steps.

    Attributes:
        seconds: float. How long the longest of the writes took.
        corrupt: list of str. What `restore` found corrupt.
    """

    def __init__(self, directory, model, optimizer, keep=3, regular=lambda step: True):
        self._directory = directory
        self._model = model
        self._optimizer = optimizer
        self._keep = keep
        self._regular = regular
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
            InputError: if it cannot be written and `wait`.
        """
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
            InputError: if it could not be written.
        """
        if failed := self._finish():
            raise InputError(f"{failed[0]}: mend that, and the same command goes on after the checkpoint before.")

    def finish_writing(self):
        """Returns when no checkpoint is being written any more, whether it could be or not."""
        if self._thread:
            self._thread.join()

    def _finish(self):
        self.finish_writing()
        error, self._thread, self._error = self._error, None, None
        return [f"a checkpoint could not be written to {self._directory} ({error})"] if error else []

    def _write(self, step, slots, state):
        start = time.monotonic()
        try:
            os.makedirs(self._directory, exist_ok=True)
            self._delete_left_overs()
            with replacing(self.path(step)) as temporary:
                os.makedirs(temporary)
                self._copy.save(os.path.join(temporary, "model.keras"))
                np.savez(os.path.join(temporary, "optimizer.npz"), **slots)
                sums = {name: _sha256(os.path.join(temporary, name)) for name in ("model.keras", "optimizer.npz")}
                with open(os.path.join(temporary, "state.json"), "w", encoding="utf-8") as file:
                    json.dump({**json.loads(state), "sha256": sums}, file, indent=1)
            for old in self._superfluous():
                shutil.rmtree(self.path(old))
            self.seconds = max(self.seconds, time.monotonic() - start)
        except Exception as error:  # HDF5 and zipfile have several of their own for a full disk
            self._error = error
            self._delete_left_overs()  # make room again

    def _superfluous(self):
        """The steps that neither the newest few are nor what trouble found from now on may go back to."""
        steps = self._steps()
        safe = max(
            filter(self._regular, (step for step in steps if step <= LossGuard.first_wrong(steps[-1]))), default=0
        )
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
        return os.path.join(self._directory, f"step-{step:08d}")

    def restore(self, before=None):
        """Loads the newest sound checkpoint into model and optimizer.

        A corrupt one is put aside under another name, with a warning.

        Args:
            before: int. Only of a regular step before this one, or else the oldest; later ones are then deleted.
                Defaults to `None`: any will do.

        Returns:
            Its state, or `None` where there is no checkpoint.

        Raises:
            InputError: if there are checkpoints and all are corrupt.
        """
        self._finish()
        self._delete_left_overs()
        steps = self._steps()
        if before is not None:
            steps = [step for step in steps if step < before and self._regular(step)] or steps[:1]
        for step in reversed(steps):
            path = self.path(step)
            try:
                with open(os.path.join(path, "state.json"), encoding="utf-8") as file:
                    state = json.load(file)
                for file, digest in state["sha256"].items():
                    if _sha256(os.path.join(path, file)) != digest:
                        raise ValueError(f"{file} is not what was written")
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                self.corrupt.append(f"{path} is corrupt ({error}): going back to the checkpoint before.")
                warnings.warn(self.corrupt[-1], stacklevel=2)
                aside = os.path.join(self._directory, f"corrupt-{os.path.basename(path)}")
                shutil.rmtree(aside, ignore_errors=True)  # the step may have been corrupt once before
                os.replace(path, aside)
                continue
            self._load(path)
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
        with np.load(os.path.join(path, "optimizer.npz")) as variables:
            self._optimizer.load_own_variables(variables)

    def save_model(self, path):
        """Writes the model alone as a `.keras` file.

        Raises:
            OSError: if it cannot be written.
        """
        self.finish_writing()
        self._take_copy()
        with replacing(path) as temporary:
            self._copy.save(temporary)

    def _take_copy(self):
        if self._copy is None:
            self._copy = Float32Copy(self._model)
        self._copy.update()

    def _steps(self):
        names = os.listdir(self._directory) if os.path.isdir(self._directory) else ()
        return sorted(int(match[1]) for match in map(re.compile(r"step-(\d{8,})").fullmatch, names) if match)


def take_up(update, checkpoints, run, guard, phases=1, compiled=0.0):
    """Takes up a run where its newest checkpoint left it, or at its start where there is none.

    Args:
        update: `Update`, which takes over the checkpoint's state.
        checkpoints: `Checkpoints`.
        run: `Run`, whose log is made ready to go on.
        guard: `LossGuard`.
        phases: int. Defaults to 1.
        compiled: float. Seconds of compilation that a new run has behind it. Defaults to 0.

    Returns:
        Dict of those arguments of `Loop` that say where the run stands.
    """
    state = checkpoints.restore()
    if state:
        update.load(state["update"])
        guard.load(state["guard"])
        progress = Progress(**state["progress"])
    else:
        progress = Progress(phase_rows=(0,) * phases)
        state = {"micro_batches": 0, "seconds": {"compile": compiled}, "durations": {}}
        state |= {"phase": 0, "passed": -1, "verdict": None}
    run.resume_log(progress.step if "update" in state else None)
    stands = {name: state[name] for name in ("micro_batches", "seconds", "durations", "phase", "passed", "verdict")}
    return {"progress": progress, "guard": guard, **stands}


class Float32Copy:
    """A copy of a model, in the host's memory, whose layers compute in float32, whatever the model computes in.

    The variables are float32 anyway; whoever loads the file need not have the hardware that trained it.

    Args:
        model: built `keras.Model`.
    """

    def __init__(self, model):
        config = _with_float32(keras.saving.serialize_keras_object(model))
        if config["config"].get("preprocessor"):
            config["config"]["preprocessor"] = None  # its vocabulary is no part of a config
        with _host():
            self._copy = keras.saving.deserialize_keras_object(config)
        self._copy.preprocessor = model.preprocessor
        self._model = model

    def update(self):
        """Takes over the model's present weights."""
        with _host():
            self._copy.set_weights([np.array(ops.convert_to_numpy(weight)) for weight in self._model.weights])

    def save(self, path):
        """Writes a `.keras` file; the model itself may change meanwhile."""
        self._copy.save(path)


def _host():
    # JAX wants an index; on torch one makes Keras move, and so lose, its parameters
    return keras.device("cpu" if keras.backend.backend() == "torch" else "cpu:0")


def _with_float32(node):
    if isinstance(node, list):
        return [_with_float32(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") == "DTypePolicy" and node["config"]["name"].startswith("mixed_"):
        return keras.saving.serialize_keras_object(keras.DTypePolicy("float32"))
    return {key: _with_float32(value) for key, value in node.items()}


def _sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
