"""Runs of several phases: where the budget goes, what is carried over, and that an interruption changes nothing."""

import dataclasses
import functools
import json
import threading

import keras
import numpy as np
import pytest
from keras import ops

from budgetbert import schedules
from budgetbert.batches import Loader
from budgetbert.budget import Budget
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.models import BertBudgetMaskedLM
from budgetbert.optimizers import Lamb
from budgetbert.training.loop.guards import LossGuard
from budgetbert.training.plan.corpora import open_prepared
from budgetbert.training.pretrain import Phase, Recipe
from budgetbert.training.recipe import split_budget
from budgetbert.training.run.directory import Run
from budgetbert.training.step.base import make_step
from budgetbert.training.step.objectives import MaskedLanguageModelingAndNextSentence
from tests.training.runs import EVERY_STEP, TWO_PHASES, SlowStep, train


def lines(directory, key):
    return [line for line in Run(str(directory)).lines() if key in line]


@pytest.fixture(scope="module")
def undisturbed(two_corpora, tmp_path_factory):
    directory = tmp_path_factory.mktemp("phases") / "undisturbed"
    return directory, train(two_corpora, directory, recipe=TWO_PHASES, log_every=EVERY_STEP, report=True)


def assert_equal(model, other):
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        assert (one == two).all()


def test_each_phase_has_its_rows_its_batch_and_an_x_of_its_own(undisturbed):
    logged = lines(undisturbed[0], "learning_rate")
    assert [(line["step"], line["phase"]) for line in logged] == [(i + 1, 1 + (i >= 8)) for i in range(12)]
    rates = [0, 0.5, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 1, 3 / 4, 2 / 4, 1 / 4]  # falling from step 0 on
    assert [line["learning_rate"] for line in logged] == pytest.approx([1e-3 * rate for rate in rates], abs=1e-12)
    assert [line["batch_size"] for line in logged] == 8 * [8] + 4 * [4]
    assert np.diff([0, *(line["tokens"] for line in logged)]).tolist() == 12 * [256]
    plan = Run(str(undisturbed[0])).read_json("plan.json")
    assert [part["steps"] for part in plan["phases"]] == [8, 4]
    assert [part["predictions_per_row"] for part in plan["phases"]] == [5, 10]
    assert (plan["steps"], plan["tokens"]) == (12, 12 * 256)


def test_the_last_validation_of_a_phase_is_on_its_own_rows(undisturbed):
    validations = {line["step"]: line for line in lines(undisturbed[0], "validation_loss")}
    assert validations[8]["phase"] == 1  # between two tenths of the budget
    final = lines(undisturbed[0], "final")[0]
    assert final["phase_validation_loss"] == {"1": validations[8]["validation_loss"], "2": final["validation_loss"]}


def test_the_state_holds_the_phase_and_the_rows_of_each(undisturbed):
    with open(undisturbed[0] / "checkpoints" / "step-00000012" / "state.json") as file:
        state = json.load(file)
    assert state["phase"] == 1
    assert state["progress"]["phase_rows"] == [64, 16]
    assert state["progress"]["rows"] == 80


def test_the_result_reads_the_rows_of_the_last_phase(undisturbed):
    model = keras.models.load_model(undisturbed[0] / "model.keras")
    assert model.next_sentence
    assert model.preprocessor.sequence_length == 64
    assert model.fill_mask(["the cat [MASK] a dog"], k=2)
    assert_equal(model, undisturbed[1])


def test_the_report_tells_the_phases(undisturbed):
    page = (undisturbed[0] / "report.html").read_text()
    assert "8 steps planned of 8 rows of 32 tokens, learning rate 0.001 x polynomial(warmup=0.25); to step 8" in page
    assert "4 steps planned of 4 rows of 64 tokens" in page


def test_the_recipe_in_the_run_has_every_number(undisturbed):
    recipe = Run(str(undisturbed[0])).read_json("recipe.json")["recipe"]
    optimizer = {"class": "Lamb", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-6, "weight_decay": 0.01}
    assert optimizer.items() <= recipe["optimizer"].items()
    assert recipe["phases"]["1"]["schedule"] == "polynomial(warmup=0.25)"
    assert recipe["objective"] == "mlm_nsp"
    assert len(recipe["corpus"]) == 2


@pytest.mark.slow
def test_a_run_killed_in_its_second_phase_goes_on_to_the_same_bits(undisturbed, two_corpora, tmp_path):
    def crash(line, spent):
        if line["step"] == 10:
            for thread in threading.enumerate():
                if thread.name == "checkpoint":
                    thread.join()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(two_corpora, tmp_path, recipe=TWO_PHASES, checkpoint_every="1steps", watchers=[crash])
    resumed = train(two_corpora, tmp_path, recipe=TWO_PHASES, checkpoint_every="1steps")
    assert_equal(undisturbed[1], resumed)
    assert lines(tmp_path, "resumed_from_step") == [{"resumed_from_step": 9}]
    assert lines(tmp_path, "final")[0]["validation_loss"] == lines(undisturbed[0], "final")[0]["validation_loss"]


@pytest.mark.slow
@pytest.mark.any_backend
def test_a_run_that_stops_at_the_end_of_a_phase_goes_on_with_the_next(undisturbed, two_corpora, tmp_path):
    assert train(two_corpora, tmp_path, recipe=TWO_PHASES, stop_at=8 / 12) is None
    assert_equal(undisturbed[1], train(two_corpora, tmp_path, recipe=TWO_PHASES))


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_rollback_into_the_phase_before_reads_no_row_twice(two_corpora, tmp_path, monkeypatch):
    observe, seen = LossGuard.observe, []

    def trouble(self, loss, finite):
        seen.append(loss)
        return "trouble" if len(seen) == 10 else observe(self, loss, finite)  # in the second step of phase 2

    opened = []
    monkeypatch.setattr(LossGuard, "observe", trouble)
    read = Loader.read

    def noted(self, first, count):
        opened.append((len(self.micro_batch(0, 1)["token_ids"][0]), first))
        return read(self, first, count)

    monkeypatch.setattr(Loader, "read", noted)
    assert train(two_corpora, tmp_path, recipe=TWO_PHASES, checkpoint_every="3steps")
    assert opened == [(32, 0), (64, 0), (32, 64), (64, 8)]
    assert lines(tmp_path, "final")[0]["step"] == 12


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_budget_in_time_is_split_by_flops(two_corpora, tmp_path):
    slow = SlowStep(lambda seconds: 10.0)
    seams = {"log_every": EVERY_STEP, "now": slow.now, "make_step": slow.make_step}
    train(two_corpora, tmp_path, recipe=TWO_PHASES, budget="400s", **seams)
    logged = lines(tmp_path, "learning_rate")
    # 2,048 tokens in phase 1 and 1,024 in phase 2; a token of phase 2 costs a little more
    end = max(line["elapsed_seconds"] for line in logged if line["phase"] == 1)
    assert 0.63 < end / 400 < 0.70
    assert logged[-1]["phase"] == 2
    assert logged[-1]["learning_rate"] < 1e-4
    assert lines(tmp_path, "final")[0]["budget_spent"] == 1.0


def test_a_new_phase_may_set_the_step_back_and_keeps_the_moments():
    model = BertBudgetMaskedLM.from_preset("tiny_bert", load_weights=False, vocabulary_size=64)
    optimizer = Lamb(1e-3)
    step = make_step(model, optimizer, MaskedLanguageModelingAndNextSentence())
    for variable in optimizer.variables:
        variable.assign(ops.ones(variable.shape, variable.dtype))
    step.reload()
    step.reset_step()
    assert int(optimizer.iterations) == 0
    assert all(np.all(ops.convert_to_numpy(momentum) == 1) for momentum in optimizer._momentums)


def lamb(variant_steps=(7038, 1561)):
    lengths = ((65536, 128), (32768, 512))
    phases = [
        Phase(steps=steps, batch_size=rows, sequence_length=length, schedule=schedules.polynomial)
        for steps, (rows, length) in zip(variant_steps, lengths, strict=True)
    ]
    return dataclasses.replace(TWO_PHASES, phases=tuple(phases))


# BERT-large by hand: 6 x 12 x 24 x 1024^2 for the blocks, 12 x 24 x s x 1024 for attention, and for the head
# 6 p (1024 x 30,522 + 1024^2), p = 19 / 128 and 77 / 512.
FLOPS = {
    128: 1_811_939_328 + 37_748_736 + 6 * 19 / 128 * (31_254_528 + 1_048_576),
    512: 1_811_939_328 + 150_994_944 + 6 * 77 / 512 * (31_254_528 + 1_048_576),
}
SHARE = 7038 * 65536 * 128 * FLOPS[128] / (7038 * 65536 * 128 * FLOPS[128] + 1561 * 32768 * 512 * FLOPS[512])


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("budget", "first"),
    [
        ("8599steps", 7038),
        ("100steps", 82),
        ("2steps", 1),
        ("1Gtokens", 1e9 * 7038 / (7038 + 2 * 1561)),
        ("1EFLOP", 1e18 * SHARE),
        ("24h", 86400 * SHARE),
    ],
)
def test_a_budget_is_split_as_the_published_plan_splits_it(budget, first):
    budget = Budget.parse(budget)
    one, two = split_budget(budget, lamb())
    assert one.amount == pytest.approx(first)
    assert one.amount + two.amount == pytest.approx(budget.amount)
    assert pytest.approx(0.6804, abs=1e-3) == SHARE


@pytest.mark.slow
@pytest.mark.without_backend
def test_the_batch_leaves_1000_steps_in_both_phases_together(two_corpora, tmp_path):
    first, second = TWO_PHASES.phases
    phases = (dataclasses.replace(first, batch_size=256), dataclasses.replace(second, batch_size=128))
    flags = {"batch_size": None, "budget": f"{1000 * 64 * 32}tokens", "plan_only": True}
    assert train(two_corpora, tmp_path, recipe=dataclasses.replace(TWO_PHASES, phases=phases), **flags) is None
    plan = Run(str(tmp_path)).read_json("plan.json")
    # two thirds of the tokens in rows of 32, one third in half as many rows of 64
    assert [part["batch_size"] for part in plan["phases"]] == [64, 32]
    assert [part["micro_batch_size"] for part in plan["phases"]] == [4, 2]
    assert plan["steps"] in (999, 1000)
    assert [part["steps"] for part in plan["phases"]] == [
        pytest.approx(2000 / 3, abs=1),
        pytest.approx(1000 / 3, abs=1),
    ]


@pytest.mark.without_backend
def test_one_step_is_no_budget_for_two_phases():
    with pytest.raises(InputError, match="less than a step for each of 2 phases"):
        split_budget(Budget.parse("1step"), lamb())


@pytest.mark.without_backend
class TestBadCorpora:
    def test_one_corpus_for_two_phases(self, two_corpora, tmp_path):
        with pytest.raises(InputError, match="is not one prepared corpus for each of 2 phases"):
            train(two_corpora.split(",")[0], tmp_path, recipe=TWO_PHASES)

    def test_two_vocabularies(self, two_corpora, small_text, tmp_path):
        small_corpus = prepare_corpus(str(small_text), tmp_path / "c", vocabulary_size=320, lowercase=False, workers=1)
        with pytest.raises(InputError, match="has another vocabulary than"):
            open_prepared(f"{two_corpora.split(',')[0]},{small_corpus.directory}", TWO_PHASES.phases)

    def test_next_sentence_prediction_without_pairs(self, small_corpus, tmp_path):
        with pytest.raises(InputError, match="needs rows of two segments"):
            train(
                small_corpus.directory, tmp_path, recipe=dataclasses.replace(TWO_PHASES, phases=TWO_PHASES.phases[:1])
            )


class TestNextSentence:
    def batch(self, rows=6, length=16, predictions=3):
        generator = np.random.default_rng(0)
        weights = np.ones((rows, predictions), "float32")
        weights[1, 1:] = 0
        weights[-1] = 0  # a row that fills a batch of validation
        return {
            "token_ids": generator.integers(5, 64, (rows, length)).astype("int32"),
            "padding_mask": np.ones((rows, length), "int32"),
            "segment_ids": (np.arange(length) > 7).astype("int32")[None].repeat(rows, 0),
            "mask_positions": generator.integers(1, length, (rows, predictions)).astype("int32"),
            "labels": generator.integers(5, 64, (rows, predictions)).astype("int32"),
            "weights": weights,
            "next_sentence_labels": np.array([0, 1, 1, 0, 1, 1], "int32"),
        }

    def test_loss_and_metrics_are_those_of_numpy(self):
        model = BertBudgetMaskedLM.from_preset("tiny_bert", load_weights=False, vocabulary_size=64, next_sentence=True)
        batch = self.batch()
        inputs = {name: batch[name] for name in ("token_ids", "padding_mask", "segment_ids", "mask_positions")}
        outputs = {name: ops.convert_to_numpy(value) for name, value in model(inputs, training=False).items()}

        def losses(logits, labels):
            logits = logits.astype("float64")
            log_sums = np.log(np.exp(logits).sum(-1))
            return log_sums - np.take_along_axis(logits, labels[..., None].astype(int), -1)[..., 0]

        masked = (losses(outputs["masked_lm"], batch["labels"]) * batch["weights"]).sum()
        next_sentence = losses(outputs["next_sentence"], batch["next_sentence_labels"])
        predictions = np.array([3, 1, 3, 3, 3, 0])
        objective = MaskedLanguageModelingAndNextSentence(dropout=False)
        labels = batch["next_sentence_labels"]
        batch = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
        total, weight, metrics = objective(model, batch, training=True)
        assert float(total) == pytest.approx(masked + (next_sentence * predictions).sum(), rel=1e-4)
        assert float(weight) == 13
        assert metrics == {}
        total, weight, metrics = objective(model, batch, training=False)
        assert float(total) == pytest.approx(masked, rel=1e-4)
        assert float(metrics["next_sentence_loss"]) == pytest.approx(next_sentence[:5].sum(), rel=1e-4)
        hits = outputs["next_sentence"].argmax(-1) == labels
        assert float(metrics["next_sentence_accuracy"]) == hits[:5].sum()
        assert float(metrics["next_sentence_accuracy_weight"]) == 5

    def test_it_is_learnt_from_the_labels_of_the_rows(self):
        model = BertBudgetMaskedLM.from_preset("tiny_bert", load_weights=False, vocabulary_size=64, next_sentence=True)
        step = make_step(model, keras.optimizers.Adam(), MaskedLanguageModelingAndNextSentence())
        batch = self.batch()
        stacked = {name: array[None] for name, array in batch.items()}
        before = float(step.evaluate(batch)["next_sentence_loss"]) / 5
        for number in range(30):
            step.accumulate(stacked, 1, number)
            step.apply(1e-3)
        after = step.evaluate(batch)
        assert float(after["next_sentence_loss"]) / 5 < 0.5 * before
        assert float(after["next_sentence_accuracy"]) == 5

    def test_a_run_logs_it(self, undisturbed):
        for line in lines(undisturbed[0], "validation_loss"):
            assert 0 <= line["validation_next_sentence_accuracy"] <= 1
            assert line["validation_next_sentence_loss"] == pytest.approx(np.log(2), abs=0.3)


def test_a_published_curve_is_written_as_data():
    assert isinstance(TWO_PHASES, Recipe)
    assert TWO_PHASES.phases[0].numbers["schedule"] == "polynomial(warmup=0.25)"
    rates = Phase(batch_size=4, rates=lambda batch: (batch * 1e-3, functools.partial(schedules.linear, warmup=0.1)))
    assert rates.numbers["learning_rate"] == 4e-3


@pytest.mark.slow
@pytest.mark.any_backend
def test_binned_rows_cost_less_and_a_run_resumed_among_them_ends_with_the_same_bits(two_corpora, tmp_path):
    flags = {"recipe": TWO_PHASES, "length_bins": 16, "batch_size": 32, "micro_batch_size": 8, "log_every": EVERY_STEP}
    whole = train(two_corpora, tmp_path / "whole", **flags)
    logged = lines(tmp_path / "whole", "learning_rate")
    tokens = np.diff([0, *(line["tokens"] for line in logged)])
    # The rows of 32 tokens have two bins of 16 only, too few to be binned.
    assert (tokens[:8] == 32 * 32).all()
    assert (tokens[8:] < 16 * 64).all()
    assert all(count % (4 * 16) == 0 for count in tokens[8:])
    flops = np.diff([0, *(line["flops"] for line in logged)])
    assert (flops[8:] < 0.99 * 16 * 64 * flops[7] / tokens[7]).all()
    assert train(two_corpora, tmp_path / "resumed", **flags, stop_at=10 / 12) is None
    assert_equal(whole, train(two_corpora, tmp_path / "resumed", **flags))
    recorded = Run(str(tmp_path / "whole")).read_json("recipe.json")["recipe"]
    assert [phase["length_bins"] for phase in recorded["phases"].values()] == [16, 16]


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"length_bins": 4}, "makes more than 8 lengths of rows of 64 tokens, each compiled for itself: give 8 or"),
        ({"length_bins": 3}, "makes more than 8 lengths of rows of 32 tokens, each compiled for itself: give 4 or"),
        ({"length_bins": 8, "batch_ramp": 0.5}, "--batch_ramp lets the steps grow"),
    ],
)
def test_bins_that_cannot_be_are_refused(two_corpora, tmp_path, flags, told):
    with pytest.raises(InputError, match=told):
        train(two_corpora, tmp_path, recipe=TWO_PHASES, **flags)
