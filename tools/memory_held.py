"""The memory that a training step holds at its peak, beside what the process held before it was made."""

import pathlib

_PROCESS = pathlib.Path("/proc/self")


def measure_memory(make_step, framework):
    """Makes a step and runs it twice; the second run, when nothing is compiled any more, is the one that counts.

    Args:
        make_step: function without arguments that returns a step, a function that returns a scalar.
        framework: `"tensorflow"`, `"jax"` or `"torch"`, which computes it.

    Returns:
        Tuple of the step and bytes: on a GPU those that the framework's allocator says, on a CPU (Linux) the growth of
        the resident memory, the compiler's own leftovers included.
    """
    before = _resident("VmRSS")
    step = make_step()
    float(step())
    _reset_peak(framework)
    float(step())
    peak = _allocated(framework)
    return step, max(0, _resident("VmHWM") - before) if peak is None else peak


def _resident(kind):
    line = next(line for line in (_PROCESS / "status").read_text().splitlines() if line.startswith(kind))
    return 1024 * int(line.split()[1])


def _reset_peak(framework):
    (_PROCESS / "clear_refs").write_text("5")  # proc(5): VmHWM starts again from what is resident now
    if framework == "torch":
        import torch

        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()


def _allocated(framework):
    """The peak by the allocator of the framework's GPU, `None` without one."""
    if framework == "jax":
        import jax

        return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if framework == "torch":
        import torch

        return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]
    return None
