import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.layers import FeedForward, SelfAttention
from budgetbert.optimizers import Lamb

RATE, STEPS = 6e-3, 20
SHAPES = {"dense/kernel": (64, 48), "dense/bias": (48,), "norm/gamma": (48,), "position_scale": ()}


def reference(
    weights, gradients, *, decay=0.01, decayed=(), adapted=(), epsilon=1e-6, correct=True, bounds=None, parts=None
):
    """Algorithm 2 of the paper, in float64. All arguments but the numbers are by name of the variable."""
    beta_1, beta_2 = 0.9, 0.999
    weights = {name: value.astype("float64") for name, value in weights.items()}
    momentum = {name: np.zeros_like(value) for name, value in weights.items()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    for t, step in enumerate(gradients, 1):
        for name, g in step.items():
            m = momentum[name] = beta_1 * momentum[name] + (1 - beta_1) * g
            v = velocity[name] = beta_2 * velocity[name] + (1 - beta_2) * g**2
            if correct:
                m, v = m / (1 - beta_1**t), v / (1 - beta_2**t)
            u = m / (np.sqrt(v) + epsilon)
            if name in decayed:
                u = u + decay * weights[name]
            if name in adapted:
                count = (parts or {}).get(name, 1)
                pieces = []
                split = (
                    zip(np.split(weights[name], count, -1), np.split(u, count, -1), strict=True) if count > 1 else ()
                )
                for x_part, u_part in split or ((weights[name], u),):
                    phi = np.linalg.norm(x_part)
                    if bounds:
                        phi = min(max(phi, bounds[0]), bounds[1])
                    norm = np.linalg.norm(u_part)
                    pieces.append(u_part * (phi / norm if phi > 0 and norm > 0 else 1.0))
                u = np.concatenate(pieces, -1) if count > 1 else pieces[0]
            weights[name] = weights[name] - RATE * u
    return weights


def start(shapes=None, seed=0):
    """A kernel as initialised, zero biases, unit gains; and gradients of 20 steps."""
    generator = np.random.default_rng(seed)
    weights = {}
    for name, shape in (shapes or SHAPES).items():
        fill = {"bias": 0.0, "gamma": 1.0, "position_scale": 0.1}.get(name.split("/")[-1])
        weights[name] = generator.normal(0, 0.02, shape) if fill is None else np.full(shape, fill)
    gradients = [
        {name: generator.normal(0, 0.01, value.shape) for name, value in weights.items()} for _ in range(STEPS)
    ]
    return weights, gradients


def variables_of(weights, dtype="float32"):
    result = {}
    for path, value in weights.items():
        *layer, name = path.split("/")
        with keras.name_scope("/".join(layer) or "model"):
            result[path] = keras.Variable(value, name=name, dtype=dtype)
    return result


def run(optimizer, weights, gradients, variables=None):
    variables = variables or variables_of(weights)
    optimizer.build(list(variables.values()))
    for step in gradients:
        optimizer.apply(
            [ops.convert_to_tensor(step[name], dtype="float32") for name in variables], list(variables.values())
        )
    return {name: ops.convert_to_numpy(variable).astype("float64") for name, variable in variables.items()}


def distance(one, other, weights):
    """By variable, relative to the way that it has gone."""
    return {
        name: np.linalg.norm(one[name] - other[name]) / np.linalg.norm(other[name] - weights[name]) for name in weights
    }


MATRICES = ("dense/kernel", "position_scale")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"decayed": MATRICES, "adapted": MATRICES}),
        ({"exclude_from_layer_adaptation": ()}, {"decayed": MATRICES, "adapted": SHAPES}),
        ({"exclude_from_weight_decay": ()}, {"decayed": SHAPES, "adapted": SHAPES}),
        (
            {"exclude_from_weight_decay": ["kernel"], "exclude_from_layer_adaptation": ["gamma"]},
            {"decayed": set(SHAPES) - {"dense/kernel"}, "adapted": set(SHAPES) - {"norm/gamma"}},
        ),
        ({"weight_decay": 0.0}, {"decay": 0.0, "decayed": MATRICES, "adapted": MATRICES}),
        ({"bias_correction": False}, {"correct": False, "decayed": MATRICES, "adapted": MATRICES}),
        ({"phi_bounds": (0.2, 0.5)}, {"bounds": (0.2, 0.5), "decayed": MATRICES, "adapted": MATRICES}),
        (
            {"phi_bounds": (0.0, 10.0), "exclude_from_layer_adaptation": ()},
            {"bounds": (0.0, 10.0), "decayed": MATRICES, "adapted": SHAPES},
        ),
        ({"epsilon": 1e-3}, {"epsilon": 1e-3, "decayed": MATRICES, "adapted": MATRICES}),
    ],
    ids=lambda value: " ".join(value),
)
def test_it_is_the_papers_algorithm_at_every_step(arguments, expected):
    weights, gradients = start()
    for steps in (1, 2, STEPS):
        ours = run(Lamb(RATE, **arguments), weights, gradients[:steps])
        paper = reference(weights, gradients[:steps], **expected)
        for name, error in distance(ours, paper, weights).items():
            assert error < 3e-5, (
                steps,
                name,
                error,
            )  # one step is as short as 5e-5, and float32 rounds weights to 1e-9


def test_it_equals_optax_where_everything_decays_and_adapts():
    optax = pytest.importorskip("optax")
    weights, gradients = start()
    ours = run(Lamb(RATE, exclude_from_weight_decay=()), weights, gradients)
    method = optax.lamb(RATE, weight_decay=0.01)
    theirs = {name: np.asarray(value, "float32") for name, value in weights.items()}
    state = method.init(theirs)
    for step in gradients:
        update, state = method.update({n: np.asarray(g, "float32") for n, g in step.items()}, state, theirs)
        theirs = optax.apply_updates(theirs, update)
    theirs = {name: np.asarray(value, "float64") for name, value in theirs.items()}
    # optax computes 1 - 0.999^t in float32, 6e-6 off
    assert max(distance(ours, theirs, weights).values()) < 3e-5


def test_keras_lamb_is_another_method_wherever_there_is_decay():
    weights, gradients = start({"dense/kernel": (64, 64)})
    for decay, lowest, highest in ((0.0, 0, 1e-5), (0.01, 1e-2, 2e-2), (0.1, 0.1, 0.2)):
        ours = run(Lamb(RATE, weight_decay=decay), weights, gradients)
        theirs = run(keras.optimizers.Lamb(RATE, weight_decay=decay or None, epsilon=1e-6), weights, gradients)
        assert lowest <= distance(theirs, ours, weights)["dense/kernel"] <= highest


def test_weights_of_norm_zero_move_by_the_learning_rate():
    weights, gradients = start({"dense/bias": (48,)})
    moved = run(Lamb(RATE, exclude_from_layer_adaptation=()), weights, gradients[:1])
    np.testing.assert_allclose(np.abs(moved["dense/bias"]), RATE, rtol=1e-2)  # of m / (sqrt(v) + 1e-6)


def test_without_gradient_and_decay_nothing_moves():
    weights, gradients = start()
    zeros = {name: np.zeros_like(gradient) for name, gradient in gradients[0].items()}
    moved = run(Lamb(RATE, weight_decay=0.0), weights, [zeros, zeros])
    for name, value in weights.items():
        np.testing.assert_array_equal(moved[name], value.astype("float32"))


def test_norms_are_float32_whatever_the_variable():
    # the sum of 2^16 squares of 8 is 2^22, beyond float16's 65,504
    variable = keras.Variable(np.full((256, 256), 8.0), name="kernel", dtype="float16")
    optimizer = Lamb(1 / 64, weight_decay=0.0)
    optimizer.build([variable])
    optimizer.apply([ops.ones((256, 256))], [variable])
    # all elements of the update are equal, so the step is the learning rate times the size of a weight
    np.testing.assert_allclose(ops.convert_to_numpy(variable), 8 - 8 / 64, rtol=1e-3)


def test_a_fused_kernel_adapts_as_the_matrices_it_holds():
    attention, gated = SelfAttention(16, 2, name="attention"), FeedForward(16, 32, gated=True, name="feed_forward")
    attention.build((1, 4, 16))
    gated.build((1, 4, 16))
    fused = {
        "attention/qkv/kernel": 3,
        "attention/qkv/bias": 3,
        "feed_forward/gated_intermediate/kernel": 2,
        "feed_forward/gated_intermediate/bias": 2,
    }
    variables = {path: v for path in fused for v in [*attention.variables, *gated.variables] if v.path == path}
    generator = np.random.default_rng(0)
    # parts of different sizes, so that one norm for all of them would show
    weights = {}
    for path, parts in fused.items():
        shape = variables[path].shape
        scales = np.repeat(0.02 * 10.0 ** np.arange(parts), shape[-1] // parts)
        weights[path] = generator.normal(size=shape) * scales
        variables[path].assign(weights[path].astype("float32"))
    gradients = [{path: generator.normal(0, 0.01, w.shape) for path, w in weights.items()} for _ in range(STEPS)]
    together = run(Lamb(RATE, exclude_from_layer_adaptation=()), weights, gradients, variables)

    def separate(values):
        return {
            f"{path.split('/')[-2]}_{i}/{path.split('/')[-1]}": part
            for path, parts in fused.items()
            for i, part in enumerate(np.split(values[path], parts, -1))
        }

    apart = run(Lamb(RATE, exclude_from_layer_adaptation=()), separate(weights), [separate(step) for step in gradients])
    assert max(distance(separate(together), apart, separate(weights)).values()) < 1e-6
    paper = reference(
        weights, gradients, decayed=[p for p in fused if p.endswith("kernel")], adapted=fused, parts=fused
    )
    assert max(distance(together, paper, weights).values()) < 1e-5
    whole = reference(weights, gradients, decayed=[p for p in fused if p.endswith("kernel")], adapted=fused)
    assert min(distance(together, whole, weights).values()) > 0.1


def test_a_model_with_fused_kernels_trains_as_one_with_a_kernel_for_each():
    width, heads, length = 16, 2, 6
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=(8, length, width)).astype("float32") for _ in range(2))
    inputs = keras.Input((length, width))
    fused_attention = SelfAttention(width, heads, use_bias=False, name="attention")
    fused_gate = FeedForward(width, 64, gated=True, use_bias=False, name="feed_forward")
    fused = keras.Model(inputs, fused_gate(fused_attention(inputs)))

    query, key, value, u, gate = (
        keras.layers.Dense(units, use_bias=False, name=name)
        for name, units in (("query", width), ("key", width), ("value", width), ("u", 32), ("gate", 32))
    )
    outputs = [keras.layers.Dense(width, use_bias=False, name=f"output_{i}") for i in range(2)]
    by_heads = keras.layers.Reshape((length, heads, width // heads))
    attended = ops.dot_product_attention(by_heads(query(inputs)), by_heads(key(inputs)), by_heads(value(inputs)))
    hidden = outputs[0](keras.layers.Reshape((length, width))(attended))
    apart = keras.Model(inputs, outputs[1](u(hidden) * ops.gelu(gate(hidden), approximate=False)))

    def matrices():
        qkv, attention_output, both, gate_output = (ops.convert_to_numpy(v) for v in fused.trainable_variables)
        return [*np.split(qkv, 3, -1), attention_output, *np.split(both, 2, -1), gate_output]

    layers = [query, key, value, outputs[0], u, gate, outputs[1]]
    before = matrices()
    for layer, matrix in zip(layers, before, strict=True):
        layer.kernel.assign(matrix)
    for model in (fused, apart):
        model.compile(optimizer=Lamb(RATE, epsilon=1e-3), loss="mse")
        for _ in range(5):
            model.train_on_batch(x, y)
    for layer, old, new in zip(layers, before, matrices(), strict=True):
        other = ops.convert_to_numpy(layer.kernel)
        assert np.linalg.norm(new - other) / np.linalg.norm(other - old) < 1e-4, layer.name


def test_a_compiled_program_computes_the_same():
    weights, gradients = start()
    expected = run(Lamb(RATE), weights, gradients)
    variables = variables_of(weights)
    optimizer = Lamb(RATE)
    optimizer.build(list(variables.values()))
    steps = [[ops.convert_to_tensor(step[name], dtype="float32") for name in variables] for step in gradients]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        apply = tf.function(lambda step: optimizer.apply(step, list(variables.values())), jit_compile=True)
        for step in steps:
            apply(step)
        result = [v.numpy() for v in variables.values()]
    elif keras.backend.backend() == "jax":
        import jax

        state = ([v.value for v in optimizer.variables], [v.value for v in variables.values()])
        apply = jax.jit(lambda slots, step, values: optimizer.stateless_apply(slots, step, values)[::-1])
        for step in steps:
            state = apply(state[0], step, state[1])
        result = [np.asarray(value) for value in state[1]]
    else:
        slots, result = [v.value for v in optimizer.variables], [v.value for v in variables.values()]
        for step in steps:
            result, slots = optimizer.stateless_apply(slots, step, result)
    result = {name: ops.convert_to_numpy(value) for name, value in zip(variables, result, strict=True)}
    assert max(distance(result, expected, weights).values()) < 1e-6


def test_its_config_keeps_everything():
    arguments = {
        "beta_1": 0.8,
        "beta_2": 0.99,
        "epsilon": 1e-5,
        "weight_decay": 0.1,
        "exclude_from_weight_decay": ["bias"],
        "exclude_from_layer_adaptation": [],
        "bias_correction": False,
        "phi_bounds": [0.1, 10.0],
        "global_clipnorm": 1.0,
        "name": "ours",
    }
    config = Lamb(0.5, **arguments).get_config()
    assert {name: config[name] for name in arguments} == arguments
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(Lamb(0.5, **arguments)))
    assert copy.get_config() == config
    config = Lamb(0.5).get_config()
    assert config["exclude_from_layer_adaptation"] is None
    assert Lamb.from_config(config).get_config() == config


def test_a_compiled_model_goes_on_from_its_file_as_if_never_saved(tmp_path):
    def batch(i):
        generator = np.random.default_rng(i)
        return generator.integers(0, 10, (8, 5)), generator.normal(size=(8, 5, 4)).astype("float32")

    model = keras.Sequential(
        [keras.Input((5,), dtype="int32"), keras.layers.Embedding(10, 8), keras.layers.Dense(4, name="dense")]
    )
    model.compile(Lamb(RATE, weight_decay=0.1, exclude_from_layer_adaptation=("kernel",)), "mse")
    for i in range(3):
        model.train_on_batch(*batch(i))
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert type(copy.optimizer) is Lamb
    assert copy.optimizer.get_config() == model.optimizer.get_config()
    for subject in (model, copy):
        for i in range(3, 6):
            subject.train_on_batch(*batch(i))
    for one, other in zip(model.trainable_variables, copy.trainable_variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_a_table_of_which_rows_are_used_repeatedly_gets_their_sum():
    # TensorFlow hands over rows and not a whole gradient
    table = keras.layers.Embedding(10, 8)
    model = keras.Sequential([keras.Input((6,), dtype="int32"), table, keras.layers.Lambda(lambda x: x * 1.0)])
    target = np.zeros((1, 6, 8), "float32")
    before = ops.convert_to_numpy(table.embeddings).astype("float64")
    model.compile(Lamb(RATE), "mse")
    ids = np.array([[3, 3, 3, 3, 5, 7]])
    model.train_on_batch(ids, target)
    gradient = np.zeros_like(before)
    for row in ids[0]:
        gradient[row] += 2 * before[row] / target.size
    name = "embedding/embeddings"
    expected = reference({name: before}, [{name: gradient}], decayed=[name], adapted=[name])[name]
    np.testing.assert_allclose(ops.convert_to_numpy(table.embeddings), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"exclude_from_weight_decay": "bias"}, "a sequence of names"),
        ({"exclude_from_layer_adaptation": "bias"}, "a sequence of names"),
        ({"phi_bounds": (1.0, 0.5)}, "low < high"),
        ({"phi_bounds": (1.0,)}, "low < high"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Lamb(RATE, **arguments)


def test_exclusions_cannot_be_given_where_saving_would_lose_them():
    with pytest.raises(ValueError, match="when it is made"):
        Lamb(RATE).exclude_from_weight_decay(var_names=["bias"])
