"""float16 in the engine; a model without attention where the backend's CPU attention knows no float16."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.batches import stack
from budgetbert.layers import EncoderEmbedding, FeedForward, MaskedLMHead
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling
from tests.training.runs import train

ROWS = 8


def skip_on_jax():
    if keras.backend.backend() == "jax":
        pytest.skip("JAX's attention on a CPU: \"precision 'F16_F16_F32' is not supported by dot_general on CPU\"")


def model_without_attention(precision):
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    others = [keras.Input((None,), dtype="int32", name=n, optional=True) for n in ("padding_mask", "segment_ids")]
    positions = keras.Input((None,), dtype="int32", name="mask_positions")
    embedding = EncoderEmbedding(256, 32, dtype=precision)
    x = embedding(token_ids)
    x = x + FeedForward(32, 64, dtype=precision)(x)
    head = MaskedLMHead(embedding.token_table, dtype=precision)
    inputs = {layer.name: layer for layer in (token_ids, *others)}
    model = keras.Model({**inputs, "mask_positions": positions}, head(x, positions))
    model.backbone, model.head, model.output_bias = keras.Model(inputs, x), head, True
    model.backbone.token_embedding = embedding.token_table
    return model


def make(precision="mixed_float16", clip_norm=None, optimizer=None, build=model_without_attention):
    keras.utils.set_random_seed(0)
    return make_step(build(precision), optimizer or keras.optimizers.SGD(), MaskedLanguageModeling(), clip_norm)


@pytest.fixture
def batch():
    generator = np.random.default_rng(0)
    positions = np.stack([generator.permutation(32)[:5] for _ in range(ROWS)]).astype("int32")
    return {
        "token_ids": generator.integers(5, 256, (ROWS, 32)).astype("int32"),
        "mask_positions": positions,
        "labels": generator.integers(5, 256, (ROWS, 5)).astype("int32"),
        "weights": (generator.random((ROWS, 5)) < 0.8).astype("float32"),
    }


def state_of(step):
    step.synchronize()
    return [ops.convert_to_numpy(v).copy() for v in (*step.model.trainable_variables, *step.optimizer.variables)]


def take_step(step, *batches, learning_rate=1.0):
    for number, batch in enumerate(batches):
        step.accumulate(stack([batch], 2), 1, number)
    return {name: float(value) for name, value in step.apply(learning_rate).items()}


def change(step, *batches):
    """The change of the weights by one step, with SGD of rate 1 the gradient of the batch."""
    before = state_of(step)[: len(step.variables)]
    scalars = take_step(step, *batches)
    after = state_of(step)[: len(step.variables)]
    return np.concatenate([(new - old).ravel() for old, new in zip(before, after, strict=True)]), scalars


def error(one, other):
    return np.linalg.norm(one - other) / np.linalg.norm(other)


def test_the_step_is_that_of_float32_whatever_the_scale_and_the_split(batch):
    expected, single = change(make("float32"), batch)
    halves = [{name: array[part] for name, array in batch.items()} for part in (slice(0, 2), slice(2, ROWS))]
    step = make()
    start = step.model.get_weights()
    for scale, batches in ((2.0**15, [batch]), (2.0**10, [batch]), (2.0**10, halves)):
        step.model.set_weights(start)
        step.reload()
        step.scale_state = {"scale": scale, "good_steps": 0}
        gradient, scalars = change(step, *batches)
        assert error(gradient, expected) < 5e-3
        assert scalars["loss_scale"] == scale
        assert scalars["gradient_norm"] == pytest.approx(single["gradient_norm"], rel=5e-3)
        assert scalars["loss"] == pytest.approx(single["loss"], rel=1e-3)
    assert "loss_scale" not in single


def test_gradients_below_what_float16_can_hold_are_kept_by_the_scale(batch):
    # a loss 2^-22 of its size; the division by the weights makes the gradient what it was
    expected, _ = change(make("float32"), batch)
    faint = {**batch, "weights": batch["weights"] * 2.0**-22}
    step = make()
    start = step.model.get_weights()
    for scale, lowest, highest in ((2.0**22, 0, 5e-3), (1.0, 0.3, 2.0)):
        step.model.set_weights(start)
        step.reload()
        step.scale_state = {"scale": scale, "good_steps": 0}
        assert lowest <= error(change(step, faint)[0], expected) <= highest


def test_clipping_comes_after_unscaling(batch):
    gradient, scalars = change(make(clip_norm=0.01), batch)
    assert scalars["loss_scale"] == 2.0**15
    assert scalars["gradient_norm"] > 0.1
    assert np.linalg.norm(gradient) == pytest.approx(0.01, rel=1e-3)


def test_an_overflow_skips_the_step_and_halves_the_scale_until_there_is_none(batch):
    step = make(optimizer=keras.optimizers.AdamW(weight_decay=0.1))
    before = state_of(step)
    step.scale_state = {"scale": 2.0**30, "good_steps": 1234}
    skipped = 0
    while not np.isfinite(take_step(step, batch, learning_rate=1e-3)["gradient_norm"]):
        skipped += 1
        assert step.scale_state == {"scale": 2.0 ** (30 - skipped), "good_steps": 0}
        assert all((old == new).all() for old, new in zip(before, state_of(step), strict=True))
    assert 5 < skipped < 25
    assert step.scale_state == {"scale": 2.0 ** (30 - skipped), "good_steps": 1}
    after = state_of(step)  # on JAX this brings the variables up to date
    assert int(ops.convert_to_numpy(step.optimizer.iterations)) == 1
    for variable, old, new in zip(step.variables, before, after, strict=False):
        if variable.path.endswith("kernel"):
            assert (old != new).any()


def test_a_weight_that_is_infinite_skips_the_step(batch):
    step = make()
    kernel = next(v for v in step.variables if v.path.endswith("kernel"))
    value = ops.convert_to_numpy(kernel).copy()
    kernel.assign(np.full_like(value, np.inf))
    step.reload()
    before = state_of(step)
    assert not np.isfinite(take_step(step, batch)["gradient_norm"])
    assert all((old == new).all() for old, new in zip(before, state_of(step), strict=True))
    assert step.scale_state["scale"] == 2.0**14


def test_after_2000_good_steps_the_scale_doubles(batch):
    step = make()
    step.scale_state = {"scale": 256.0, "good_steps": 1998}
    seen = [take_step(step, batch, learning_rate=0.0)["loss_scale"] for _ in range(3)]
    assert seen == [256.0, 256.0, 512.0]
    assert step.scale_state == {"scale": 512.0, "good_steps": 1}
    step.reset_optimizer()
    assert step.scale_state == {"scale": 2.0**15, "good_steps": 0}
    assert step.loss_divisor is None


def test_a_resumed_step_multiplies_the_loss_by_what_the_undisturbed_one_does(batch):
    step = make(optimizer=keras.optimizers.AdamW())
    quarters = [{name: array[i : i + 2] for name, array in batch.items()} for i in range(0, ROWS, 2)]
    take_step(step, batch)
    assert step.loss_divisor == ROWS  # of the first micro-batch
    # The highest scale of which these micro-batches of two rows do not overflow: four times of it would.
    step.scale_state = {"scale": 2.0**30, "good_steps": 0}
    while not np.isfinite(take_step(step, *quarters, learning_rate=1e-3)["gradient_norm"]):
        pass
    saved, arrays = json.loads(json.dumps(step.state)), state_of(step)

    def resumed(state):
        other = make(optimizer=keras.optimizers.AdamW())
        for variable, value in zip((*other.variables, *other.optimizer.variables), arrays, strict=True):
            variable.assign(value)
        other.load(state)
        return other

    other, earlier = resumed(saved), resumed({name: saved[name] for name in ("seeds", "loss_scale")})
    undisturbed = take_step(step, *quarters, learning_rate=1e-3)
    assert np.isfinite(undisturbed["gradient_norm"])
    assert take_step(other, *quarters, learning_rate=1e-3) == undisturbed
    assert all((one == two).all() for one, two in zip(state_of(step), state_of(other), strict=True))
    assert other.state == step.state
    # A state of an earlier version opens; as it was there, the next micro-batch says what the loss is divided by.
    assert not np.isfinite(take_step(earlier, *quarters, learning_rate=1e-3)["gradient_norm"])
    assert earlier.loss_divisor == 2


def test_only_float16_has_a_scale():
    assert make("mixed_bfloat16").scale_state is None
    step = make("float32")
    step.scale_state = None
    with pytest.raises(ValueError, match="belongs to float16"):
        step.scale_state = {"scale": 1.0, "good_steps": 0}


def test_a_model_with_attention_trains_in_float16(batch):
    skip_on_jax()

    def build(precision):
        return BertBudgetMaskedLM.from_preset(
            "tiny_24h", load_weights=False, vocabulary_size=256, num_layers=1, dropout=0.0, dtype=precision
        )

    expected, _ = change(make("float32", build=build), batch)
    gradient, scalars = change(make(build=build), batch)
    assert error(gradient, expected) < 1e-2
    assert scalars["loss_scale"] == 2.0**15


@pytest.mark.slow
def test_a_run_in_float16_logs_its_scale_and_resumes_with_it(small_corpus, tmp_path):
    skip_on_jax()
    flags = {"precision": "mixed_float16", "budget": "6steps"}
    whole = train(small_corpus.directory, tmp_path / "whole", **flags)
    assert train(small_corpus.directory, tmp_path / "halves", stop_at=0.5, **flags) is None
    halves = train(small_corpus.directory, tmp_path / "halves", **flags)
    for one, other in zip(whole.get_weights(), halves.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    states, scales = [], []
    for name in ("whole", "halves"):
        state = json.loads((tmp_path / name / "checkpoints" / "step-00000006" / "state.json").read_text())
        states.append(state["step"]["loss_scale"])
        lines = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        scales.append([line["loss_scale"] for line in lines if "loss_scale" in line][-1])
    assert states[0] == states[1]
    assert scales[0] == scales[1]
    assert 2.0**9 <= states[0]["scale"] <= scales[0] <= 2.0**15  # at most one overflow a step
