"""What a plan promises and what speaks against it, and how both are shown."""

import dataclasses
import datetime
import json
import types

import pytest
from rich.console import Console

from budgetbert.budget import Budget
from budgetbert.presets import PRESETS
from budgetbert.schedules import Schedules
from budgetbert.training.plan import advice
from budgetbert.training.plan.calibration import Speed, Trial
from budgetbert.training.plan.device import Device
from budgetbert.training.plan.memory import Memory
from budgetbert.training.plan.plan import Plan, RunPlan, read_plan
from budgetbert.training.run.plan_display import draw_plan, plan_rows, print_plan

pytestmark = pytest.mark.without_backend

TRIALS = (Trial(64, 0.06), Trial(128, 0.11), Trial(256, None))
PHASE = Plan(
    batch_size=4096,
    micro_batch_size=64,
    micro_batches_per_call=8,
    sequence_length=128,
    predictions_per_row=19,
    validation_rows=1024,
    batch_reason="as published",
    batch_ramp=0.0,
    mask_rate="0.15",
    learning_rate=1e-3,
    schedule="linear(warmup=0.06)",
    flops_per_token=1.9e9,
    steps=23_000,
    tokens=12.1e9,
    flops=2.3e19,
    seconds=86_400.0,
    epochs=0.8,
    validation_unigram_entropy=6.1,
    speed=Speed(64, 0.055, 0.1, 0.05, compile_seconds=20.0, seconds=31.0, trials=TRIALS),
    memory=Memory(int(1.34e9), int(2.68e9), int(1.34e9), int(20e9), "measured"),
)
DEVICE = Device("a device", "mixed_bfloat16", "as asked for", 790e12, "jax")
PLAN = RunPlan(DEVICE, (PHASE,))
VALIDATE_AT = (0.25, 0.5, 0.75)
DAY = Budget.parse("24h")
FLOPS = {"bert_large_24h": 1.9e9, "mini_24h": 28e6, "tiny_24h": 5e6}


def sentences(budget=DAY, preset="bert_large_24h", tokens=12.1e9, epochs=0.8):
    return advice.warnings(epochs, advice.advise(tokens, preset, budget, FLOPS.get), preset, budget)


def test_a_small_corpus_is_told_how_often_it_is_read_and_what_ends_that():
    def said(epochs, **keywords):
        return advice.warnings(epochs, None, "mini_24h", DAY, **keywords)[0]

    assert "is read 12.0 times" in said(12.0)
    assert "after 40 nothing" in said(80.0) and "after 40 nothing" not in said(12.0)
    assert "--early_stop rising" in said(12.0) and "--early_stop rising" not in said(12.0, ends_early=True)


def test_the_distance_to_the_published_budget_is_a_share_of_its_tokens():
    half = RunPlan(DEVICE, (dataclasses.replace(PHASE, tokens=6.05e9),))
    published = advice.PUBLISHED_TOKENS["academic_24h"]
    assert dict(plan_rows(half, VALIDATE_AT, published_tokens=published))["published"] == (
        "50% of the 12.1B tokens of the paper's run"
    )
    assert advice.PUBLISHED_TOKENS["cramming_24h"] == 9.1e9
    assert advice.PUBLISHED_TOKENS["lamb_76min"] == pytest.approx(85.2e9, rel=1e-3)
    assert "published" not in dict(plan_rows(half, VALIDATE_AT))


def test_the_published_runs_themselves_are_not_warned_of():
    assert advice.advise(12.1e9, "bert_large_24h", DAY, FLOPS.get).tokens_per_weight == pytest.approx(40, rel=0.01)
    assert sentences() == []


def test_a_corpus_that_ends_before_the_budget_is_told_with_the_mend():
    (told,) = sentences(epochs=1.6)
    assert "read 1.6 times" in told
    assert "a larger --corpus" in told
    (told,) = sentences(epochs=7.0)
    assert "read 7.0 times" in told
    assert "give --corpus more text, or take a smaller --budget" in told


def test_a_model_too_large_for_the_budget_is_told_with_one_that_fits():
    (told,) = sentences(tokens=1e9)
    assert "3.3 tokens per weight" in told
    assert "--preset mini_24h would have enough" in told
    assert advice.warnings(0.8, None, "bert_large_24h", DAY) == []


def test_a_smaller_model_gets_more_tokens_for_the_same_time_but_not_for_the_same_tokens():
    def fitting(budget, tokens):
        return advice.advise(tokens, "bert_large_24h", budget, FLOPS.get).fitting_preset

    # 17 M tokens of BERT-large in the time of 1.15 G of mini, which has 3.1 M weights in its blocks
    assert fitting(DAY, 17e6) == "mini_24h"
    assert fitting(Budget.parse("17Mtokens"), 17e6) == "tiny_24h"
    assert fitting(Budget.parse("100steps"), 1e5) is None


def test_where_no_preset_fits_the_budget_is_the_mend():
    budget = Budget.parse("1Mtokens")
    (told,) = sentences(budget, "mini_24h", 1e6)
    assert "not even tiny_24h would have enough, and mini_24h needs a --budget 62.9 times as large" in told
    (told,) = sentences(budget, "tiny_24h", 1e6)
    assert "no preset is smaller" in told


def test_every_preset_has_a_family():
    assert sorted(name for family in advice.FAMILIES for name in family) == sorted(PRESETS)


def test_the_end_counts_from_now_without_what_is_spent():
    now = datetime.datetime(2026, 11, 24, 22, 0, 0)
    plan = PLAN.from_now(0.0, 2.5, now)
    assert (plan.planned_at, plan.finish) == ("2026-11-24T22:00:00", "2026-11-25T22:00:00")
    assert plan.cost == pytest.approx(60.0)
    again = plan.from_now(43_200.0, None, now + datetime.timedelta(days=1))
    assert (again.planned_at, again.finish) == ("2026-11-24T22:00:00", "2026-11-26T10:00:00")
    assert again.cost is None


def test_a_plan_says_what_it_promises():
    plan = PLAN.from_now(0.0, 2.5, datetime.datetime(2026, 11, 24, 22, 0, 0))
    console = Console(record=True, width=160)
    print_plan(plan, "The plan", VALIDATE_AT, "run/plan.png", 12.1e9, ["Beware."], console)
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
    schedules = Schedules(lambda x: 1e-3 * x, lambda x: 32, None, lambda x: 0.15)
    draw_plan([schedules, schedules], [0.7, 1.0], str(tmp_path / "plan.png"))
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG\r\n")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.png"]


def test_a_plan_is_written_with_what_the_phases_are_together_and_read_again():
    second = dataclasses.replace(PHASE, batch_size=2048, tokens=1.1e9, steps=1_000)
    plan = RunPlan(DEVICE, (PHASE, second), planned_at="2026-11-24T22:00:00")
    written = json.loads(json.dumps(plan.to_json()))
    assert (written["steps"], written["tokens"], written["device"]) == (24_000, 13.2e9, "a device")
    run = types.SimpleNamespace(read_json=lambda name: written, started=True)
    assert read_plan(run) == plan
