"""The protocols' numbers, and their schedules against those of Transformers."""

import dataclasses

import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.protocols import PROTOCOLS, protocol_of, steps_of, steps_per_epoch
from budgetbert.finetuning.tasks import TASKS
from budgetbert.finetuning_rule import finetuning_settings

pytestmark = pytest.mark.without_backend


def test_cramming_takes_2670_steps_of_cola():
    cramming = PROTOCOLS["cramming"]
    rows = TASKS["cola"].train.rows
    assert steps_per_epoch(cramming, rows, 16) == 534
    assert steps_of(cramming, rows, 16) == 2670
    # of which 267 warm up, the number that the original then keeps for all tasks
    assert cramming.factor(267 / 2670, 2670) == pytest.approx(1.0)
    assert cramming.factor(266 / 2670, 2670) < 1.0


def test_cramming_s_other_settings_are_those_of_its_bert():
    bert = PROTOCOLS["cramming_bert"]
    assert bert.configurations == [{"learning_rate": 2e-5, "batch_size": 32}]
    assert (bert.epochs, bert.weight_decay, bert.schedule, bert.warmup) == (10, 0.1, "linear", 0.06)
    shared = ("beta_2", "epsilon", "clip_norm", "drop_last", "seeds", "dropout", "mnli_transfer", "main_metrics")
    assert all(getattr(bert, name) == getattr(PROTOCOLS["cramming"], name) for name in shared)
    assert steps_of(bert, TASKS["cola"].train.rows, 32) == 2670


# Cramming's share of the warm-up in a run of all tasks, as its code comes to it: 267 steps of each.
@pytest.mark.parametrize(
    ("task", "steps", "share"),
    [("cola", 2670, 0.1), ("mrpc", 1145, 0.233), ("rte", 775, 0.345), ("stsb", 1795, 0.149), ("mnli", 122_715, 0.002)],
)
def test_with_the_warm_up_of_cola_all_tasks_rise_for_267_steps(task, steps, share):
    protocol = protocol_of("cramming", cola_warmup=True)
    assert protocol.warmup_steps == 267 and protocol.settings["warmup_steps"] == 267
    assert steps_of(protocol, TASKS[task].train.rows, 16) == steps
    assert protocol.factor(267 / steps, steps) == pytest.approx(1.0)
    assert protocol.factor(133.5 / steps, steps) == pytest.approx(0.5)
    assert 267 / steps == pytest.approx(share, abs=1e-3)
    assert not any(text.startswith("warm-up") for text in protocol.deviations)


def test_a_task_that_ends_within_the_warm_up_only_rises():
    protocol = protocol_of("cramming", cola_warmup=True)
    for steps in (100, 267):
        assert protocol.factor((steps - 1) / steps, steps) == pytest.approx((steps - 1) / 267)


def test_the_warm_up_of_cola_is_for_protocols_with_one_batch_size():
    assert protocol_of("cramming_bert", cola_warmup=True).warmup_steps == 160
    assert "warmup_steps" not in protocol_of("cramming").settings
    for name in ("academic", "budget"):
        with pytest.raises(InputError, match=f"--cola_warmup is for a protocol with one batch size: {name} has others"):
            protocol_of(name, cola_warmup=True)


@pytest.mark.parametrize(
    ("name", "scheduler"), [("cramming", "cosine"), ("cramming_bert", "linear"), ("academic", "linear")]
)
def test_schedules_are_those_of_transformers(name, scheduler):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    protocol, steps = PROTOCOLS[name], 200
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    make = getattr(transformers, f"get_{scheduler}_schedule_with_warmup")
    theirs = make(optimizer, int(protocol.warmup * steps), steps)
    for step in range(steps):
        assert protocol.factor(step / steps, steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
        optimizer.step()
        theirs.step()


def test_a_grid_has_every_rate_with_every_batch():
    assert len(PROTOCOLS["academic"].configurations) == 8
    assert PROTOCOLS["cramming"].configurations == [{"learning_rate": 4e-5, "batch_size": 16}]


def test_a_smoke_test_ends_after_100_steps():
    assert steps_of(PROTOCOLS["quick"], TASKS["mnli"].train.rows, 16) == 100
    assert steps_of(PROTOCOLS["quick"], 33, 16) == 2


def test_a_task_smaller_than_a_batch_has_a_step():
    assert steps_per_epoch(PROTOCOLS["cramming"], 7, 16) == 1


def test_academic_judges_stsb_by_spearman_and_cramming_by_pearson():
    assert PROTOCOLS["academic"].metric_of(TASKS["stsb"]) == "spearman"
    assert PROTOCOLS["cramming"].metric_of(TASKS["stsb"]) == "pearson"
    assert PROTOCOLS["cramming"].metric_of(TASKS["mrpc"]) == "f1"


@pytest.mark.parametrize(("width", "examples"), [(128, 600), (256, 8_551), (768, 392_702)])
def test_budget_takes_rate_and_epochs_from_width_and_examples(width, examples):
    protocol = PROTOCOLS["budget"].for_task(width, examples)
    settings = finetuning_settings(width, examples)
    assert protocol.configurations == [
        {"learning_rate": settings.learning_rate, "batch_size": settings.batch_size},
    ]
    assert protocol.epochs == settings.epochs
    steps = steps_of(protocol, examples, settings.batch_size)
    assert steps == settings.epochs * -(-examples // settings.batch_size)  # no example is left out
    assert protocol.factor(settings.warmup, steps) == 1.0
    assert protocol.factor(1.0, steps) == 0.0


def test_budget_reads_pairs_apart_where_the_encoder_is_narrow():
    budget = PROTOCOLS["budget"]
    assert [budget.for_task(width, 1_000).pairs for width in (128, 256, 768)] == ["apart", "apart", "together"]
    asked = dataclasses.replace(budget, pairs="together")
    assert asked.for_task(128, 1_000).pairs == "together"
    # What was finetuned before there was a choice goes on.
    assert "pairs" not in asked.for_task(128, 1_000).settings
    assert budget.for_task(128, 1_000).settings["pairs"] == "apart"


def test_the_other_protocols_are_the_same_for_all_tasks():
    for name in ("cramming", "cramming_bert", "academic", "quick"):
        assert PROTOCOLS[name].for_task(128, 600) is PROTOCOLS[name]
