"""What every layer must hold, and gradients in one call on each backend."""

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


def check_config(layer):
    """A layer made from the config of `layer` has the same config."""
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()


def check_file(layer, inputs, path):
    """A model that holds `layer` comes back from a `.keras` file with the same precision and the same output."""

    def symbolic(x):
        return keras.Input(x.shape[1:], dtype=str(x.dtype))

    inputs = list(inputs)
    model_inputs = [symbolic(x) for x in inputs]
    model = keras.Model(model_inputs, layer(*model_inputs))
    expected = to_numpy(model(inputs))
    model.save(path)
    loaded = keras.models.load_model(path)
    twin = loaded.get_layer(layer.name)
    pairs = zip(layer._flatten_layers(), twin._flatten_layers(), strict=True)
    assert all(a.compute_dtype == b.compute_dtype for a, b in pairs)
    np.testing.assert_allclose(to_numpy(loaded(inputs)), expected, atol=1e-6)


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
