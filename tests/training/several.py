"""Runs of `tests.training.runs` on several devices: each in a Python of its own, one or two of them at a time."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import keras
import numpy as np

from budgetbert import command_line
from budgetbert.batches import stack
from budgetbert.training.step.base import make_step
from budgetbert.training.step.devices import open_devices
from budgetbert.training.step.objectives import MaskedLanguageModeling
from tests.training.runs import train_clipped
from tests.training.step.test_loss_scaling import model_without_attention

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 300  # seconds; only a run that hangs takes so long, also on a busy machine
_LEFT = re.compile(r"^left after (\d+)$", re.MULTILINE)


class Runs:
    """The processes of one run, started; stops what is left of them at the end of the context.

    Args:
        corpus: path of a prepared corpus.
        directory: path, of the run.
        processes: int.
        devices: int. Logical ones of the first process, if it is alone.
        trouble: tuple of a step and the name of a signal, which a process sends to itself when it has come there.
        troubled: int. The rank of that process. Defaults to the last one.
        different: dict of the flags that the last process is started with instead. Defaults to none.
        flags: see `tests.training.runs.train`.
    """

    def __init__(self, corpus, directory, processes=1, devices=1, trouble=None, troubled=None, different=None, **flags):
        told = {"corpus": str(corpus), "output_dir": str(directory), **flags}
        ports = free_ports(processes)
        directory.parent.mkdir(exist_ok=True)
        self._outputs = [directory.with_name(f"{directory.name}.output-{rank}") for rank in range(processes)]
        self._processes = []
        troubled = processes - 1 if troubled is None else troubled
        for rank, path in enumerate(self._outputs):
            own = {**told, **(different or {})} if rank == processes - 1 else told
            arguments = (own, devices, trouble if rank == troubled else None)
            with open(path, "w", encoding="utf-8") as output:
                self._processes.append(start("train_here", arguments, output, place(rank, ports)))

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process in self._processes:
            process.kill()
            process.wait()

    def wait(self):
        """Returns the exit codes."""
        return [process.wait(timeout=PATIENCE) for process in self._processes]

    def output(self, rank):
        """Returns what a process has printed, as str."""
        return self._outputs[rank].read_text(encoding="utf-8")

    def last_steps(self):
        """Returns the list of the steps (str) after which the processes left their loops."""
        return [step for rank in range(len(self._outputs)) for step in _LEFT.findall(self.output(rank))]


def start(name, arguments, output, environment):
    """Starts a function of this module in a Python of its own, with arguments that JSON can hold."""
    code = f"import json, sys; from tests.training import several; several.{name}(*json.loads(sys.argv[1]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)],
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        cwd=ROOT,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def run(corpus, directory, **arguments):
    """Runs to the end; returns the final weights."""
    with Runs(corpus, directory, **arguments) as runs:
        codes = runs.wait()
        assert codes == [0] * len(codes), "\n".join(map(runs.output, range(len(codes))))
    return weights(directory)


def weights(directory):
    """Returns the weights of a finished run."""
    return keras.models.load_model(pathlib.Path(directory) / "model.keras").get_weights()


def farthest(one, other):
    """Returns the largest difference of two lists of weights."""
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def free_ports(count):
    """Returns ports that nobody listens at."""
    sockets = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def place(rank, ports):
    """Returns the environment variables that tell a process of the current backend where it stands."""
    if len(ports) == 1:
        return {}
    if keras.backend.backend() == "tensorflow":
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})}
    if keras.backend.backend() == "jax":
        names, first = ("JAX_PROCESS_ID", "JAX_NUM_PROCESSES", "JAX_COORDINATOR_ADDRESS"), f"localhost:{ports[0]}"
    else:
        names, first = ("RANK", "WORLD_SIZE", "MASTER_ADDR"), "localhost"
    values = (str(rank), str(len(ports)), first)
    # a process with as many threads as there are cores waits for the other at every turn
    return {**dict(zip(names, values, strict=True)), "MASTER_PORT": str(ports[0]), "OMP_NUM_THREADS": "1"}


def make_logical_devices(count):
    """Splits the processor in several devices, before the backend has looked at it."""
    if count > 1 and keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", count)
    if count > 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        logical = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)


def train_here(told, devices, trouble):
    """What each process of `Runs` does; it prints the step after which it has left the loop."""
    states = []

    def meet_trouble(line, spent):
        if trouble and line["step"] == trouble[0]:
            os.kill(os.getpid(), getattr(signal, trouble[1]))

    def main():
        try:
            train_clipped(**told, watchers=[meet_trouble], hooks=[lambda state: states.append(state)])
        finally:
            print(f"\nleft after {states[-1].progress.step if states else 0}", flush=True)

    make_logical_devices(devices)
    sys.argv = ["recipe"]
    command_line.run(main)


def overflow_here():
    """Prints, as JSON, what steps do whose gradients are infinite in no row, in the first, in the last, and in none.

    So on the first and on the second of two devices.
    """
    make_logical_devices(2)
    generator = np.random.default_rng(0)
    batch = {
        "token_ids": generator.integers(5, 256, (8, 32)).astype("int32"),
        "mask_positions": np.stack([generator.permutation(32)[:5] for _ in range(8)]).astype("int32"),
        "labels": generator.integers(5, 256, (8, 5)).astype("int32"),
        "weights": np.ones((8, 5), "float32"),
    }
    first, last = ({**batch, "weights": batch["weights"].copy()} for _ in range(2))
    first["weights"][0] = last["weights"][-1] = np.inf
    with open_devices(2) as devices:
        with devices.scope():
            model = model_without_attention("mixed_float16")
            optimizer = keras.optimizers.AdamW()
        step = make_step(model, optimizer, MaskedLanguageModeling(), 1.0, devices)
        seen = []
        for given in (batch, first, last, batch):
            step.accumulate(stack([given], 2), 1, len(seen))
            scalars = step.apply(1e-3)
            step.synchronize()
            seen.append(
                {
                    "finite": bool(np.isfinite(keras.ops.convert_to_numpy(scalars["gradient_norm"]))),
                    "scale": step.scale_state["scale"],
                    "iterations": int(keras.ops.convert_to_numpy(optimizer.iterations)),
                    "weights": float(sum(np.abs(weight).sum(dtype="float64") for weight in model.get_weights())),
                }
            )
    print(json.dumps(seen))
