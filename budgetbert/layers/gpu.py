"""What JAX computes in another way on a GPU, each of which can be left off."""

import contextlib

import keras

LEVERS = ("attention", "dropout", "activation", "bias")
_off = set()
_described = False


def is_there():
    """Returns whether JAX computes on a GPU, or traces for one."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return _described or jax.default_backend() == "gpu"


def uses(lever):
    """Returns whether the layers take one of `LEVERS`: where a GPU is there, unless it was turned off.

    - `"attention"`: scores, softmax, dropout and products of short rows in one kernel, of longer ones cuDNN's.
    - `"dropout"`: bits from a hash, which the backward pass draws again, in place of threefry.
    - `"activation"`: GELU and gated GELU with their closed derivatives.
    - `"bias"`: gradients of biases from bfloat16 ones, which XLA may not widen in memory.

    It is asked while a program is traced, so that a change holds for what is traced afterwards.
    """
    if lever not in LEVERS:
        raise ValueError(f"`lever` must be one of {LEVERS}. Received: lever={lever!r}")
    return lever not in _off and is_there()


def turn_off(*levers):
    """Leaves levers off from now on."""
    _off.update(levers)


@contextlib.contextmanager
def without(*levers):
    """Context in which levers are left off."""
    before = set(_off)
    turn_off(*levers)
    try:
        yield
    finally:
        _off.intersection_update(before)


@contextlib.contextmanager
def described():
    """Context in which the layers are traced as for a GPU, which this process need not have."""
    global _described
    before, _described = _described, True
    try:
        yield
    finally:
        _described = before
