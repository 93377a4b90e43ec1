"""Runs of `tests.training.runs` on several devices: each in a Python of its own, one or two of them at a time."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import keras
import numpy as np

from tests.training.runs import train_clipped

ROOT = pathlib.Path(__file__).parents[2]
PATIENCE = 300  # seconds; only a run that hangs takes so long, also on a busy machine


class Runs:
    """The processes of one run, started; stops what is left of them at the end of the context.

    Args:
        corpus: path of a prepared corpus.
        directory: path, of the run.
        processes: int.
        devices: int. Of each process, logical ones.
        flags: see `tests.training.runs.train`.
    """

    def __init__(self, corpus, directory, processes=1, devices=1, **flags):
        self.directory = pathlib.Path(directory)
        code = "import sys; from tests.training.several import main; main(*sys.argv[1:])"
        told = json.dumps({"corpus": str(corpus), "output_dir": str(directory), **flags})
        ports = free_ports(processes)
        self._processes, self._outputs = [], []
        for rank in range(processes):
            path = self.directory.with_name(f"{self.directory.name}.output-{rank}-{time.monotonic_ns()}")
            self._outputs.append(path)
            with open(path, "w", encoding="utf-8") as output:
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", code, told, str(devices)],
                        env={**os.environ, **place(rank, ports), "PYTHONPATH": os.pathsep.join(sys.path)},
                        cwd=ROOT,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )

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

    def wait_for_step(self, step):
        """Returns when the log has reached a step."""
        log, deadline = self.directory / "log.jsonl", time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
            if any(json.loads(line).get("step", 0) >= step for line in lines if line.endswith("}")):
                return
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.1)
        raise AssertionError(f"never came to step {step}: " + "\n".join(map(self.output, range(len(self._processes)))))

    def send(self, rank, signal):
        """Sends a signal to a process."""
        self._processes[rank].send_signal(signal)


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


def main(told, devices):
    """What each of the processes does."""
    from budgetbert import command_line

    if int(devices) > 1 and keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", int(devices))
    if int(devices) > 1 and keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        logical = [tf.config.LogicalDeviceConfiguration()] * int(devices)
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], logical)
    sys.argv = ["recipe"]
    command_line.run(lambda: train_clipped(**json.loads(told)))
