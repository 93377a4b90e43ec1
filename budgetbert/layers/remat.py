"""Activation checkpointing: intermediate values are computed again in the backward pass, not kept for it."""

import keras
from keras import ops

from budgetbert.layers.dropout import seed_states


def recompute(layer, function, x):
    """Returns `function(x)`, of which only `x` is kept for the backward pass, where the function is called again.

    `keras.remat` alone draws other dropout masks the second time where they come from a `SeedGenerator`, and on JAX
    leaves a traced value behind in its state. So the function sees the layer's variables as they are now, seeds among
    them, both times, and whatever it assigns to them is lost.

    Args:
        layer: `keras.layers.Layer` whose variables the function reads, with `autocast=False`: a cast copy of each
            weight would be kept otherwise.
        function: function of `x` that returns one tensor.
        x: float tensor.

    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
    """
    trained, seeds = layer.trainable_variables, seed_states(layer)
    fixed = [(variable, ops.convert_to_tensor(variable)) for variable in layer.non_trainable_variables]
    states = [ops.copy(seed) for seed in seeds]  # copies, because torch assigns in place

    def pure(states, x, *values):
        scope = [*zip(trained, values, strict=True), *fixed, *zip(seeds, states, strict=True)]
        with keras.StatelessScope(scope):
            return function(x)

    y = _twice(pure, states)(x, *map(ops.convert_to_tensor, trained))
    # A call draws at most once from each seed; where it draws nothing, a step forward does no harm.
    for seed, state in zip(seeds, states, strict=True):
        seed.assign(state + ops.convert_to_tensor([0, 1], dtype=state.dtype))
    return y


def _twice(pure, states):
    """Returns `pure` as a function of its float tensors that is called again in the backward pass."""
    if keras.backend.backend() != "jax":
        return keras.remat(lambda *tensors: pure(states, *tensors))
    import jax

    @jax.custom_gradient
    def twice(x, *values):
        def gradient(upstream):
            # XLA drops the barriers of jax.checkpoint on a CPU, finds that the second computation is the first, and
            # keeps that. So the second depends on the gradient: no compiler may take 0 times a float for 0.
            nothing = 0 * upstream.ravel()[0]
            later = [state + nothing.astype(state.dtype) for state in states]
            _, pull = jax.vjp(lambda *tensors: pure(later, *tensors), x + nothing, *values)
            return pull(upstream)

        return pure(states, x, *values), gradient

    return twice
