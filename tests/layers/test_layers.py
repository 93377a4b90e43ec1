import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.layers import (
    ApartTexts,
    Dense,
    Dropout,
    EmbeddingTable,
    EncoderBlock,
    EncoderEmbedding,
    FeedForward,
    LayerNormalization,
    MaskedLMHead,
    MeanPooling,
    NextSentenceHead,
    PairFeatures,
    RMSNormalization,
    SelfAttention,
    attention,
)
from budgetbert.layers.embedding import sinusoid
from budgetbert.layers.feed_forward import activate
from budgetbert.layers.softmax import softmax
from tests.checks import check, check_gradient_of_many_rows, gradient_of, to_numpy

POLICIES = ["float32", "mixed_bfloat16"]
LENGTH, WIDTH, VOCABULARY = 6, 16, 40


def hidden_states(rows=2):
    return np.random.default_rng(0).normal(size=(rows, LENGTH, WIDTH)).astype("float32")


def token_ids(rows=2):
    return np.random.default_rng(0).integers(0, VOCABULARY, (rows, LENGTH)).astype("int32")


def positions(rows=2):
    return np.tile(np.array([[4, 1, 5]], "int32"), (rows, 1))


def embedding(**kwargs):
    return lambda policy: EncoderEmbedding(VOCABULARY, WIDTH, 8, dtype=policy, **kwargs)


def block(**kwargs):
    return lambda policy: EncoderBlock(WIDTH, 4, 32, dtype=policy, **kwargs)


def recomputed_block(policy):
    layer = EncoderBlock(WIDTH, 4, 32, dtype=policy)
    layer.remat = True
    return layer


def head(**kwargs):
    return lambda policy: MaskedLMHead(EmbeddingTable(VOCABULARY, WIDTH), dtype=policy, **kwargs)


def ids(rows=2):
    return [token_ids(rows)]


def ids_and_segments(rows=2):
    return [token_ids(rows), token_ids(rows) % 2]


def states(rows=2):
    return [hidden_states(rows)]


def ids_of_pairs(rows=2):
    return [np.stack([token_ids(rows), token_ids(rows)], axis=1)]


def vectors_of_pairs(rows=2):
    return [hidden_states(2 * rows)[:, 0]]


def states_and_positions(rows=2):
    return [hidden_states(rows), positions(rows)]


def states_and_mask(rows=2):
    return [hidden_states(rows), np.tile(np.array([[1, 1, 1, 1, 0, 0]], "int32"), (rows, 1))]


def of(layer, *arguments, **kwargs):
    """A function of a policy that makes a layer."""
    return lambda policy: layer(*arguments, dtype=policy, **kwargs)


SHAPE = (2, LENGTH, WIDTH)
LAYERS = {
    "dense": (of(Dense, 8), states, (2, LENGTH, 8)),
    "dropout": (of(Dropout, 0.1), states, SHAPE),
    "layer_norm": (of(LayerNormalization, epsilon=1e-12), states, SHAPE),
    "rms_norm": (of(RMSNormalization, epsilon=1e-12), states, SHAPE),
    "embedding_table": (of(EmbeddingTable, VOCABULARY, WIDTH), ids, SHAPE),
    "embedding_bert": (embedding(), ids_and_segments, SHAPE),
    "embedding_24h": (embedding(norm=None), ids, SHAPE),
    "embedding_crammed": (embedding(position="scaled_sinusoidal", num_segments=0), ids, SHAPE),
    "attention": (of(SelfAttention, WIDTH, 4), states_and_mask, SHAPE),
    "attention_no_bias": (of(SelfAttention, WIDTH, 4, use_bias=False), states, SHAPE),
    "attention_rotary": (of(SelfAttention, WIDTH, 4, rotary_base=10000.0), states_and_mask, SHAPE),
    "feed_forward": (of(FeedForward, WIDTH, 32), states, SHAPE),
    "feed_forward_gated": (of(FeedForward, WIDTH, 32, gated=True), states, SHAPE),
    "feed_forward_tanh": (of(FeedForward, WIDTH, 32, "gelu_approximate", use_bias=False), states, SHAPE),
    "block_post": (block(), states_and_mask, SHAPE),
    "block_rotary": (block(norm_placement="pre", rotary_base=100.0), states, SHAPE),
    "block_pre": (block(norm_placement="pre"), states, SHAPE),
    "block_remat": (recomputed_block, states_and_mask, SHAPE),
    "block_gated_rms": (block(norm="rms_norm", gated=True, use_bias=False), states, SHAPE),
    "head": (head(), states_and_positions, (2, 3, VOCABULARY), "float32"),
    "head_bare": (head(transform=False, output_bias=False), states_and_positions, (2, 3, VOCABULARY), "float32"),
    "apart_texts": (
        of(ApartTexts),
        lambda rows=2: [np.stack([token_ids(rows), token_ids(rows)], axis=1)],
        (4, LENGTH),
        "int32",
    ),
    "pair_features": (of(PairFeatures), vectors_of_pairs, (2, 4 * WIDTH)),
    "mean_pooling": (of(MeanPooling), states_and_mask, (2, WIDTH)),
    "next_sentence_head": (of(NextSentenceHead), states, (2, 2), "float32"),
}
WITHOUT_VARIABLES = ("apart_texts", "dropout", "mean_pooling", "pair_features")
each_layer = pytest.mark.parametrize("name", LAYERS)


@each_layer
@pytest.mark.parametrize("policy", POLICIES)
def test_it_holds_what_every_layer_must(name, policy, tmp_path):
    make, inputs, shape, *dtype = LAYERS[name]
    check(make, inputs(), shape, policy, tmp_path, *dtype)


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in WITHOUT_VARIABLES])
def test_bfloat16_sums_the_gradients_of_many_rows(name):
    make, inputs, *_ = LAYERS[name]
    check_gradient_of_many_rows(make("mixed_bfloat16"), inputs(1))


def test_sinusoid_is_interleaved():
    table = sinusoid(5, 6)
    assert table.shape == (5, 6)
    np.testing.assert_allclose(table[3, 2], np.sin(3 * 10000 ** (-2 / 6)), rtol=1e-6)
    np.testing.assert_allclose(table[3, 3], np.cos(3 * 10000 ** (-2 / 6)), rtol=1e-6)


def test_rotary_attention_equals_its_formula_and_sees_distances_alone():
    layer = SelfAttention(WIDTH, 2, rotary_base=100.0, dtype="float32")
    x = hidden_states()
    layer.build(x.shape)
    for variable in layer.trainable_variables:
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    kernel, bias = (to_numpy(variable) for variable in (layer.qkv.kernel, layer.qkv.bias))
    query, key, value = (
        part.reshape(2, LENGTH, 2, 8).transpose(0, 2, 1, 3) for part in np.split(x @ kernel + bias, 3, axis=-1)
    )

    def rotated(vectors, first):  # Pairs of values as complex numbers; position p turns pair i by p / base^(i / 4).
        turns = np.exp(1j * (first + np.arange(LENGTH))[:, None] * 100.0 ** (-np.arange(4) / 4))
        return (vectors[..., :4] + 1j * vectors[..., 4:]) * turns

    for first in (0, 7):  # All positions shifted alike change nothing.
        scores = np.real(rotated(query, first) @ np.conj(rotated(key, first)).swapaxes(2, 3)) / 8**0.5
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (weights / weights.sum(-1, keepdims=True)) @ value
        projection = [to_numpy(variable) for variable in layer.output_projection.trainable_variables]
        expected = attended.transpose(0, 2, 1, 3).reshape(2, LENGTH, WIDTH) @ projection[0] + projection[1]
        np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=1e-4, atol=1e-4)


def test_rotary_positions_need_heads_of_an_even_width():
    with pytest.raises(ValueError, match="even width"):
        SelfAttention(9, 3, rotary_base=100.0)


def test_scaled_sinusoidal_embedding_equals_its_formula():
    layer = embedding(position="scaled_sinusoidal", num_segments=0, norm=None)("float32")
    x = to_numpy(layer(token_ids()))
    np.testing.assert_allclose(float(to_numpy(layer.position_scale.value)), WIDTH**-0.5, rtol=1e-6)
    other = EncoderEmbedding(VOCABULARY, WIDTH, 8, position="scaled_sinusoidal", position_scale_start=0.02)
    other.build((None, 8))
    np.testing.assert_allclose(float(to_numpy(other.position_scale.value)), 0.02, rtol=1e-6)
    table = to_numpy(layer.token_table.embeddings.value)
    np.testing.assert_allclose(x, table[token_ids()] + WIDTH**-0.5 * sinusoid(LENGTH, WIDTH), atol=1e-6)


def test_embedding_without_segment_ids_equals_segment_zero():
    layer = embedding()("float32")
    np.testing.assert_array_equal(
        to_numpy(layer(token_ids())), to_numpy(layer(token_ids(), segment_ids=np.zeros_like(token_ids())))
    )


def test_embedding_refuses_rows_longer_than_its_positions():
    with pytest.raises(ValueError, match="9 tokens are longer than the model's 8 positions"):
        embedding()("float32")(np.zeros((1, 9), "int32"))


def test_mean_pooling_is_the_mean_over_the_tokens_that_are_there():
    x, mask = hidden_states(), np.array([[1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]], "int32")
    expected = np.stack([x[0, :4].mean(axis=0), x[1, 0]])
    np.testing.assert_allclose(to_numpy(MeanPooling()(x, mask)), expected, atol=1e-6)
    np.testing.assert_allclose(to_numpy(MeanPooling()(x, mask.astype(bool))), expected, atol=1e-6)
    np.testing.assert_allclose(to_numpy(MeanPooling()(x)), x.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(to_numpy(MeanPooling()(x, np.zeros_like(mask))), 0.0)


def test_features_of_a_pair_are_both_their_distance_and_their_product():
    x = hidden_states(4)[:, 0]  # the pairs 0, 1 and 2, 3
    u, v = x[::2], x[1::2]
    np.testing.assert_allclose(to_numpy(PairFeatures()(x)), np.hstack([u, v, abs(u - v), u * v]), atol=1e-6)
    ids = np.arange(2 * 2 * 3, dtype="int32").reshape(2, 2, 3)
    np.testing.assert_array_equal(to_numpy(ApartTexts()(ids)), ids.reshape(4, 3))


def test_dropout_of_zero_has_no_seed():
    layer = block()("float32")
    layer(hidden_states())
    assert layer.non_trainable_variables == []


def test_dropout_is_active_in_training_alone():
    layer = block(dropout=0.5, attention_dropout=0.5)("float32")
    x = hidden_states()
    np.testing.assert_array_equal(to_numpy(layer(x, training=False)), to_numpy(layer(x, training=False)))
    assert np.abs(to_numpy(layer(x, training=True)) - to_numpy(layer(x, training=False))).max() > 1e-2


@pytest.mark.parametrize("policy", POLICIES)
def test_dropout_drops_its_rate_and_scales_the_rest(policy):
    layer, x = Dropout(0.1, seed=7, dtype=policy), ops.ones((301, 1001))  # an odd number of values
    dropped = to_numpy(layer(x, training=True))
    assert abs((dropped == 0).mean() - 0.1) < 0.003  # five standard deviations
    np.testing.assert_allclose(np.unique(dropped), [0, 1 / 0.9], rtol=3e-3 if policy == "mixed_bfloat16" else 1e-4)
    kept = dropped != 0
    for axis in (0, 1):  # neighbours, which may come from one word of the generator, are independent
        pairs = np.logical_and(np.take(kept, range(300), axis), np.take(kept, range(1, 301), axis))
        assert abs(pairs.mean() - 0.81) < 0.006
    assert np.abs(to_numpy(layer(x, training=True)) - dropped).max() > 1  # another draw
    again = Dropout(0.1, seed=7, dtype=policy)
    np.testing.assert_array_equal(to_numpy(again(x, training=True)), dropped)
    np.testing.assert_array_equal(to_numpy(layer(x, training=False)), 1)


def test_the_gradient_of_dropout_is_its_mask():
    variable, layer = keras.Variable(hidden_states()), Dropout(0.5, seed=7)
    (gradient,) = gradient_of(lambda: ops.sum(layer(ops.convert_to_tensor(variable), training=True)), [variable])()
    again = Dropout(0.5, seed=7)(ops.ones(variable.shape), training=True)
    np.testing.assert_array_equal(gradient, to_numpy(again))


def test_the_softmax_of_bfloat16_has_float32_inside():
    logits = 2 * np.random.default_rng(0).normal(size=(64, 500)).astype("float32")
    logits = ops.cast(logits, "bfloat16")
    exponentials = np.exp(to_numpy(logits))
    expected = exponentials / exponentials.sum(-1, keepdims=True)
    np.testing.assert_allclose(to_numpy(softmax(logits, "bfloat16")), expected, rtol=2**-8)  # rounded once, at the end


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="oneDNN is TensorFlow's")
def test_the_softmax_of_bfloat16_has_float32_inside_without_onednn():
    this = f"{__file__}::test_the_softmax_of_bfloat16_has_float32_inside"
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", this]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout


def test_attention_in_parts_equals_that_of_keras():
    x, mask = states_and_mask()
    layer = SelfAttention(WIDTH, 4, dropout=1e-6)
    actual = layer(x, mask, training=True)
    query, key, value = np.split(to_numpy(layer.qkv(x)).reshape(len(x), LENGTH, 12, WIDTH // 4), 3, axis=2)
    expected = ops.dot_product_attention(query, key, value, mask=ops.cast(mask, "bool")[:, None, None, :])
    expected = layer.output_projection(ops.reshape(expected, x.shape))
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), atol=1e-5)


def test_attention_kernel_is_laid_out_query_key_value():
    layer = SelfAttention(WIDTH, 2, use_bias=False)
    x = hidden_states()
    actual = to_numpy(layer(x))
    parts = np.split(x @ to_numpy(layer.qkv.kernel.value), 3, axis=-1)
    q, k, v = (p.reshape(2, LENGTH, 2, WIDTH // 2).transpose(0, 2, 1, 3) for p in parts)
    scores = np.exp(q @ k.transpose(0, 1, 3, 2) / np.sqrt(WIDTH // 2))
    attended = (scores / scores.sum(-1, keepdims=True)) @ v
    expected = attended.transpose(0, 2, 1, 3).reshape(x.shape) @ to_numpy(layer.output_projection.kernel.value)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_padding_does_not_influence_other_positions(placement):
    layer = block(norm_placement=placement)("float32")
    x, mask = states_and_mask()
    other = np.where(mask[:, :, None], x, 9.0).astype("float32")
    before, after = (to_numpy(layer(z, padding_mask=mask)) for z in (x, other))
    np.testing.assert_allclose(after[:, :4], before[:, :4], atol=1e-6)


def test_no_mask_equals_a_mask_of_ones():
    layer = block()("float32")
    x = hidden_states()
    ones = np.ones((2, LENGTH), "int32")
    np.testing.assert_allclose(to_numpy(layer(x, padding_mask=ones)), to_numpy(layer(x)), atol=1e-6)


def exact_gelu(x):
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x / np.sqrt(2)))


def test_gated_feed_forward_equals_its_formula():
    layer = FeedForward(WIDTH, 32, gated=True)
    x = hidden_states()
    actual = to_numpy(layer(x))
    u, g = np.split(x @ to_numpy(layer.intermediate.kernel.value), 2, axis=-1)
    expected = (u * exact_gelu(g)) @ to_numpy(layer.output_projection.kernel.value)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_gelu_and_its_gradient_are_exact():
    x = np.linspace(-6, 6, 101).astype("float32")
    variable = keras.Variable(x)
    np.testing.assert_allclose(to_numpy(activate(ops.convert_to_tensor(x), "gelu")), exact_gelu(x), atol=1e-6)
    (gradient,) = gradient_of(lambda: ops.sum(activate(ops.convert_to_tensor(variable), "gelu")), [variable])()
    expected = (exact_gelu(x + 1e-4) - exact_gelu(x - 1e-4).astype("float64")) / 2e-4
    np.testing.assert_allclose(gradient, expected, atol=5e-3)


def test_a_factor_of_gelu_has_its_gradient():
    x, factor = np.linspace(-6, 6, 102).astype("float32").reshape(2, 51)
    variables = [keras.Variable(x), keras.Variable(factor)]

    def value():
        x, factor = map(ops.convert_to_tensor, variables)
        return ops.sum(activate(x, "gelu", factor))

    actual = gradient_of(value, variables)()
    slope = (exact_gelu(x + 1e-4) - exact_gelu(x - 1e-4).astype("float64")) / 2e-4
    np.testing.assert_allclose(actual, [factor * slope, exact_gelu(x)], atol=3e-2)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dropout", [False, True])
def test_the_closed_gradient_of_attention_is_that_of_its_formula(masked, dropout):
    generator, shape = np.random.default_rng(0), (2, LENGTH, 3, 2, WIDTH // 2)
    x, upstream = generator.normal(size=shape).astype("float32"), generator.normal(size=(2, LENGTH, 2, WIDTH // 2))
    mask = ops.cast(states_and_mask()[1], "bool")[:, None, None, :] if masked else None
    kept = ops.convert_to_tensor(2.0 * generator.integers(0, 2, (2, 2, LENGTH, LENGTH)), "float32") if dropout else None
    variable, upstream = keras.Variable(x), ops.convert_to_tensor(upstream, "float32")
    (expected,) = gradient_of(
        lambda: ops.sum(attention.attend(ops.convert_to_tensor(variable), mask, kept)[0] * upstream), [variable]
    )()
    actual = attention.attend(ops.convert_to_tensor(x), mask, kept)[1](upstream)
    np.testing.assert_allclose(to_numpy(actual), expected, atol=1e-5)


def test_layer_normalization_and_its_gradient_are_those_of_keras():
    x = hidden_states()
    weights = ops.convert_to_tensor(np.random.default_rng(1).normal(size=x.shape), "float32")
    found = []
    for kind in (LayerNormalization, keras.layers.LayerNormalization):
        layer, variable = kind(epsilon=1e-12), keras.Variable(3 * x + 1)
        layer.build(x.shape)
        layer.gamma.assign(np.linspace(-1, 2, WIDTH))
        layer.beta.assign(np.linspace(-1, 1, WIDTH))
        gradients = gradient_of(
            lambda v=variable, f=layer: ops.sum(f(ops.convert_to_tensor(v)) * weights), [variable, *layer.weights]
        )()
        found.append([to_numpy(layer(x)), *gradients])
    for actual, expected in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_rms_normalization_equals_its_formula_in_bfloat16():
    layer = RMSNormalization(epsilon=1e-12, dtype="mixed_bfloat16")
    x = ops.cast(hidden_states(), "bfloat16")
    layer.build(x.shape)
    layer.scale.assign(np.linspace(0.999, 1.001, WIDTH))
    wide = to_numpy(x)
    expected = wide / np.sqrt((wide**2).mean(-1, keepdims=True)) * np.linspace(0.999, 1.001, WIDTH)
    np.testing.assert_allclose(to_numpy(layer(x)), expected, rtol=2**-8)


def test_head_equals_its_formula():
    layer = head()("float32")
    x, at = states_and_positions()
    layer(x, at)
    for variable in layer.weights:
        variable.assign(np.random.default_rng(variable.shape[0]).normal(size=variable.shape))
    gathered = np.take_along_axis(x, at[:, :, None], axis=1)
    y = exact_gelu(gathered @ to_numpy(layer.transform_dense.kernel.value) + to_numpy(layer.transform_dense.bias.value))
    y = (y - y.mean(-1, keepdims=True)) / y.std(-1, keepdims=True)
    y = y * to_numpy(layer.transform_norm.gamma.value) + to_numpy(layer.transform_norm.beta.value)
    expected = y @ to_numpy(layer.token_embedding.embeddings.value).T + to_numpy(layer.bias.value)
    np.testing.assert_allclose(to_numpy(layer(x, at)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EncoderBlock(WIDTH, 4, 32, norm_placement="middle"), "norm_placement='middle'"),
        (lambda: EncoderBlock(WIDTH, 4, 32, norm="batch_norm"), "norm='batch_norm'"),
        (lambda: FeedForward(WIDTH, 32, activation="relu"), "activation='relu'"),
        (lambda: FeedForward(WIDTH, 33, gated=True), "intermediate_dim=33"),
        (lambda: EncoderEmbedding(VOCABULARY, WIDTH, position="alibi"), "position='alibi'"),
        (lambda: SelfAttention(WIDTH, 3), "num_heads=3"),
    ],
)
def test_arguments_that_cannot_work_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_dense_layers_quantize():
    layer = FeedForward(WIDTH, 32)
    x = hidden_states()
    model = keras.Sequential([keras.Input((LENGTH, WIDTH)), layer])
    before = to_numpy(model(x))
    model.quantize("int8")
    assert layer.intermediate.kernel.dtype == "int8"
    np.testing.assert_allclose(to_numpy(model(x)), before, atol=1e-2)
