"""What JAX computes in another way on a GPU, against the plain formulas, on a CPU."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.layers import Dense, Dropout, SelfAttention, gpu
from budgetbert.layers.feed_forward import activate

pytestmark = pytest.mark.any_backend
if keras.backend.backend() == "jax":
    import jax
    import jax.numpy as jnp

    from budgetbert.layers import attention_kernel, hashed_bits


def plain_attention(x, mask, key, rate):
    """Attention in float32, and dropout of the places that the kernel drops."""
    batch, length, _, heads, width = x.shape
    query, keys, value = (x[:, :, part].transpose(0, 2, 1, 3) for part in range(3))
    scores = query @ keys.swapaxes(2, 3) * width**-0.5
    if mask is not None:
        scores = jnp.where(mask[:, None, None, :] != 0, scores, -1e30)
    weights = jax.nn.softmax(scores)
    if rate:
        size = max(16, 2 ** int(np.ceil(np.log2(length))))  # Rows are padded to a power of two.
        places = np.arange(batch * heads * size * size, dtype="uint32").reshape(batch, heads, size, size)
        kept = hashed_bits.kept(key[0], key[1], jnp.asarray(places[:, :, :length, :length]), rate)
        weights = jnp.where(kept, weights / (1 - rate), 0)
    return (weights @ value).transpose(0, 2, 1, 3)


def inputs(length):
    x = jax.random.normal(jax.random.key(0), (2, length, 3, 2, 16))
    # One row is padded at its end, the other has holes.
    mask = np.ones((2, length), "int32")
    mask[0, length - 5 :] = mask[1, 1:9:3] = 0
    return x, jnp.asarray(mask), jax.random.normal(jax.random.key(1), (2, length, 2, 16))


def difference(one, other):
    return float(jnp.linalg.norm(one - other) / jnp.linalg.norm(other))


def check_values_and_gradients(function, reference, x, upstream):
    def both(function):
        values, pull = jax.vjp(function, x)
        return values, pull(upstream)[0]

    for found, wanted in zip(*(jax.jit(lambda f=f: both(f))() for f in (function, reference)), strict=True):
        assert difference(found, wanted) < 5e-7


@pytest.mark.parametrize(
    ("length", "masked", "rate"),
    [
        (16, False, 0.0),
        (24, True, 0.1),
        *(pytest.param(128, *each, marks=pytest.mark.slow) for each in ((False, 0.1), (True, 0.0))),
    ],
)
def test_the_attention_kernel_computes_attention(length, masked, rate):
    x, mask, upstream = inputs(length)
    mask, key = mask if masked else None, hashed_bits.key_of(jnp.array([7, 3], "uint32"))
    check_values_and_gradients(
        lambda x: attention_kernel.attend(x, mask, key, rate, interpret=True),
        lambda x: plain_attention(x, mask, key, rate),
        x,
        upstream,
    )


def test_keys_in_cudnn_s_order_give_the_same_attention():
    x, mask, upstream = inputs(40)
    check_values_and_gradients(
        lambda x: attention_kernel.attend_by_cudnn(x, mask, implementation="xla"),
        lambda x: plain_attention(x, mask, None, 0.0),
        x,
        upstream,
    )
    assert not attention_kernel.fits_cudnn(x.astype("bfloat16"), mask)  # There is none here.


def test_dropped_places_are_of_the_rate_and_independent():
    places = jnp.arange(2**20, dtype="uint32")
    rate, masks = 0.1, []
    # Two layers, two micro-batches, and a seed and a counter that have the same sum.
    for state in ((5, 0), (6, 0), (5, 1), (4, 1)):
        key = hashed_bits.key_of(jnp.array(state, "uint32"))
        dropped = 1.0 - np.asarray(hashed_bits.kept(key[0], key[1], places, rate))
        assert abs(dropped.mean() - rate) < 5 * (rate * (1 - rate) / places.size) ** 0.5
        masks.append((dropped - rate) / (rate * (1 - rate)) ** 0.5)
    # Correlations of independent places are of the size 2^-10.
    shifted = [np.roll(masks[0], shift) for shift in (1, 2, 128, 16384)]
    for one in (*masks[1:], *shifted):
        assert abs(np.mean(masks[0] * one)) < 5 * 2**-10
    # Rows of 128 have as much dropped as they would by chance.
    rows = masks[0].reshape(-1, 128).sum(1) / 128**0.5
    assert abs(rows.std() - 1) < 0.04


def test_dropout_is_drawn_again_in_the_backward_pass():
    layer, x = Dropout(0.25), jnp.ones((64, 32))
    layer.build(x.shape)
    with gpu.described():
        state = layer.seed_generator.state.value
        values, pull = jax.vjp(lambda x: layer.stateless_call([], [state], x, training=True)[0], x)
    np.testing.assert_allclose(np.unique(values), [0, 1 / 0.75], rtol=1e-6)
    assert (pull(jnp.ones_like(x))[0] == values).all()
    assert "threefry" not in str(jax.make_jaxpr(lambda x: pull(x))(x))


@pytest.mark.parametrize("gated", [False, True])
def test_the_closed_derivatives_of_gelu_are_those_of_gelu(gated):
    x, factor = (jax.random.normal(jax.random.key(seed), (50, 20)) for seed in range(2))
    factors = (factor,) if gated else ()

    def values_and_gradients():
        return jax.vjp(lambda x, *factors: activate(x, "gelu", *factors), x, *factors)

    wanted, pull_wanted = values_and_gradients()
    with gpu.described():
        found, pull = values_and_gradients()
    assert difference(found, wanted) < 1e-6
    for one, other in zip(pull(jnp.cos(x)), pull_wanted(jnp.cos(x)), strict=True):
        assert difference(one, other) < 1e-6


def test_a_bias_has_the_same_gradient():
    layer, x = Dense(16, dtype="mixed_bfloat16"), jax.random.normal(jax.random.key(0), (8192, 8))
    layer.build(x.shape)

    def gradients():
        values = [variable.value for variable in layer.trainable_variables]
        return jax.grad(lambda values: layer.stateless_call(values, [], x)[0].astype("float32").sum())(values)

    wanted = gradients()
    with gpu.described():
        found = gradients()
    assert all((one == other).all() for one, other in zip(found, wanted, strict=True))


def test_levers_are_taken_on_a_gpu_and_left_off_where_asked_for():
    assert not any(map(gpu.uses, gpu.LEVERS))
    with gpu.described():
        assert all(map(gpu.uses, gpu.LEVERS))
        with gpu.without("dropout"):
            assert [lever for lever in gpu.LEVERS if not gpu.uses(lever)] == ["dropout"]
        assert gpu.uses("dropout")
    with pytest.raises(ValueError, match="must be one of"):
        gpu.uses("speed")


def test_a_layer_takes_the_kernel_with_its_mask_and_in_16_bits_alone(monkeypatch):
    kernel = functools.partial(attention_kernel.attend, interpret=True)
    x, mask = jax.random.normal(jax.random.key(0), (2, 24, 32)), np.ones((2, 24), "int32")
    mask[0, 20:] = 0
    for dtype, calls in (("mixed_bfloat16", 1), ("float32", 0)):
        called = []
        monkeypatch.setattr(attention_kernel, "attend", lambda *a, called=called: called.append(a) or kernel(*a))
        layer = SelfAttention(32, 2, dtype=dtype)
        wanted = layer(x, padding_mask=mask)
        with gpu.described():
            found = layer(x, padding_mask=mask)
        assert len(called) == calls
        assert difference(found.astype("float32"), wanted.astype("float32")) < 0.02
        assert ops.shape(found) == (2, 24, 32)
