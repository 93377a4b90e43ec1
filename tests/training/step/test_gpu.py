"""The step as JAX computes it on a GPU, against that on a CPU, where it runs."""

import functools

import numpy as np
import pytest

from budgetbert.batches import Loader, Masking, stack
from budgetbert.layers import gpu
from tests.training.step.test_step import make, start_again, weights

pytestmark = pytest.mark.any_backend


@pytest.fixture
def batches(small_corpus):
    masking = Masking(0.15, small_corpus.vocabulary, small_corpus.special_ids, seed=1)
    loader = Loader(small_corpus.rows("train"), masking, seed=1)
    return [stack([loader.micro_batch(8 * number, 8)], 1) for number in range(50)]


@pytest.fixture
def stepped():
    """A step of a small model, without the levers that were turned off while it ran."""
    before = set(gpu._off)
    yield make(preset="tiny_24h", hidden_dim=32, num_heads=2, intermediate_dim=64, dtype="mixed_bfloat16")
    gpu._off.intersection_update(before)


def losses(step, batches):
    found = []
    for number, batch in enumerate(batches):
        step.accumulate(batch, 1, number)
        scalars = step.apply(1e-3)
        found.append(float(scalars["loss"]) / float(scalars["weight"]))
    return np.array(found)


@pytest.mark.slow
def test_fifty_steps_are_those_of_the_plain_formulas(stepped, batches, monkeypatch):
    from budgetbert.layers import attention_kernel

    start = weights(stepped)
    plain = losses(stepped, batches)
    kernel = functools.partial(attention_kernel.attend, interpret=True)
    monkeypatch.setattr(attention_kernel, "attend", kernel)
    start_again(stepped, start)
    with gpu.described():
        stepped._compile()
        stepped._compile_apply()
        found = losses(stepped, batches)
    assert plain[-1] < plain[0] - 0.5
    np.testing.assert_allclose(found, plain, rtol=3e-3)


def test_what_cannot_be_compiled_is_left_out_with_a_sentence(stepped, batches, capsys):
    start = weights(stepped)
    wanted = losses(stepped, batches[:2])
    start_again(stepped, start)
    with gpu.described():
        stepped._compile()
        # The kernel, which is not interpreted here, has no compiler on a CPU.
        found = losses(stepped, batches[:2])
        told = capsys.readouterr().err
        assert not gpu.uses("attention")
        assert gpu.uses("dropout")
        losses(stepped, batches[:1])
    np.testing.assert_allclose(found, wanted, rtol=3e-3)
    assert told.count("\n") == 1
    assert told.startswith("Fused attention does not work here, so training is slower than it could be: ")
    assert not capsys.readouterr().err


def test_a_step_that_is_not_finite_changes_nothing(stepped, batches):
    start = weights(stepped)
    with gpu.described(), gpu.without("attention"):
        stepped._compile_apply()
        stepped.accumulate(batches[0], 1, 0)
        stepped._sums["loss"] *= np.nan
        assert np.isnan(float(stepped.apply(1e-3)["loss"]))
        kept = weights(stepped)
        losses(stepped, batches[:1])
    assert all((kept[path] == start[path]).all() for path in start)
    assert any((value != start[path]).any() for path, value in weights(stepped).items())
    assert int(stepped.optimizer.iterations) == 1
