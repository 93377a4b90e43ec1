"""The devices that share the micro-batches of a run, in one process or several."""

import contextlib
import importlib
import signal
import threading

import keras

from budgetbert.errors import InputError
from budgetbert.launchers import find_place
from budgetbert.processes import Processes, end_process

# Seconds for the other processes to be started.
PATIENCE = 300


@contextlib.contextmanager
def open_devices(wanted=None):
    """Context that gives the `Devices` of a run; where its launcher started several processes, it connects them.

    Args:
        wanted: int. How many, of all processes together. Defaults to `None`: all accelerators, or else all processors.

    Raises:
        InputError: if there are not so many devices.
        TrainingError: if the processes cannot be connected.
    """
    backend = keras.backend.backend()
    place = find_place(backend)
    module = importlib.import_module(f"budgetbert.training.step.{backend}")
    if place is None:
        who = "a torch process takes (torchrun starts several)" if backend == "torch" else "this machine has"
        yield module.Devices(_choose(wanted, module.local_devices(), who))
        return
    if wanted and wanted % place.count:
        raise InputError(f"--devices {wanted} cannot be split over {place.count} processes: give a multiple.")
    why = f"process {place.rank} of {place.count} waited {PATIENCE} s for the others: start as many, at the same time."
    timer = threading.Timer(PATIENCE, end_process, (1, why))
    timer.daemon = True
    timer.start()
    # TensorFlow waits with Python held, so that no thread can end it.
    signal.alarm(PATIENCE + 30)
    wanted = wanted and wanted // place.count
    module.connect(place, wanted, PATIENCE)
    devices = module.Devices(_choose(wanted, module.local_devices(), "of which each process has"), place)
    processes = Processes(place, devices.broadcast)
    timer.cancel()
    signal.alarm(0)
    devices.processes = processes
    with processes:
        yield devices


def _choose(wanted, available, who):
    if wanted and wanted > available:
        raise InputError(f"--devices asks for {wanted}, {who} {available}: ask for {available} or less, or auto.")
    return wanted or available
