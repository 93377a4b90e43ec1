"""Dropout on JAX by a hash of seed, counter and place: cheap enough to be drawn again in the backward pass.

Threefry, JAX's own, takes 75 integer operations a value, which is longer than the values take to move through a GPU's
memory, and its mask is kept between the passes. The hash takes 10, and keeps nothing.
"""

import functools

import jax
import jax.numpy as jnp

# The multipliers of "lowbias32" (C. Wellons, Hash Prospector, 2018): each bit of what goes in changes each of what
# comes out with a probability of nearly 1/2.
_FIRST, _SECOND = 0x7FEB352D, 0x846CA68B


def _mixed(x):
    x = (x ^ (x >> 16)) * jnp.uint32(_FIRST)
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return x ^ (x >> 16)


def key_of(seed):
    """Returns a key, uint32 `[2]`, of the state of a `keras.random.SeedGenerator`: its seed and its counter.

    Both words of a key depend on both of the state, so that neither two layers nor two micro-batches share one.
    """
    seed, counter = (jnp.asarray(seed)[i].astype("uint32") for i in range(2))
    first = _mixed(_mixed(seed ^ jnp.uint32(0x9E3779B9)) + counter)
    return jnp.stack([first, _mixed(first ^ _mixed(counter + jnp.uint32(0x85EBCA6B)) ^ seed)])


def kept(first, second, places, rate):
    """Returns which places are kept, a bool array of the shape of `places`.

    Args:
        first, second: uint32 scalars, the words of a key. One is added before the hash's first multiplication and the
            other between both, else keys would do no more than order the same values differently.
        places: uint32 array. Numbers of the places, each place one of its own.
        rate: float in (0, 1). Share that is dropped, in multiples of 2^-32.
    """
    x = places + first
    x = ((x ^ (x >> 16)) * jnp.uint32(_FIRST)) ^ second
    x = (x ^ (x >> 15)) * jnp.uint32(_SECOND)
    return (x ^ (x >> 16)) >= jnp.uint32(min(2**32 - 1, round(rate * 2**32)))


def _places(shape):
    places, stride = jnp.zeros(shape, "uint32"), 1
    for axis in reversed(range(len(shape))):
        places += jax.lax.broadcasted_iota("uint32", shape, axis) * jnp.uint32(stride % 2**32)
        stride *= shape[axis]
    return places


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dropout(x, key, rate):
    """Returns `x` with a share of its values set to 0 and the others divided by what is kept.

    Args:
        x: float array.
        key: uint32 array `[2]`, see `key_of`.
        rate: float in (0, 1).
    """
    scaled = x * jnp.asarray(1 / (1 - rate), x.dtype)
    return jnp.where(kept(key[0], key[1], _places(x.shape), rate), scaled, jnp.zeros((), x.dtype))


def _forward(x, key, rate):
    return dropout(x, key, rate), key


def _backward(rate, key, upstream):
    return dropout(upstream, key, rate), None


dropout.defvjp(_forward, _backward)
