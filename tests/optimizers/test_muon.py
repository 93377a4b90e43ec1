import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.layers import FeedForward, SelfAttention
from budgetbert.optimizers import Lamb, Muon, change_optimizer, convert_optimizer, optimizer_name, settings_of
from budgetbert.optimizers.muon import newton_schulz
from tests.optimizers.test_lamb import distance, run, variables_of

RATE, STEPS = 6e-3, 10
# Square, wide and tall, fused of three and of two parts; then what AdamW takes.
MATRICES = {
    "dense/kernel": (24, 24),
    "wide/kernel": (16, 40),
    "tall/kernel": (40, 16),
    "qkv/kernel": (16, 48),
    "gated_intermediate/kernel": (16, 64),
}
PARTS = {"qkv/kernel": 3, "gated_intermediate/kernel": 2}
REST = {
    "token/embeddings": (30, 16),
    "logits/kernel": (16, 16),
    "norm/gamma": (16,),
    "dense/bias": (16,),
    "position_scale": (),
}
NOT_DECAYED = ("norm/gamma", "dense/bias")


def start(seed=0):
    generator = np.random.default_rng(seed)
    weights = {name: generator.normal(0, 0.02, shape) for name, shape in (MATRICES | REST).items()}
    gradients = [{name: generator.normal(0, 0.01, w.shape) for name, w in weights.items()} for _ in range(STEPS)]
    return weights, gradients


def orthogonal(matrix, steps=5):
    """The iteration as it stands in its publication, in float64 and without a thought of the shorter side."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix / (np.linalg.norm(matrix) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def reference(weights, gradients, *, decay=0.01, momentum=0.95, nesterov=True, scale="rms", adam_rate=1.0):
    weights = {name: value.astype("float64") for name, value in weights.items()}
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    for t, step in enumerate(gradients, 1):
        for name, g in step.items():
            rate = RATE
            if name in MATRICES:
                m = first[name] = momentum * first[name] + g
                pieces = []
                for part in np.split(g + momentum * m if nesterov else m, PARTS.get(name, 1), axis=1):
                    rows, columns = part.shape
                    factor = 0.2 * max(rows, columns) ** 0.5 if scale == "rms" else max(1, columns / rows) ** 0.5
                    pieces.append(factor * orthogonal(part))
                u = np.concatenate(pieces, axis=1)
            else:
                m = first[name] = 0.9 * first[name] + 0.1 * g
                v = second[name] = 0.98 * second[name] + 0.02 * g**2
                u = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.98**t)) + 1e-8)
                rate *= adam_rate
            if name not in NOT_DECAYED:
                u = u + decay * weights[name]
            weights[name] = weights[name] - rate * u
    return weights


@pytest.mark.parametrize(
    "arguments",
    [{}, {"nesterov": False}, {"scale": "spectral"}, {"weight_decay": 0.1, "momentum": 0.8}, {"adam_rate": 0.5}],
    ids=str,
)
def test_it_is_the_published_algorithm_and_adamw_for_the_rest(arguments):
    weights, gradients = start()
    expected = {("decay" if name == "weight_decay" else name): value for name, value in arguments.items()}
    ours = run(Muon(RATE, **arguments), weights, gradients)
    for name, error in distance(ours, reference(weights, gradients, **expected), weights).items():
        assert error < 1e-4, (name, error)


def test_the_singular_values_of_a_step_are_near_one():
    generator = np.random.default_rng(0)
    for shape in ((64, 64), (64, 128), (128, 64)):
        matrix = generator.normal(size=(1, *shape)).astype("float32")
        for dtype, slack in (("float32", 0.0), ("bfloat16", 0.05)):
            result = ops.convert_to_numpy(
                ops.cast(newton_schulz(ops.convert_to_tensor(matrix), dtype=dtype), "float32")
            )
            values = np.linalg.svd(result[0], compute_uv=False)
            assert 0.7 < np.median(values) < 1.2
            assert values.max() < 1.3 + slack
    assert not ops.convert_to_numpy(newton_schulz(ops.zeros((2, 4, 8)))).any()


def test_parts_of_a_fused_kernel_get_equal_steps_whatever_their_gradients():
    width = 16
    attention, gated = (
        SelfAttention(width, 2, name="attention"),
        FeedForward(width, 32, gated=True, name="feed_forward"),
    )
    attention.build((1, 4, width))
    gated.build((1, 4, width))
    for layer, parts in ((attention.qkv, 3), (gated.intermediate, 2)):
        kernel = layer.kernel
        columns = kernel.shape[-1] // parts
        sizes = np.repeat(10.0 ** -np.arange(parts), columns)  # as q, k and v of a fresh model differ
        gradient = np.random.default_rng(0).normal(size=kernel.shape) * sizes
        before = ops.convert_to_numpy(kernel)
        optimizer = Muon(RATE, weight_decay=0.0)
        optimizer.build([kernel])
        optimizer.apply([ops.convert_to_tensor(gradient, dtype="float32")], [kernel])
        moved = np.split(ops.convert_to_numpy(kernel) - before, parts, axis=1)
        steps = [np.sqrt(np.mean(part**2)) for part in moved]
        assert max(steps) / min(steps) < 1.15, steps
        np.testing.assert_allclose(steps, 0.2 * RATE, rtol=0.3)  # as long as one of AdamW


def test_it_equals_torchs_muon():
    torch = pytest.importorskip("torch")
    if not hasattr(torch.optim, "Muon"):
        pytest.skip("this torch has no Muon")
    weights, gradients = start()
    shapes = {name: shape for name, shape in MATRICES.items() if name not in PARTS}
    weights = {name: weights[name] for name in shapes}
    gradients = [{name: step[name] for name in shapes} for step in gradients]
    ours = run(Muon(RATE, compute_dtype="bfloat16"), weights, gradients)
    theirs = {name: torch.nn.Parameter(torch.tensor(value, dtype=torch.float32)) for name, value in weights.items()}
    method = torch.optim.Muon(
        theirs.values(), lr=RATE, momentum=0.95, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"
    )
    for step in gradients:
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(step[name], dtype=torch.float32)
        method.step()
    theirs = {name: parameter.detach().numpy().astype("float64") for name, parameter in theirs.items()}
    # torch's iterations are bfloat16, too, and its momentum is (1 - 0.95) times as large, which normalising undoes.
    assert max(distance(ours, theirs, weights).values()) < 0.05


def test_a_matrix_has_one_slot_and_the_rest_two():
    weights, _ = start()
    optimizer = Muon(RATE)
    optimizer.build(list(variables_of(weights).values()))
    assert len(optimizer.variables) == 2 + len(MATRICES) + 2 * len(REST)  # and the step and the rate


def test_it_is_saved_with_all_that_it_was_made_with():
    optimizer = Muon(
        RATE, momentum=0.9, nesterov=False, steps=6, weight_decay=0.1, scale="spectral", adam_rate=0.5, adam_beta_1=0.8,
        adam_beta_2=0.95, adam_epsilon=1e-6, exclude_from_weight_decay=["kernel"], compute_dtype="bfloat16",
    )  # fmt: skip
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert again.not_decayed == ("kernel",)
    with pytest.raises(ValueError, match="scale"):
        Muon(RATE, scale="frobenius")
    with pytest.raises(ValueError, match="exclude_from_weight_decay"):
        Muon(RATE, exclude_from_weight_decay="bias")
    with pytest.raises(ValueError, match="when it is made"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])


def test_a_gathered_tables_gradient_may_repeat_a_row():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("gradients in slices are TensorFlow's")
    import tensorflow as tf

    table = np.random.default_rng(0).normal(0, 0.02, (6, 4))
    rows = np.array([2, 2, 5])
    values = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    summed = np.zeros((6, 4))
    np.add.at(summed, rows, values)
    expected = run(Muon(RATE), {"token/embeddings": table}, [{"token/embeddings": summed}])
    variables = variables_of({"token/embeddings": table})
    optimizer = Muon(RATE)
    optimizer.build(list(variables.values()))
    optimizer.apply([tf.IndexedSlices(values, rows, (6, 4))], list(variables.values()))
    got = ops.convert_to_numpy(variables["token/embeddings"])
    np.testing.assert_allclose(got, expected["token/embeddings"], atol=1e-7)


def test_one_optimizer_in_place_of_another_keeps_betas_and_decay():
    adamw = keras.optimizers.AdamW(1e-3, beta_1=0.8, beta_2=0.98, epsilon=1e-12, weight_decay=0.02)
    for name, kind in (("lamb", Lamb), ("muon", Muon), ("adamw", keras.optimizers.AdamW)):
        other = convert_optimizer(adamw, name)
        assert isinstance(other, kind) and optimizer_name(other) == name and other.weight_decay == 0.02
        back = convert_optimizer(other, "adamw")
        assert (back.beta_1, back.beta_2, back.epsilon) == (0.8, 0.98, 1e-12)
    muon = Muon(1e-3, adam_rate=0.5)
    assert convert_optimizer(muon, "muon") is muon


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, Lamb, Muon])
def test_an_optimizer_with_other_betas_and_decay_is_else_the_same(make):
    optimizer = make(1e-3, weight_decay=0.02)
    assert change_optimizer(optimizer) is optimizer
    changed = change_optimizer(optimizer, weight_decay=0.0, betas=(0.7, 0.95))
    assert settings_of(changed) == (0.0, (0.7, 0.95))
    same = {key: value for key, value in optimizer.get_config().items() if "beta" not in key and key != "weight_decay"}
    assert same.items() <= changed.get_config().items()


@pytest.mark.without_backend
@pytest.mark.parametrize(("gradient", "lengths"), [(1e-3, (0.98, 1.0)), (5e-6, (0.49, 0.96))])
def test_where_keras_adds_epsilon_shortens_the_first_steps_as_24h_bert_s_recipe_says(gradient, lengths):
    """torch's AdamW adds it outside the bias correction; the steps compared are the 1st and the 50th."""
    torch = pytest.importorskip("torch")
    settings = {"weight_decay": 0.0, "eps": 1e-6, "betas": (0.9, 0.98)}
    theirs = torch.nn.Parameter(torch.zeros(512))
    reference = torch.optim.AdamW([theirs], 1e-3, **settings)
    ours = keras.Variable(np.zeros(512, "float32"))
    optimizer = keras.optimizers.AdamW(1e-3, beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.0)
    optimizer.build([ours])
    draw, found = np.random.default_rng(0), []
    for _ in range(50):
        value = (gradient * draw.standard_normal(512)).astype("float32")
        before = ops.convert_to_numpy(ours).copy(), theirs.detach().numpy().copy()
        optimizer.apply([ops.convert_to_tensor(value)], [ours])
        theirs.grad = torch.tensor(value)
        reference.step()
        after = ops.convert_to_numpy(ours), theirs.detach().numpy()
        found.append(np.divide(*(np.linalg.norm(one - other) for one, other in zip(after, before, strict=True))))
    assert (found[0], found[49]) == pytest.approx(lengths, abs=0.02)
