"""Where the log goes besides `log.jsonl`: TensorBoard and Weights & Biases, as Keras callbacks."""

import os
import time
import uuid

import keras

from budgetbert import files
from budgetbert.errors import InputError


def make_callbacks(names, run_directory, model):
    """Makes the callbacks that the loop drives.

    Args:
        names: sequence of str, as `parse_loggers` returns them; of none the list is empty and costs nothing.
        run_directory: str. TensorBoard's files go to `tensorboard/` in it, those of W&B to `wandb/`; both are
            continued by a later process of the same run.
        model: `keras.Model`. What Keras callbacks find as `self.model`. It need not be compiled.

    Returns:
        `Callbacks`.

    Raises:
        InputError: if W&B refuses to start.
    """
    makers = {"tensorboard": _tensorboard, "wandb": _wandb}
    return Callbacks([makers[name](run_directory) for name in names], model=model)


class Callbacks(keras.callbacks.CallbackList):
    """Keras callbacks that are driven by the lines of the log instead of by `fit`.

    - `on_train_begin({"step": N})`: once in each process, before its first step; N is the last step that counts, 0 in
      a new run. What an earlier process logged after N is void: those steps come again.
    - `on_train_batch_end(step, line)`: for each training line of the log, so once per log interval, not per batch.
    - `on_test_end(line)`: for each validation line, the one before the first step included. Keras's `on_test_begin`
      is called by it, so both come after the validation.
    - `on_train_end()`: once in each process, after its last line, also where a signal or an error ended the run.
      Buffers are written and files closed.

    Callbacks get the numbers of the line under its keys, those of an inner dict as `seconds/step`; all else (text,
    lists, `None`) is left out. An exception in a callback stops the run, as it does in `fit`.
    """

    def on_train_begin(self, logs=None):
        super().on_train_begin(scalars(logs))

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, scalars(logs))

    def on_test_end(self, logs=None):
        super().on_test_begin()
        super().on_test_end(scalars(logs))

    def watch(self, line, spent):
        """Gives a line of the log to the callbacks that are for it.

        Args:
            line: dict, of training, of a validation, or an incident.
            spent: float, the spent fraction of the budget.
        """
        if "learning_rate" in line:
            self.on_train_batch_end(line["step"], line)
        elif "validation_loss" in line:
            self.on_test_end(line)


def scalars(line):
    """Returns the numbers of a log line as a flat dict of float. Keras would flatten `seconds` over other keys."""
    flat = {}
    for key, value in (line or {}).items():
        if isinstance(value, dict):
            flat.update({f"{key}/{inner}": number for inner, number in scalars(value).items()})
        elif isinstance(value, int | float) and not isinstance(value, bool):
            flat[key] = float(value)
    return flat


def _tensorboard(run_directory):
    # The package tensorboard has a writer of its own. Keras's callback would need TensorFlow on every backend.
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    class TensorBoard(keras.callbacks.Callback):
        """Writes scalars over steps, flushed at once, so that a killed run keeps them."""

        def on_train_begin(self, logs=None):
            self._writer = EventFileWriter(os.path.join(run_directory, "tensorboard"))
            self._step = 0
            if "step" in (logs or {}):
                self._step = int(logs["step"])
                self._void(self._step + 1)

        def on_train_batch_end(self, batch, logs=None):
            step = int(batch)
            # A rollback makes the steps go back.
            if step < self._step:
                self._void(step)
            self._step = step
            values = [Summary.Value(tag=key, simple_value=value) for key, value in logs.items() if key != "step"]
            self._write(Event(step=step, summary=Summary(value=values)))

        def on_test_end(self, logs=None):
            self.on_train_batch_end(
                logs["step"], {key: value for key, value in logs.items() if key.startswith("validation_")}
            )

        def on_train_end(self, logs=None):
            self._writer.close()

        def _void(self, step):
            # Readers of the file drop what was written at this step or later.
            self._write(Event(step=step, session_log=SessionLog(status=SessionLog.START)))

        def _write(self, event):
            event.wall_time = time.time()
            self._writer.add_event(event)
            self._writer.flush()

    return TensorBoard()


def _wandb(run_directory):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    class WandbLogger(WandbMetricsLogger):
        """W&B's own callback, with the step of the log as its axis, validation, and the rate from the log."""

        def on_train_batch_end(self, batch, logs=None):
            self.global_batch = int(batch)
            super().on_train_batch_end(int(batch), logs)

        def on_test_end(self, logs=None):
            self.on_train_batch_end(logs["step"], logs)

        def on_train_end(self, logs=None):
            wandb.finish()

        def _get_lr(self):
            # The log line has the rate, and a model that is not compiled has no optimizer to ask.
            return None

    directory = os.path.join(run_directory, "wandb")
    os.makedirs(directory, exist_ok=True)
    identity = os.path.join(directory, "run-id.txt")
    if not os.path.exists(identity):
        files.write(identity, uuid.uuid4().hex[:12])
    with open(identity, encoding="utf-8") as file:
        run_id = file.read()
    try:
        name = os.path.basename(os.path.abspath(run_directory))
        wandb.init(project="budgetbert", name=name, id=run_id, resume="allow", dir=run_directory)
    except wandb.Error as error:
        raise InputError(
            f"--loggers wandb cannot start ({error}): run wandb login, or set WANDB_MODE=offline."
        ) from error
    return WandbLogger(log_freq="batch")
