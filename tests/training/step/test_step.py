import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.batches import Loader, Masking, stack
from budgetbert.layers import SelfAttention, feed_forward, heads
from budgetbert.layers.norms import LayerNormalization
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.optimizers import Lamb, Muon, exclude_from_weight_decay, is_decayed
from budgetbert.training.step.base import make_step
from budgetbert.training.step.losses import cross_entropy
from budgetbert.training.step.objectives import MaskedLanguageModeling

CAPACITY = 4


def make(clip_norm=None, dropout=0.0, optimizer=None, objective=None, preset="tiny_24h", **sizes):
    keras.utils.set_random_seed(0)
    sizes = {"vocabulary_size": 256, "num_layers": 1, **sizes}
    model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dropout=dropout, **sizes)
    optimizer = optimizer or keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.01)
    exclude_from_weight_decay(optimizer, model.trainable_variables)
    return make_step(model, optimizer, objective or MaskedLanguageModeling(), clip_norm)


class Counting(MaskedLanguageModeling):
    """Counts its calls: once a trace, where functions are compiled."""

    calls = 0

    def __call__(self, *arguments, **keywords):
        self.calls += 1
        return super().__call__(*arguments, **keywords)


@pytest.fixture
def loader(small_corpus):
    masking = Masking(0.15, small_corpus.vocabulary, small_corpus.special_ids, seed=1)
    return Loader(small_corpus.rows("train"), masking, seed=1)


class UnevenLoader:
    """A loader of whose rows every third predicts nothing, and the others fewer and fewer tokens."""

    def __init__(self, loader):
        self.loader = loader

    def micro_batch(self, first, rows):
        batch = self.loader.micro_batch(first, rows)
        number = first + np.arange(rows)
        left = np.where(number % 3 == 0, 0, 5 - number // 4)
        batch["weights"] *= np.arange(batch["weights"].shape[1]) < left[:, None]
        return batch


def weights(step):
    step.synchronize()
    return {v.path: ops.convert_to_numpy(v).copy() for v in step.model.trainable_variables}


def start_again(step, start):
    """Back to the first weights and an unused optimizer: cheaper than another model to compile."""
    for variable in step.model.trainable_variables:
        variable.assign(start[variable.path])
    step.reset_optimizer()


def train(step, loader, rows, calls, learning_rate=1e-3, first=0):
    """One step: micro-batches of `rows` rows, `calls` the number of them in each call."""
    done = 0
    for count in calls:
        batches = [loader.micro_batch(first + (done + i) * rows, rows) for i in range(count)]
        step.accumulate(stack(batches, CAPACITY), count, first // rows + done)
        done += count
    return {name: float(value) for name, value in step.apply(learning_rate).items()}


def equal(one, other):
    return all((one[path] == other[path]).all() for path in one)


def test_any_split_into_micro_batches_gives_the_same_gradient(loader):
    # with SGD the change of the weights is the gradient
    changes = []
    loader = UnevenLoader(loader)
    assert len({loader.micro_batch(first, 4)["weights"].sum() for first in range(0, 16, 4)}) == 4
    step = make(optimizer=keras.optimizers.SGD())
    before = weights(step)
    for rows, calls in ((16, (1,)), (4, (4,)), (4, (1, 3)), (8, (1, 1))):
        start_again(step, before)
        train(step, loader, rows, calls, learning_rate=1.0)
        after = weights(step)
        changes.append(np.concatenate([(after[path] - before[path]).ravel() for path in before]))
    for change in changes[1:]:
        assert np.linalg.norm(change - changes[0]) / np.linalg.norm(changes[0]) < 1e-6


def test_how_many_micro_batches_a_call_runs_changes_no_bit(loader):
    results = []
    step = make(dropout=0.1)
    start = weights(step)
    for calls in ((4,), (1, 3), (2, 2)):
        start_again(step, start)
        for number in range(2):
            train(step, loader, 4, calls, first=16 * number)
        results.append(weights(step))
    assert equal(results[0], results[1])
    assert equal(results[0], results[2])


def test_dropout_is_active_and_a_function_of_the_micro_batch_number(loader):
    losses = []
    without, with_dropout = make(), make(dropout=0.1)
    for step, number in ((without, 0), (with_dropout, 0), (with_dropout, 0), (with_dropout, 1)):
        step.accumulate(stack([loader.micro_batch(0, 8)], CAPACITY), 1, number)
        losses.append(float(step.apply(0.0)["loss"]))
    assert losses[1] == losses[2]
    assert len(set(losses)) == 3


def test_a_step_is_that_of_adamw_as_published(loader):
    """Against NumPy: Loshchilov & Hutter's rule on the gradient that SGD shows, decay only where it belongs."""
    rate, beta_2, epsilon, decay = 1e-3, 0.98, 1e-6, 0.01
    reference = make(optimizer=keras.optimizers.SGD())
    before = weights(reference)
    train(reference, loader, 8, (1,), learning_rate=1.0)
    gradient = {path: before[path] - value for path, value in weights(reference).items()}
    step = make()
    decayed = {v.path.split("/", 1)[-1]: is_decayed(v) for v in step.model.trainable_variables}
    train(step, loader, 8, (1,), learning_rate=rate)
    checked = 0
    for path, after in weights(step).items():
        old, slope = before[path], gradient[path]
        # m / sqrt(v) of the first step, with Keras's epsilon
        change = slope / (np.abs(slope) + epsilon / np.sqrt(1 - beta_2))
        expected = old * (1 - rate * decay * decayed[path.split("/", 1)[-1]]) - rate * change
        # the gradient is known to 6e-8 of the weight it was added to, so only clear ones are compared
        clear = np.abs(slope) > 1e-4
        np.testing.assert_allclose(after[clear], expected[clear], atol=2e-6)
        checked += clear.sum()
    assert checked > 1000


def test_clipping_bounds_the_gradient_of_the_whole_batch_and_norms_are_reported(loader):
    step = make(clip_norm=0.01, optimizer=keras.optimizers.SGD())
    before = weights(step)
    norm = np.sqrt(sum(np.sum(value.astype("float64") ** 2) for value in before.values()))
    scalars = train(step, UnevenLoader(loader), 4, (1, 3), learning_rate=1.0)
    assert scalars["parameter_norm"] == pytest.approx(norm, rel=1e-5)
    change = np.sqrt(sum(np.sum((value - before[path]) ** 2) for path, value in weights(step).items()))
    assert scalars["gradient_norm"] > 0.02
    assert change == pytest.approx(0.01, rel=1e-3)


def test_the_number_of_micro_batches_changes_without_a_new_trace(loader):
    if keras.backend.backend() == "torch":
        pytest.skip("torch runs eagerly and traces nothing")
    step = make(objective=Counting())
    calls = []
    for count in (2, 1, 4, 3):
        train(step, loader, 4, (count,))
        calls.append(step.objective.calls)
    assert calls == [calls[0]] * 4


def test_a_batch_of_65536_rows_is_one_step():
    # 64 times the same 1,024 rows: their gradient, but for rounding
    sizes = {
        "vocabulary_size": 16,
        "hidden_dim": 8,
        "num_heads": 1,
        "intermediate_dim": 8,
        "max_sequence_length": 8,
    }
    generator = np.random.default_rng(0)
    batch = {
        "token_ids": generator.integers(0, 16, (1024, 8)).astype("int32"),
        "mask_positions": generator.integers(0, 8, (1024, 1)).astype("int32"),
        "labels": generator.integers(0, 16, (1024, 1)).astype("int32"),
        "weights": np.ones((1024, 1), "float32"),
    }
    changes = []
    step = make(optimizer=keras.optimizers.SGD(), **sizes)
    before = weights(step)
    for calls in (1, 16):
        start_again(step, before)
        for call in range(calls):
            step.accumulate(stack([batch] * CAPACITY, CAPACITY), CAPACITY, call * CAPACITY)
        scalars = step.apply(1.0)
        changes.append(np.concatenate([(value - before[path]).ravel() for path, value in weights(step).items()]))
    assert float(scalars["weight"]) == 65536
    assert np.linalg.norm(changes[1] - changes[0]) / np.linalg.norm(changes[0]) < 1e-5


def test_a_step_with_a_gradient_that_is_not_finite_is_skipped(loader):
    step = make()
    train(step, loader, 4, (1,))
    before = weights(step)
    slots = [ops.convert_to_numpy(v).copy() for v in step.optimizer.variables]
    batch = loader.micro_batch(0, 4)
    batch["weights"][0, 0] = np.inf
    step.accumulate(stack([batch], CAPACITY), 1, 0)
    assert not np.isfinite(float(step.apply(1e-3)["gradient_norm"]))
    assert equal(before, weights(step))
    for slot, old in zip(step.optimizer.variables, slots, strict=True):
        assert (ops.convert_to_numpy(slot) == old).all(), slot.path
    assert int(ops.convert_to_numpy(step.optimizer.iterations)) == 1
    assert np.isfinite(train(step, loader, 4, (1,))["gradient_norm"])
    assert not equal(before, weights(step))


def test_dropped_sums_leave_no_trace(loader):
    step = make()
    start = weights(step)
    train(step, loader, 4, (2,))
    expected = weights(step)
    start_again(step, start)
    step.accumulate(stack([loader.micro_batch(400, 4)], CAPACITY), 1, 0)
    step.drop()
    train(step, loader, 4, (2,))
    assert equal(weights(step), expected)


def test_the_optimizer_can_be_set_back_to_its_start(loader):
    step = make()
    start = weights(step)
    train(step, loader, 4, (2,))
    expected = weights(step)
    train(step, loader, 4, (1,), first=8)
    start_again(step, start)
    train(step, loader, 4, (2,))
    assert equal(weights(step), expected)


def test_evaluation_changes_nothing_and_counts_hits(loader):
    step = make(dropout=0.5)
    before = weights(step)
    batch = loader.micro_batch(0, 8)
    first, second = ({k: float(v) for k, v in step.evaluate(batch).items()} for _ in range(2))
    assert first == second  # no dropout
    assert equal(before, weights(step))
    inputs = {"token_ids": batch["token_ids"], "padding_mask": None, "segment_ids": None}
    logits = ops.convert_to_numpy(step.model({**inputs, "mask_positions": batch["mask_positions"]}))
    assert first["accuracy"] == (logits.argmax(-1) == batch["labels"]).sum()
    assert first["weight"] == batch["weights"].sum()


class Plain(MaskedLanguageModeling):
    """Through the logits, as the formula is written."""

    def __call__(self, model, batch, training):
        logits, weights = model(self.inputs(batch), training=training and self._dropout), batch["weights"]
        return ops.sum(cross_entropy(batch["labels"], logits) * weights), ops.sum(weights), {}


def plain_attention(layer, x, mask, training):
    return ops.dot_product_attention(*ops.unstack(x, 3, axis=2), mask=mask)


def plain_activation(x, activation, factor=None):
    x = ops.gelu(x, approximate=activation == "gelu_approximate")
    return x if factor is None else factor * x


@pytest.mark.parametrize("preset", ["tiny_24h", "tiny_crammed"])  # with and without a gate
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 1e-5), pytest.param("mixed_bfloat16", 2e-3, marks=pytest.mark.slow)]
)
def test_50_steps_have_the_losses_of_the_plain_formulas(loader, monkeypatch, preset, precision, tolerance):
    losses = []
    for objective in (MaskedLanguageModeling(), Plain()):
        step = make(clip_norm=1.0, objective=objective, preset=preset, dtype=precision)
        assert step.model.head.compute_dtype == precision.removeprefix("mixed_")
        losses.append([train(step, loader, 8, (1,), first=8 * number)["loss"] for number in range(50)])
        monkeypatch.setattr(SelfAttention, "_attend", plain_attention)  # of the second, as what follows
        for module in (feed_forward, heads):
            monkeypatch.setattr(module, "activate", plain_activation)
        monkeypatch.setattr(LayerNormalization, "call", keras.layers.LayerNormalization.call)
    np.testing.assert_allclose(*losses, rtol=tolerance)
    assert losses[0][-1] < 0.9 * losses[0][0]


@pytest.mark.parametrize("make_optimizer", [keras.optimizers.AdamW, Lamb, Muon])
def test_what_is_not_trained_stays_to_the_bit_and_does_not_count_in_the_norm(loader, make_optimizer):
    step = make(optimizer=make_optimizer(1e-3, weight_decay=0.5))
    before = weights(step)
    norm_of_all = train(step, loader, 8, (1,), learning_rate=0.0)["gradient_norm"]
    start_again(step, before)
    step.train_only(lambda variable: "block_" not in variable.path)
    norm = train(step, loader, 8, (1,))["gradient_norm"]
    after = weights(step)
    assert {path for path in before if (before[path] != after[path]).any()} == {
        path for path in before if "block_" not in path
    }
    assert 0 < norm < norm_of_all
    step.train_only(lambda variable: True)
    train(step, loader, 8, (1,))
    last = weights(step)
    assert all((after[path] != last[path]).any() for path in after)
