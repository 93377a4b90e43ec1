import math

import pytest

from budgetbert.finetuning.published.baseline import compare, mismatches
from tests.finetuning.results import make_result, make_task

pytestmark = pytest.mark.without_backend


def only(result, baseline):
    (one,) = compare(result, baseline)
    return one


@pytest.mark.parametrize(("score", "beaten"), [(0.141, True), (0.139, False)])
def test_a_difference_has_to_exceed_twice_the_spread_of_the_baseline(score, beaten):
    one = only(
        make_result(cola={"matthews": [score, 0.0, 0.9]}), make_result(True, cola={"matthews": [0.02, 0.06, 0.0]})
    )
    assert one.threshold == pytest.approx(12)  # 2 x (6 - 0)
    assert one.baseline == pytest.approx(2)
    assert one.beaten is beaten
    assert one.verdict == ("beaten" if beaten else "not beaten")
    assert "spread of 3 seeds" in one.basis


def test_of_one_seed_accuracy_twice_the_binomial_error_decides():
    one = only(make_result(sst2={"accuracy": [0.83]}), make_result(True, sst2={"accuracy": [0.8]}))
    assert one.threshold == pytest.approx(100 * 2 * math.sqrt(0.8 * 0.2 / 872))  # 2.709
    assert one.difference == pytest.approx(3.0)
    assert one.beaten
    assert "binomial error of 872" in one.basis


def test_the_binomial_error_of_mnli_is_of_one_development_set():
    scores = {"accuracy_matched": [0.5], "accuracy_mismatched": [0.5]}
    one = only(make_result(mnli=scores), make_result(True, mnli=scores))
    assert one.threshold == pytest.approx(100 / math.sqrt(9815))


def test_of_one_seed_another_metric_says_nothing():
    one = only(make_result(cola={"matthews": [0.5]}), make_result(True, cola={"matthews": [0.0]}))
    assert one.beaten is None
    assert one.verdict == "not decided"
    assert "no proportion" in one.basis


def test_the_main_metric_is_compared_and_only_tasks_of_both():
    ours = make_result(mrpc={"f1": [0.8, 0.8], "accuracy": [0.7, 0.7]}, rte={"accuracy": [0.6]})
    base = make_result(True, mrpc={"f1": [0.7, 0.7], "accuracy": [0.7, 0.7]}, wnli={"accuracy": [0.5]})
    assert [(one.task, one.metric) for one in compare(ours, base)] == [("mrpc", "f1")]


def test_other_examples_decide_nothing_and_are_told():
    ours, base = make_result(rte={"accuracy": [0.6]}), make_result(True)
    base["tasks"]["rte"] = make_task("rte", accuracy=[0.5], examples=100)
    assert only(ours, base).beaten is None
    assert mismatches(ours, base) == ["rte: examples 100 against 277"]


def test_a_baseline_without_the_metric_decides_nothing():
    ours = make_result(mrpc={"f1": [0.8]})
    base = make_result(True, mrpc={"accuracy": [0.7]})
    assert only(ours, base).beaten is None


def test_of_one_harness_nothing_mismatches():
    assert mismatches(make_result(rte={"accuracy": [0.6]}), make_result(True, rte={"accuracy": [0.5]})) == []


def test_what_was_set_otherwise_is_told():
    base = {**make_result(True, settings={"epochs": 3}), "protocol": "quick"}
    assert mismatches(make_result(), base) == ["protocol 'quick' against 'cramming'", "epochs 3 against 5"]
