"""The devices that share the micro-batches of a run, in one process or several."""

import contextlib
import dataclasses
import importlib
import signal
import threading

import keras

from budgetbert.command_line import InputError
from budgetbert.launch import find_place
from budgetbert.training import devices
from budgetbert.training.processes import LinkedProcesses, Processes, end_process

PATIENCE = 300  # seconds for the other processes to be started


class Replicas:
    """One device of one process; the backends' own `Replicas` are of several.

    Each holds the whole model and computes its share of the rows of every micro-batch; gradients are summed over all
    of them once an optimizer step.

    Attributes:
        count: int. Devices, those of all processes together.
        processes: `Processes`.
    """

    count = 1

    def __init__(self):
        self.processes = Processes()

    def scope(self):
        """Returns the context in which model and optimizer are to be made."""
        return contextlib.nullcontext()

    def device_name(self):
        """Returns what the run computes on, as people name it: `2 x AMD EPYC 7763`."""
        name = self.processes.tell(devices.device_name())
        return f"{self.count} x {name}" if self.count > 1 else name

    def measure(self, precision, measured=None):
        """Returns the `Device` that all of them are together.

        Args:
            precision: str. As for `Device.measure`.
            measured: `Device`. What the first process measured of one already. Defaults to `None`.
        """
        device = self.processes.tell(dataclasses.asdict(measured or devices.Device.measure(precision)))
        device["matmul_rate"] *= self.count
        return devices.Device(**{**device, "name": self.device_name()})

    def check_rows(self, rows, what):
        """Raises an `InputError` where rows (int or `None`) of `what` cannot be split evenly over the devices."""
        if rows and rows % self.count:
            raise InputError(
                f"{what} of {rows} rows cannot be split over {self.count} devices: change --devices, "
                "--micro_batch_size or --batch_size, so that they divide."
            )


@contextlib.contextmanager
def open_replicas(text):
    """Context that gives the `Replicas` of a run; where its launcher started several processes, it connects them.

    Args:
        text: str. The value of `--devices`: `"auto"` for all accelerators (of all processes), or else for the
            processors; or a number of devices.

    Raises:
        InputError: if there are not so many devices.
        TrainingError: if the processes cannot be connected.
    """
    wanted = parse_devices(text)
    backend = keras.backend.backend()
    place = find_place(backend)
    module = importlib.import_module(f"budgetbert.training.replicas_{backend}")
    if place is None:
        who = "a torch process takes (torchrun starts several)" if backend == "torch" else "this machine has"
        count = _choose(wanted, module.local_devices(), who)
        yield module.Replicas(count) if count > 1 else Replicas()
        return
    if wanted and wanted % place.count:
        raise InputError(f"--devices {wanted} cannot be split over {place.count} processes: give a multiple.")
    why = f"process {place.rank} of {place.count} waited {PATIENCE} s for the others: start as many, at the same time."
    timer = threading.Timer(PATIENCE, end_process, (1, why))
    timer.daemon = True
    timer.start()
    signal.alarm(PATIENCE + 30)  # TensorFlow waits with Python held, so that no thread can end it
    wanted = wanted and wanted // place.count
    module.connect(place, wanted)
    replicas = module.Replicas(_choose(wanted, module.local_devices(), "of which each process has"), place)
    processes = LinkedProcesses(place, replicas.broadcast)
    timer.cancel()
    signal.alarm(0)
    replicas.processes = processes
    with processes:
        yield replicas


def parse_devices(text):
    """Reads `--devices`, as a number, `None` for `auto`.

    Raises:
        InputError: if it is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--devices {text!r} cannot be read: write auto, or how many.")
    return int(text)


def _choose(wanted, available, who):
    if wanted and wanted > available:
        raise InputError(f"--devices asks for {wanted}, {who} {available}: ask for {available} or less, or auto.")
    return wanted or available
