"""What every layer and model must hold, and gradients in one call on each backend."""

import collections

import keras
import numpy as np
from keras import ops

ROWS = 8192


def to_numpy(tensor):
    """A tensor of any backend and dtype as float64."""
    return ops.convert_to_numpy(ops.cast(tensor, "float32")).astype("float64")


def gradient_of(function, variables):
    """Compiles the gradients of a scalar `function(*inputs)` as training compiles them.

    Returns:
        A function of the inputs that returns one float64 array per variable.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function
        def compiled(*inputs):
            with tf.GradientTape() as tape:
                value = function(*inputs)
            return [tf.convert_to_tensor(g) for g in tape.gradient(value, [v.value for v in variables])]

        return lambda *inputs: [np.asarray(g, "float64") for g in compiled(*map(tf.constant, inputs))]
    if keras.backend.backend() == "jax":
        import jax

        def stateless(values, inputs):
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                return function(*inputs)

        compiled = jax.jit(jax.grad(stateless))
        return lambda *inputs: [np.asarray(g, "float64") for g in compiled([v.value for v in variables], inputs)]

    def gradients(*inputs):
        for variable in variables:
            variable.value.grad = None
        function(*map(ops.convert_to_tensor, inputs)).backward()
        return [v.value.grad.numpy().astype("float64") for v in variables]

    return gradients


def check(make, inputs, shape, policy, folder, dtype=None):
    """Holds what every layer and model must: call, shape, policy, names of variables, config, file, preset and clone.

    Args:
        make: function of the name of a dtype policy that returns a layer or a model.
        inputs: list of arrays for a layer, dict of arrays for a model.
        shape: tuple, of the output; list of them where there are several.
        policy: str.
        folder: `Path`, empty.
        dtype: str, of the output. Defaults to `None`: what the policy computes in.
    """
    layer = make(policy)
    is_model = isinstance(layer, keras.Model)
    outputs = keras.tree.flatten(layer(inputs) if is_model else layer(*inputs))
    assert [tuple(output.shape) for output in outputs] == (shape if isinstance(shape, list) else [shape])
    expected = dtype or layer.compute_dtype
    assert {keras.backend.standardize_dtype(output.dtype) for output in outputs} == {expected}
    # What is not trained are the seeds of dropout.
    assert {v.dtype for v in layer.trainable_variables} <= {"float32"}
    # The rule which variables decay reads these names.
    names = {v.path.split("/")[-1] for v in layer.trainable_variables}
    assert names <= {"kernel", "bias", "gamma", "beta", "scale", "embeddings", "position_scale"}
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()

    model = layer
    if not is_model:
        symbolic = [keras.Input(x.shape[1:], dtype=str(x.dtype)) for x in inputs]
        model = keras.Model(symbolic, layer(*symbolic))
    model.save(folder / "model.keras")
    copies = [keras.models.load_model(folder / "model.keras")]
    if is_model:
        model.save_to_preset(folder / "preset")
        # KerasHub 0.32 cannot read a mixed policy from a preset's folder: it is given.
        copies.append(type(model).from_preset(str(folder / "preset"), dtype=policy))
    assert all(_precisions(copy) == _precisions(model) for copy in copies)
    copies += [clone(model), clone(model, recursive=True)] if is_model else []
    expected = [to_numpy(output) for output in keras.tree.flatten(model(inputs))]
    for copy in copies:
        assert not {id(variable) for variable in model.variables} & {id(variable) for variable in copy.variables}
        for ours, theirs in zip(expected, keras.tree.flatten(copy(inputs)), strict=True):
            np.testing.assert_allclose(to_numpy(theirs), ours, atol=1e-5)


def _precisions(model):
    """How many layers of each class compute in each precision."""
    return collections.Counter((type(layer).__name__, layer.compute_dtype) for layer in model._flatten_layers())


def clone(model, **kwargs):
    """A clone with the weights of the model, of which it has as many: a decoder stays tied to the clone's own table."""
    copy = keras.models.clone_model(model, **kwargs)
    copy.set_weights(model.get_weights())
    return copy


def check_gradient_of_many_rows(layer, inputs):
    """The gradient of each variable over 8,192 equal rows is 8,192 times its gradient over one of them.

    Rounding to bfloat16 alone gives 2e-3 of the norm; a gradient summed in bfloat16 is off by 0.09 to 0.97.
    """
    weights = np.random.default_rng(1).normal(size=layer(*inputs).shape).astype("float32")
    weights, *inputs = (np.repeat(x, ROWS, axis=0) for x in (weights, *inputs))
    first_row = weights * (np.arange(ROWS) == 0).reshape(-1, *[1] * (weights.ndim - 1)).astype("float32")
    variables = layer.trainable_variables
    gradients = gradient_of(lambda w, *x: ops.sum(ops.cast(layer(*x), "float32") * w), variables)
    one, many = gradients(first_row, *inputs), gradients(weights, *inputs)
    for variable, g1, gn in zip(variables, one, many, strict=True):
        error = np.linalg.norm(gn - ROWS * g1) / np.linalg.norm(ROWS * g1)
        assert error < 1e-2, f"{variable.path}: {error}"
