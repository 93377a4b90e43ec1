"""`remat`: blocks that are computed again in the backward pass, with the dropout of the first time."""

import zipfile

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert.batches import stack
from budgetbert.layers import EncoderBlock
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling

ROWS, LENGTH, PREDICTIONS, VOCABULARY = 8, 32, 5, 256


def make(preset="tiny_24h", dtype="float32", optimizer=None, **sizes):
    keras.utils.set_random_seed(0)
    sizes = {"vocabulary_size": VOCABULARY, "dropout": 0.1, **sizes}
    model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, dtype=dtype, **sizes)
    optimizer = optimizer or keras.optimizers.AdamW(beta_1=0.9, beta_2=0.98, epsilon=1e-6, weight_decay=0.01)
    exclude_from_weight_decay(optimizer, model.trainable_variables)
    return make_step(model, optimizer, MaskedLanguageModeling())


def batch(number, rows=ROWS, length=LENGTH, predictions=PREDICTIONS):
    """A micro-batch of random tokens, of which the last three of each row are padding."""
    draw = np.random.default_rng(number).integers
    padding_mask = np.repeat(np.arange(length)[None] < length - 3, rows, axis=0)
    return {
        "token_ids": draw(5, VOCABULARY, (rows, length)).astype("int32"),
        "padding_mask": padding_mask.astype("int32"),
        "mask_positions": np.tile(np.arange(predictions, dtype="int32"), (rows, 1)),
        "labels": draw(5, VOCABULARY, (rows, predictions)).astype("int32"),
        "weights": np.ones((rows, predictions), "float32"),
    }


def train(step, start, remat, steps=5, first=0):
    """Returns the losses of steps of two micro-batches, from the same start, and the weights after them.

    Dropout's masks are those of the micro-batches numbered from `first` on.
    """
    step.remat = remat
    for variable, value in zip(step.model.trainable_variables, start, strict=True):
        variable.assign(value)
    step.reset_optimizer()
    losses = []
    for number in range(steps):
        step.accumulate(stack([batch(2 * number), batch(2 * number + 1)], 2), 2, first + 2 * number)
        losses.append(float(step.apply(1e-3)["loss"]) / (2 * ROWS * PREDICTIONS))
    step.synchronize()
    return losses, arrays(step.model.trainable_variables)


def arrays(tensors):
    return [np.array(ops.convert_to_numpy(ops.stop_gradient(tensor))) for tensor in tensors]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_five_steps_with_dropout_are_the_same_with_and_without(dtype):
    step = make(dtype=dtype)
    start = arrays(step.model.trainable_variables)
    losses, weights = train(step, start, remat=False)
    again, recomputed = train(step, start, remat=True)
    assert len(set(losses)) == 5
    differ = max(np.abs(one - other).max() for one, other in zip(weights, recomputed, strict=True))
    if keras.backend.backend() == "torch":
        assert again == losses and differ == 0
    else:
        # XLA and TensorFlow fuse other operations with each other, and so round at other places; bfloat16 to 2^-9.
        tolerance = 2e-6 if dtype == "float32" else 4e-3
        assert again == pytest.approx(losses, abs=tolerance)
        assert differ < tolerance
    # Other masks would tell.
    other, _ = train(step, start, remat=True, steps=1, first=1000)
    assert abs(other[0] - losses[0]) > 1e-3


def test_setting_it_back_computes_as_before():
    step = make(num_layers=1)
    start = arrays(step.model.trainable_variables)
    first, _ = train(step, start, remat=False, steps=2)
    train(step, start, remat=True, steps=1)
    assert train(step, start, remat=False, steps=2)[0] == first


def test_a_block_by_itself_draws_new_masks_at_each_call():
    blocks = [EncoderBlock(16, 2, 32, dropout=0.5, attention_dropout=0.5) for _ in range(2)]
    x = np.random.default_rng(0).normal(size=(2, 6, 16)).astype("float32")
    states = []
    for block in blocks:
        block.build(x.shape)
        states.append([v for v in block.non_trainable_variables if v.path.endswith("seed_generator_state")])
    for one, other in zip(blocks[0].variables, blocks[1].variables, strict=True):
        other.assign(one)
    plain, recomputed = blocks
    recomputed.remat = True

    def draw(block):
        return arrays([block(x, training=True)])[0]

    keras.utils.set_random_seed(1)  # On torch dropout draws from torch's own generator.
    expected = [draw(plain), draw(plain)]
    keras.utils.set_random_seed(1)
    found = [draw(recomputed), draw(recomputed)]
    assert np.abs(expected[0] - expected[1]).max() > 1e-3
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-6)
    one, other = arrays([plain(x), recomputed(x)])
    np.testing.assert_allclose(other, one, atol=1e-6)


def test_no_file_has_it(tmp_path):
    model = make(num_layers=1).model
    model.save(tmp_path / "kept.keras")
    model.backbone.remat = True
    model.save(tmp_path / "recomputed.keras")
    configs = [zipfile.ZipFile(tmp_path / name).read("config.json") for name in ("kept.keras", "recomputed.keras")]
    assert configs[0] == configs[1]
    loaded = keras.models.load_model(tmp_path / "recomputed.keras")
    assert model.backbone.remat and not loaded.backbone.remat
    for one, other in zip(model.get_weights(), loaded.get_weights(), strict=True):
        assert (one == other).all()


def test_it_holds_less_than_half_of_the_activations():
    step = make(num_layers=8)
    held = {False: 0, True: 0}
    for remat in held:
        step.remat = remat
        if keras.backend.backend() == "jax":
            compiled = step.compile_accumulate(stack([batch(0, 16, 64)], 2))
            held[remat] = compiled.memory_analysis().temp_size_in_bytes
        elif keras.backend.backend() == "torch":
            held[remat] = saved_for_backward(lambda: step.objective(step.model, tensors(batch(0, 16, 64)), True))
        else:
            pytest.skip("TensorFlow gives no account of its memory on a CPU")
    assert held[True] < held[False] / 2


@pytest.mark.soak
def test_bert_large_at_8_rows_holds_less_than_half():
    """Compiles the two steps, which takes minutes and 6 GB, and runs neither."""
    if keras.backend.backend() != "jax":
        pytest.skip("only JAX's compiler gives an account")
    # Without the optimizer's slots, which `accumulate` does not see.
    step = make("bert_large_24h", vocabulary_size=30528, optimizer=keras.optimizers.SGD())
    held = {}
    for remat in (False, True):
        step.remat = remat
        compiled = step.compile_accumulate(stack([batch(0, 8, 128, 20)], 2))
        held[remat] = compiled.memory_analysis().temp_size_in_bytes
        print(f"bert_large_24h, 8 rows of 128, float32, remat {remat}: {held[remat] / 1e9:.2f} GB of temporaries")
    assert held[True] < held[False] / 2


def tensors(arrays):
    return {name: ops.convert_to_tensor(array) for name, array in arrays.items()}


def saved_for_backward(function):
    """Returns the bytes of the tensors that torch keeps of a function for its backward pass, the weights left out."""
    import torch

    kept = {}

    def pack(tensor):
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        function()
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
