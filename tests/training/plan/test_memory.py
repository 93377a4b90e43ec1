import keras
import numpy as np
import pytest

from budgetbert.batches import stack
from budgetbert.errors import InputError
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.presets import PRESETS
from budgetbert.training.plan import device as devices
from budgetbert.training.plan import memory
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModeling

VOCABULARY = 8192


def make(preset):
    model = BertBudgetMaskedLM.from_preset(preset, load_weights=False, vocabulary_size=VOCABULARY, preprocessor=None)
    config = {**PRESETS[preset]["backbone"], "vocabulary_size": VOCABULARY}
    return make_step(model, keras.optimizers.AdamW(), MaskedLanguageModeling()), config


def batches(rows, length, predictions):
    slots = {"mask_positions": "int32", "labels": "int32", "weights": "float32"}
    batch = {"token_ids": np.ones((rows, length), "int32")}
    return stack([{**batch, **{name: np.ones((rows, predictions), dtype) for name, dtype in slots.items()}}], 8)


@pytest.mark.parametrize(
    ("preset", "rows", "length", "remat"),
    [("tiny_24h", 64, 128, False), ("tiny_24h", 64, 128, True), ("tiny_crammed", 8, 512, False)],
)
def test_the_estimate_is_within_half_of_the_compiler_s_account(preset, rows, length, remat, tmp_path):
    if keras.backend.backend() != "jax":
        pytest.skip("only JAX's compiler gives an account")
    import jax

    step, config = make(preset)
    step.remat = remat
    predictions = round(0.15 * length)
    kept = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        assert step.compiled_memory(batches(rows, length, predictions)) is None  # it would be compiled twice
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        account = step.compiled_memory(batches(rows, length, predictions))
    finally:
        jax.config.update("jax_compilation_cache_dir", kept)
    estimate = memory.estimate(step, config, rows, length, predictions).total
    assert 1 / 1.5 < estimate / account < 1.5


def test_weights_slots_and_sums_are_counted_exactly():
    step, config = make("tiny_24h")
    held = memory.estimate(step, config, 1, 128, 19)
    weights = 4 * step.model.count_params()
    assert held.sums == weights
    assert held.slots - 2 * weights < 100  # two moments each, a counter and a rate
    assert held.parameters - weights < 1000  # and the seeds of dropout
    assert held.working >= 2 * weights  # gradients beside the sums, and the optimizer's step
    assert held.total == held.parameters + held.slots + held.sums + held.working
    assert held.with_total(10**9, "measured").total == 10**9


@pytest.mark.without_backend
def test_bert_large_at_one_row_is_estimated_under_12_gb():
    # 8.6 to 9.9 GB were measured, the process itself included (docs/LOG.md, 2026-11-24)
    config, weights = PRESETS["bert_large"]["backbone"], 4 * 335_174_458
    for length, low, high in ((128, 7.5e9, 9.9e9), (512, 8e9, 11e9)):
        activations = memory.activation_bytes(config, 1, length, round(0.15 * length))
        assert low < 5 * weights + max(activations, weights) < high


@pytest.mark.without_backend
def test_a_cpu_s_micro_batch_takes_half_of_what_is_left():
    step, config = make("tiny_24h")
    one, weights = memory.activation_bytes(config, 1, 128, 19), 4 * step.model.count_params()
    assert memory.most_rows(step, config, 128, 19, 2 * weights + 16 * one) == 8
    assert memory.most_rows(step, config, 128, 19, 2 * weights + one) == 1
    with pytest.raises(InputError, match="take a smaller --preset, or end other programs"):
        memory.most_rows(step, config, 128, 19, 2 * weights)


@pytest.mark.without_backend
def test_a_container_s_limit_counts(tmp_path):
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    assert memory._container_bytes(tmp_path) == 500
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container_bytes(tmp_path) is None
    assert memory._container_bytes(tmp_path / "none") is None


def test_what_is_available_is_known_where_it_can_be():
    found = memory.available()
    assert found is None or found > 10**7
    assert devices.is_accelerated() in (True, False)
    devices.reset_peak_memory()
