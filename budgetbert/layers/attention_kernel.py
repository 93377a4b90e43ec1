"""Attention on JAX's GPUs that keeps no scores: of rows of up to 128 tokens in one kernel, of longer ones by cuDNN.

A program of the kernel computes one head of one row, whose scores fit into its registers. It reads the projection as
it is, `[batch, length, 3, heads, width]`, so that nothing is sliced or transposed before; dropout is drawn inside; kept
for the backward pass is the projection, of which that kernel computes the scores again (as Dao et al. 2022,
FlashAttention, without its tiles).
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from budgetbert.layers.hashed_bits import kept

LONGEST = 128
_SHORTEST = 16  # what a matrix product of the tensor cores takes
# Warps of 32 threads: the gradient's kernel holds three squares of scores, and the other one.
_WARPS, _GRADIENT_WARPS = 4, 8
_MASKED = -1e30


def fits(length, width, dtype):
    """Returns whether the kernel computes such rows: of at most 128 tokens, in 16 bits, heads a power of two wide."""
    return length <= LONGEST and width in (16, 32, 64, 128) and dtype in ("bfloat16", "float16")


def attend(x, padding_mask=None, key=None, rate=0.0, interpret=False):
    """Attention of short rows, see `fits`.

    Args:
        x: float array `[batch, length, 3, heads, width of a head]`, queries, keys and values.
        padding_mask: bool or int array `[batch, length]`, 0 at keys that nobody attends to; `None` (default) for none.
        key: uint32 array `[2]`, see `hashed_bits.key_of`. Needed where the rate is not 0.
        rate: float. Share of the probabilities that are dropped. Defaults to 0.
        interpret: bool. Whether the kernel is computed step by step on the CPU, for tests. Defaults to `False`.

    Returns:
        Float array `[batch, length, heads, width of a head]`.
    """
    length = x.shape[1]
    padded = max(_SHORTEST, 1 << (length - 1).bit_length())
    if padded != length:
        if padding_mask is None:
            padding_mask = jnp.ones(x.shape[:2], "int32")
        spare = (0, padded - length)
        x, padding_mask = (jnp.pad(a, [(0, 0), spare, *[(0, 0)] * (a.ndim - 2)]) for a in (x, padding_mask))
    key = jnp.zeros(2, "uint32") if key is None else key
    masks = () if padding_mask is None else (padding_mask.astype("int32"),)
    return _attend(x, key, masks, rate, interpret)[:, :length]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _attend(x, key, masks, rate, interpret):
    batch, length, _, heads, width = x.shape
    return _call(_forward_kernel, x, key, masks, (), (batch, length, heads, width), rate, interpret, _WARPS)


def _attend_forward(x, key, masks, rate, interpret):
    return _attend(x, key, masks, rate, interpret), (x, key, masks)


def _attend_backward(rate, interpret, held, upstream):
    x, key, masks = held
    return _call(_gradient_kernel, x, key, masks, (upstream,), x.shape, rate, interpret, _GRADIENT_WARPS), None, None


_attend.defvjp(_attend_forward, _attend_backward)


def _call(kernel, x, key, masks, upstream, shape, rate, interpret, warps):
    batch, length, _, heads, width = x.shape
    projection = pl.BlockSpec((None, length, 3, None, width), lambda row, head: (row, 0, 0, head, 0))
    attended = pl.BlockSpec((None, length, None, width), lambda row, head: (row, 0, head, 0))
    return pl.pallas_call(
        functools.partial(kernel, scale=width**-0.5, rate=rate, masked=bool(masks)),
        grid=(batch, heads),
        in_specs=[
            pl.BlockSpec((2,), lambda row, head: (0,)),
            *(pl.BlockSpec((None, length), lambda row, head: (row, 0)) for _ in masks),
            projection,
            *(attended for _ in upstream),
        ],
        out_specs=projection if len(shape) == 5 else attended,
        out_shape=jax.ShapeDtypeStruct(shape, x.dtype),
        compiler_params=None if interpret else triton.CompilerParams(num_warps=warps, num_stages=1),
        interpret=interpret,
        name=f"attention_{kernel.__name__.split('_')[1]}{'_dropout' if rate else ''}",  # as tools/hlo.py knows them
    )(key, *masks, x, *upstream)


def _product(left, right, axis=1, of_right=0):
    """The product of two matrices in float32, whose sums run over an axis of each."""
    return jax.lax.dot_general(left, right, (((axis,), (of_right,)), ((), ())), preferred_element_type="float32")


def _probabilities(query, key, mask, scale):
    scores = _product(query, key, of_right=1) * scale
    if mask is not None:
        scores = jnp.where((mask != 0)[None, :], scores, _MASKED)
    powers = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
    return powers / jnp.sum(powers, axis=1, keepdims=True)


def _dropped(values, key, rate):
    """The values with dropout, those of this program of the grid; the same for each call."""
    if not rate:
        return values
    rows, columns = (jax.lax.broadcasted_iota("uint32", values.shape, axis) for axis in range(2))
    number = (pl.program_id(0) * pl.num_programs(1) + pl.program_id(1)).astype("uint32")
    places = (number * jnp.uint32(values.shape[0]) + rows) * jnp.uint32(values.shape[1]) + columns
    return jnp.where(kept(key[0], key[1], places, rate), values * (1 / (1 - rate)), 0.0)


def _forward_kernel(key, *references, scale, rate, masked):
    *masks, x, attended = references
    query, keys, value = (x[:, part, :] for part in range(3))
    probabilities = _probabilities(query, keys, masks[0][...] if masked else None, scale)
    weights = _dropped(probabilities, key, rate).astype(value.dtype)
    attended[...] = _product(weights, value).astype(attended.dtype)


def _gradient_kernel(key, *references, scale, rate, masked):
    *masks, x, upstream, gradient = references
    query, keys, value = (x[:, part, :] for part in range(3))
    upstream = upstream[...]
    probabilities = _probabilities(query, keys, masks[0][...] if masked else None, scale)
    weights = _dropped(probabilities, key, rate).astype(upstream.dtype)
    gradient[:, 2, :] = _product(weights, upstream, axis=0).astype(gradient.dtype)
    for_probabilities = _dropped(_product(upstream, value, of_right=1), key, rate)
    mean = jnp.sum(for_probabilities * probabilities, axis=1, keepdims=True)
    for_scores = (probabilities * (for_probabilities - mean) * scale).astype(query.dtype)
    gradient[:, 0, :] = _product(for_scores, keys).astype(gradient.dtype)
    gradient[:, 1, :] = _product(for_scores, query, axis=0).astype(gradient.dtype)


def fits_cudnn(x, padding_mask):
    """Returns whether cuDNN is there and takes such arrays, as for `attend`, by what JAX says of it."""
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (x, padding_mask))
    try:
        jax.eval_shape(attend_by_cudnn, *shapes)
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    return True


def attend_by_cudnn(x, padding_mask=None, implementation="cudnn"):
    """Attention by cuDNN, without dropout.

    cuDNN takes how many keys of a row count, and those must come first. The order of keys changes no result, so they
    are brought there, which is where they are already in rows that are padded at their end.

    Args:
        x, padding_mask: as for `attend`, of any length; in 16 bits.
        implementation: str. `"xla"` computes the same without cuDNN, for tests. Defaults to `"cudnn"`.

    Returns:
        As `attend`.
    """
    query, both = x[:, :, 0], x[:, :, 1:]
    lengths = None
    if padding_mask is not None:
        padding_mask = padding_mask.astype("bool")
        order = jnp.argsort(~padding_mask, axis=1, stable=True)
        both = _ordered(both, order, jnp.argsort(order, axis=1))
        lengths = jnp.maximum(padding_mask.sum(1, dtype="int32"), 1)
    return jax.nn.dot_product_attention(
        query, both[:, :, 0], both[:, :, 1], key_value_seq_lengths=lengths, implementation=implementation
    )


@jax.custom_vjp
def _ordered(x, order, back):
    """`x` with its second axis in another order; its gradient is ordered back, where JAX would scatter it."""
    return jnp.take_along_axis(x, order[:, :, None, None, None], axis=1)


_ordered.defvjp(
    lambda x, order, back: (_ordered(x, order, back), (order, back)),
    lambda held, upstream: (_ordered(upstream, held[1], held[0]), None, None),
)
