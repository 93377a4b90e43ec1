"""The lines of `log.jsonl` about training: what the steps of one interval did."""

import time

import numpy as np
from keras import ops

_STEPS, _SECONDS = 20, 10.0


class Journal:
    """Gathers the scalars of steps on the device and fetches them once an interval of 20 steps or 10 seconds.

    Args:
        matmul_rate: float. FLOP/s, for the MFU.
    """

    def __init__(self, matmul_rate):
        self._matmul_rate = matmul_rate
        self.steps = []

    def open(self, progress, seconds):
        """Begins an interval at a `Progress` and the seconds spent by kind, a dict."""
        self.steps = []
        self._start, self._seconds_then = time.monotonic(), dict(seconds)
        self._progress = progress

    def add(self, scalars, **settings):
        """Adds a step: its scalars, still on the device, and what it was done with."""
        self.steps.append((scalars, settings))

    @property
    def due(self):
        """bool, whether the interval is long enough for a line."""
        return len(self.steps) >= _STEPS or (bool(self.steps) and time.monotonic() - self._start >= _SECONDS)

    def fetch(self):
        """Returns a list with a dict for each step of the interval: settings, and scalars as floats."""
        fetched = []
        for scalars, settings in self.steps:
            values = {name: float(ops.convert_to_numpy(value)) for name, value in scalars.items()}
            values["finite"] = bool(np.isfinite(values["gradient_norm"]) and np.isfinite(values["loss"]))
            fetched.append({**settings, **values})
        return fetched

    def line(self, steps, seconds):
        """Returns what a line says of `steps`, the first or all of those that `fetch` returned."""
        other = sum(seconds[kind] - self._seconds_then[kind] for kind in ("validation", "checkpoint"))
        training = max(1e-9, time.monotonic() - self._start - other)
        last, finite = steps[-1], [step for step in steps if step["finite"]]
        tokens = last["progress"].tokens - self._progress.tokens
        flops = last["progress"].flops - self._progress.flops
        return {
            "loss": _ratio(sum(step["loss"] for step in finite), sum(step["weight"] for step in finite)),
            "learning_rate": last["learning_rate"],
            "batch_size": last["batch_size"],
            "mask_rate": last["mask_rate"],
            "padding": sum(step["padding"] for step in steps) / tokens,
            "gradient_norm": _ratio(sum(step["gradient_norm"] for step in finite), len(finite)),
            "skipped_steps": len(steps) - len(finite),
            "tokens_per_second": tokens / training,
            "mfu": flops / training / self._matmul_rate,
            "data_wait": (seconds["data_wait"] - self._seconds_then["data_wait"]) / training,
            **{name: last[name] for name in ("parameter_norm", "loss_scale") if name in last},
        }


def _ratio(total, weight):
    return total / weight if weight else None
