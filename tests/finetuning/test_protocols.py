"""The protocols' numbers, and their schedules against those of Transformers."""

import pytest

from budgetbert.finetuning.protocols import PROTOCOLS, steps_of, steps_per_epoch
from budgetbert.finetuning.tasks import TASKS
from budgetbert.finetuning_rule import finetuning_settings

pytestmark = pytest.mark.without_backend


def test_cramming_takes_2670_steps_of_cola():
    cramming = PROTOCOLS["cramming"]
    rows = TASKS["cola"].train.rows
    assert steps_per_epoch(cramming, rows, 16) == 534
    assert steps_of(cramming, rows, 16) == 2670
    # of which 267 warm up, the number that the original then keeps for all tasks
    assert cramming.factor(267 / 2670) == pytest.approx(1.0)
    assert cramming.factor(266 / 2670) < 1.0


@pytest.mark.parametrize(("name", "scheduler"), [("cramming", "cosine"), ("academic", "linear")])
def test_schedules_are_those_of_transformers(name, scheduler):
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    protocol, steps = PROTOCOLS[name], 200
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    make = getattr(transformers, f"get_{scheduler}_schedule_with_warmup")
    theirs = make(optimizer, int(protocol.warmup * steps), steps)
    for step in range(steps):
        assert protocol.factor(step / steps) == pytest.approx(theirs.get_last_lr()[0], abs=1e-6)
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
    assert protocol.factor(settings.warmup) == 1.0
    assert protocol.factor(1.0) == 0.0


def test_the_other_protocols_are_the_same_for_all_tasks():
    for name in ("cramming", "academic", "quick"):
        assert PROTOCOLS[name].for_task(128, 600) is PROTOCOLS[name]
