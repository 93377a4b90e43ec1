import importlib.util
import json
import os
import struct
import subprocess
import sys

import keras
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from budgetbert.errors import InputError
from budgetbert.training.run.callbacks import make_callbacks
from budgetbert.training.run.loggers import parse_loggers
from budgetbert.training.run.record import read_record

pytestmark = pytest.mark.without_backend

needs_wandb = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("wandb", "tensorflow"))), reason="wandb or tensorflow is not installed"
)


def training_line(step, loss):
    seconds = {"step": 2.0 * step, "data_wait": 0.5}
    return {"step": step, "tokens": 128 * step, "seconds": seconds, "device": "CPU", "loss": loss, "data_wait": 0.25}


def validation_line(step, loss):
    return {"step": step, "tokens": 128 * step, "validation_loss": loss, "validation_accuracy": 0.5}


def drive(names, directory, start, losses, model=None):
    """One process of a run: a validation at `start`, a training line every 20 steps, and a validation at the end."""
    callbacks = make_callbacks(names, str(directory), model or keras.Sequential([keras.layers.Dense(1)]))
    callbacks.on_train_begin({"step": start})
    if start == 0:
        callbacks.on_test_end(validation_line(0, 9.0))
    for number, loss in enumerate(losses, 1):
        callbacks.on_train_batch_end(start + 20 * number, training_line(start + 20 * number, loss))
    callbacks.on_test_end(validation_line(start + 20 * len(losses), 4.0))
    callbacks.on_train_end()


def tensorboard_series(directory):
    reader = EventAccumulator(str(directory / "tensorboard"))
    reader.Reload()
    return {tag: [(event.step, event.value) for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def test_tensorboard_holds_the_numbers_of_the_log_over_steps(tmp_path):
    drive(["tensorboard"], tmp_path, 0, [8.0, 6.0, 5.0])
    series = tensorboard_series(tmp_path)
    assert series["loss"] == [(20, 8.0), (40, 6.0), (60, 5.0)]
    assert series["validation_loss"] == [(0, 9.0), (60, 4.0)]
    assert series["tokens"] == [(20, 2560), (40, 5120), (60, 7680)]
    # the two data waits, the share of the interval and the seconds so far, are not taken for each other
    assert series["data_wait"] == [(20, 0.25), (40, 0.25), (60, 0.25)]
    assert series["seconds/data_wait"] == [(20, 0.5), (40, 0.5), (60, 0.5)]
    assert series["seconds/step"] == [(20, 40.0), (40, 80.0), (60, 120.0)]
    assert not {"step", "device"} & set(series)


def test_a_run_sends_each_line_of_its_log(finished_run):
    series, record = tensorboard_series(finished_run), read_record(str(finished_run))
    for key in ("loss", "gradient_norm", "learning_rate", "batch_size", "validation_loss", "validation_accuracy"):
        steps, values = record.series("step", key)
        assert steps
        assert [step for step, _ in series[key]] == steps
        assert [value for _, value in series[key]] == pytest.approx(values, rel=1e-6)
    assert series["validation_loss"][0][0] == 0


def test_steps_after_the_checkpoint_of_a_restart_count_once_in_tensorboard(tmp_path):
    drive(["tensorboard"], tmp_path, 0, [8.0, 6.0, 5.0])
    drive(["tensorboard"], tmp_path, 40, [5.5, 4.5])
    assert tensorboard_series(tmp_path)["loss"] == [(20, 8.0), (40, 6.0), (60, 5.5), (80, 4.5)]


def test_steps_that_come_again_after_a_rollback_count_once_in_tensorboard(tmp_path):
    callbacks = make_callbacks(["tensorboard"], str(tmp_path), keras.Sequential([keras.layers.Dense(1)]))
    callbacks.on_train_begin({"step": 0})
    for step, loss in ((20, 8.0), (40, 99.0), (30, 7.0), (50, 6.0)):
        callbacks.on_train_batch_end(step, training_line(step, loss))
    callbacks.on_train_end()
    assert tensorboard_series(tmp_path)["loss"] == [(20, 8.0), (30, 7.0), (50, 6.0)]


def test_tensorboard_can_be_read_while_the_run_goes_on(tmp_path):
    callbacks = make_callbacks(["tensorboard"], str(tmp_path), keras.Sequential([keras.layers.Dense(1)]))
    callbacks.on_train_begin({"step": 0})
    callbacks.on_train_batch_end(20, training_line(20, 8.0))
    try:
        assert tensorboard_series(tmp_path)["loss"] == [(20, 8.0)]
    finally:
        callbacks.on_train_end()


def test_tensorboard_needs_no_tensorflow(tmp_path):
    program = """
import sys
sys.modules["tensorflow"] = None
from budgetbert.training.run.callbacks import make_callbacks
from budgetbert.training.run.loggers import parse_loggers
from budgetbert.training.run.record import read_record
callbacks = make_callbacks(parse_loggers("tensorboard"), sys.argv[1], None)
callbacks.on_train_begin({"step": 0})
callbacks.on_train_batch_end(20, {"step": 20, "loss": 8.0})
callbacks.on_train_end()
"""
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, check=True)
    assert tensorboard_series(tmp_path)["loss"] == [(20, 8.0)]


@needs_wandb
def test_weights_and_biases_holds_the_log_over_steps_across_restarts(tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert parse_loggers("wandb") == ("wandb",)
    drive(["wandb"], tmp_path, 0, [8.0, 6.0])
    assert wandb.run is None
    drive(["wandb"], tmp_path, 40, [5.0])
    wandb.teardown()  # its service writes behind our back until it ends
    files = sorted(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2
    assert len({file.name for file in files}) == 1  # one run of W&B, so that it is continued
    rows = sorted((row for file in files for row in wandb_history(file)), key=lambda row: row["batch/batch_step"])

    def series(key):
        return [(row["batch/batch_step"], row[key]) for row in rows if key in row]

    assert series("batch/loss") == [(20, 8.0), (40, 6.0), (60, 5.0)]
    assert series("batch/seconds/data_wait") == [(20, 0.5), (40, 0.5), (60, 0.5)]
    assert series("batch/validation_loss") == [(0, 9.0), (40, 4.0), (60, 4.0)]


def wandb_history(file):
    """The rows that W&B keeps in a file to send later: a header of 7 bytes, then LevelDB's log format of messages."""
    from wandb.proto import wandb_internal_pb2

    data, position, message = file.read_bytes(), 7, b""
    while position + 7 <= len(data):
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        message += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record.FromString(message)
            if record.WhichOneof("record_type") == "history":
                yield {
                    item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item
                }
            message = b""
        if 32768 - position % 32768 < 7:  # a block of 32 KiB ends in less than a header
            position += 32768 - position % 32768


@needs_wandb
@pytest.mark.without_backend
def test_weights_and_biases_without_a_key_is_refused_before_any_time_is_spent(tmp_path):
    program = "import sys; from budgetbert.training.run.loggers import parse_loggers; parse_loggers('wandb')"
    environment = {**os.environ, "HOME": str(tmp_path), "WANDB_MODE": "online", "NETRC": str(tmp_path / "none")}
    environment.pop("WANDB_API_KEY", None)
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert "finds no API key: run wandb login, or set WANDB_MODE=offline" in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [("tensorbord", "'tensorbord' is unknown"), ("tensorboard,csv", "'csv' is unknown")],
)
def test_an_unknown_logger_is_one_sentence(text, message):
    with pytest.raises(InputError, match=message):
        parse_loggers(text)


def test_a_logger_that_is_not_installed_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match="pip install wandb"):
        parse_loggers("tensorboard,wandb")


def test_no_loggers_are_no_callbacks(tmp_path):
    assert parse_loggers("") == parse_loggers(None) == ()
    drive((), tmp_path, 0, [8.0])
    assert not list(tmp_path.iterdir())
    assert parse_loggers(" tensorboard, tensorboard") == ("tensorboard",)
