import dataclasses
import datetime

import pytest
from rich.console import Console

from budgetbert.budget import Budget
from budgetbert.models.presets import PRESETS
from budgetbert.training import outlook
from budgetbert.training.plan import Plan
from budgetbert.training.plan_display import draw_plan, plan_rows, print_plan
from budgetbert.training.stages import Schedules

PLAN = Plan(
    batch_size=4096,
    batch_ramp=0.0,
    batch_reason="as published",
    micro_batch_size=64,
    micro_batches_per_call=8,
    validation_rows=1024,
    validation_unigram_entropy=6.1,
    sequence_length=128,
    predictions_per_row=19,
    mask_rate="0.15",
    flops_per_token=1.9e9,
    precision="mixed_bfloat16",
    precision_reason="as asked for",
    device="a device",
    backend="jax",
    matmul_rate=790e12,
    tokens_per_second=140_000.0,
    steps=23_000,
    tokens=12.1e9,
    flops=2.3e19,
    seconds=86_400.0,
    epochs=0.8,
    calibration_seconds=31.0,
    compile_seconds=20.0,
    learning_rate=1e-3,
    schedule="linear(warmup=0.06)",
)
VALIDATE_AT = (0.25, 0.5, 0.75)
DAY = Budget.parse("24h")
FLOPS = {"bert_large_24h": 1.9e9, "mini_24h": 28e6, "tiny_24h": 5e6}


def ahead(budget=DAY, preset="bert_large_24h", recipe="academic_24h", **changes):
    return outlook.look_ahead(dataclasses.replace(PLAN, **changes), recipe, preset, budget, FLOPS.get)


def test_the_distance_to_the_published_budget_is_a_share_of_its_tokens():
    rows = dict(plan_rows(ahead(tokens=6.05e9), VALIDATE_AT))
    assert rows["published"] == "50% of the 12.1B tokens of the paper's run"
    assert outlook.PUBLISHED_TOKENS["cramming_24h"] == 9.1e9
    assert outlook.PUBLISHED_TOKENS["lamb_76min"] == pytest.approx(85.2e9, rel=1e-3)
    assert "published" not in dict(plan_rows(ahead(recipe="another"), VALIDATE_AT))


def test_the_published_runs_themselves_are_not_warned_of():
    plan = ahead()
    assert plan.tokens_per_weight == pytest.approx(40, rel=0.01)
    assert outlook.warnings(plan, "bert_large_24h", DAY) == []


def test_a_corpus_that_ends_before_the_budget_is_told_with_the_mend():
    (told,) = outlook.warnings(ahead(epochs=1.6), "bert_large_24h", DAY)
    assert "read 1.6 times" in told
    assert "a larger --corpus" in told
    (told,) = outlook.warnings(ahead(epochs=7.0), "bert_large_24h", DAY)
    assert "read 7.0 times" in told
    assert "give --corpus more text, or take a smaller --budget" in told


def test_a_model_too_large_for_the_budget_is_told_with_one_that_fits():
    plan = ahead(tokens=1e9)  # 3.3 tokens per weight
    (told,) = outlook.warnings(plan, "bert_large_24h", DAY)
    assert "3.3 tokens per weight" in told
    assert "--preset mini_24h would have enough" in told
    assert outlook.warnings(plan, "bert_large_24h", DAY, demo=True) == []


def test_a_smaller_model_gets_more_tokens_for_the_same_time_but_not_for_the_same_tokens():
    # 17 M tokens of BERT-large in the time of 1.15 G of mini, which has 3.1 M weights in its blocks
    assert ahead(tokens=17e6).fitting_preset == "mini_24h"
    assert ahead(Budget.parse("17Mtokens"), tokens=17e6).fitting_preset == "tiny_24h"
    assert ahead(Budget.parse("100steps"), tokens=1e5).fitting_preset is None


def test_where_no_preset_fits_the_budget_is_the_mend():
    budget = Budget.parse("1Mtokens")
    (told,) = outlook.warnings(ahead(budget, "mini_24h", tokens=1e6), "mini_24h", budget)
    assert "not even tiny_24h would have enough, and mini_24h needs a --budget 62.9 times as large" in told
    (told,) = outlook.warnings(ahead(budget, "tiny_24h", tokens=1e6), "tiny_24h", budget)
    assert "no preset is smaller" in told


def test_every_preset_has_a_family():
    assert sorted(name for family in outlook._FAMILIES for name in family) == sorted(PRESETS)


def test_the_end_counts_from_now_without_what_is_spent():
    now = datetime.datetime(2026, 11, 24, 22, 0, 0)
    plan = outlook.from_now(PLAN, 0.0, 2.5, now)
    assert (plan.planned_at, plan.finish) == ("2026-11-24T22:00:00", "2026-11-25T22:00:00")
    assert plan.cost == pytest.approx(60.0)
    again = outlook.from_now(plan, 43_200.0, None, now + datetime.timedelta(days=1))
    assert (again.planned_at, again.finish) == ("2026-11-24T22:00:00", "2026-11-26T10:00:00")
    assert again.cost is None


def test_a_plan_says_what_it_promises():
    memory = {"parameters": 1.34e9, "slots": 2.68e9, "sums": 1.34e9, "working": 20e9, "source": "measured"}
    trials = [{"rows": 64, "seconds": 0.06}, {"rows": 128, "seconds": 0.11}, {"rows": 256, "seconds": None}]
    plan = outlook.from_now(ahead(memory=memory, trials=trials), 0.0, 2.5, datetime.datetime(2026, 11, 24, 22, 0, 0))
    console = Console(record=True, width=160)
    print_plan(plan, "The plan", VALIDATE_AT, "run/plan.png", ["Beware."], console)
    printed = console.export_text()
    for phrase in (
        *("about 23,000", "12.1B, 0.80 times the corpus", "23E FLOPs", "of its 790 TFLOP/s", "24 h 0 min", "60.00"),
        "64 rows, 19 predictions each (64: 136,533 tokens/s, 128: 148,945 tokens/s, 256: does not fit)",
        "25.36 GB at the peak, measured (parameters 1.34 + slots 2.68 + gradient sums 1.34 + activations 20.00)",
        "Wednesday, 25 November 2026, 22:00",
        "0.001 x linear(warmup=0.06)",
        "1,024 held-out rows, 5 times over the budget",
        "run/plan.png",
        "Beware.",
    ):
        assert phrase in printed, phrase


def test_the_curves_are_a_picture(tmp_path):
    schedules = Schedules(lambda x: 1e-3 * x, lambda x: 32, lambda x: 0.15, None, None)
    draw_plan([schedules, schedules], [0.7, 1.0], str(tmp_path / "plan.png"))
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]
