import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from budgetbert.budget import Budget, Progress
from budgetbert.training.loop.guards import EarlyStop, LossGuard, Rising
from budgetbert.training.loop.state import TrainState

pytestmark = pytest.mark.without_backend


def feed(guard, losses):
    """The number of the step at which the guard finds something, and what."""
    for number, loss in enumerate(losses):
        if reason := guard.observe(loss, np.isfinite(loss)):
            return number, reason
    return None


def noisy(level, count, seed=0):
    return list(level + np.random.default_rng(seed).normal(0, 0.2, count))


def test_a_falling_noisy_loss_is_let_be():
    losses = [level + noise for level, noise in zip(np.linspace(10, 3, 3000), noisy(0, 3000), strict=True)]
    assert feed(LossGuard(), losses) is None


def test_single_bad_steps_and_a_short_spike_are_let_be():
    losses = noisy(5, 300)
    losses[100], losses[150:154] = float("nan"), [7.0] * 4  # by which the mean of ten rises by 0.8
    guard = LossGuard()
    assert feed(guard, losses) is None
    assert guard.skipped == 1


def test_a_loss_that_rises_by_a_nat_and_stays_is_found():
    number, reason = feed(LossGuard(), noisy(4, 200) + noisy(6, 100))
    assert 200 <= number <= 210
    assert "the loss rose to" in reason


def test_twenty_steps_in_a_row_that_are_not_finite_are_found():
    number, reason = feed(LossGuard(), [5.0] * 10 + [float("nan")] * 19 + [5.0] + [float("inf")] * 20)
    assert number == 10 + 19 + 1 + 19
    assert reason == "20 steps in a row were not finite"


def test_a_guard_judges_alike_after_a_restart():
    losses = noisy(4, 200) + noisy(6, 100)
    before, after = LossGuard(), LossGuard()
    assert feed(before, losses[:203]) is None
    after.load(before.state)
    assert 203 + feed(after, losses[203:])[0] == feed(LossGuard(), losses)[0]


def test_going_back_forgets_the_losses_and_keeps_the_counts():
    guard = LossGuard()
    feed(guard, [5.0] * 60)
    checkpoint = guard.state
    assert feed(guard, [9.0] * 20)
    guard.roll_back(checkpoint)
    assert guard.rollbacks == 1
    assert feed(guard, [5.0] * 20) is None


def test_an_early_stop_waits_for_its_time():
    stop = EarlyStop(Budget.parse("3h"), 6.0)
    assert stop(Progress(step=1), 3 * 3600 - 1, 9.0) is None
    assert stop(Progress(step=1), 3 * 3600, 6.0) is None
    assert "9.00 is above 6" in stop(Progress(step=1), 3 * 3600, 9.0)
    assert stop(Progress(step=1), 3 * 3600, float("nan"))
    assert EarlyStop(Budget.parse("100steps"), 6.0)(Progress(step=100), 0, 7.0)


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([3.0, 2.5, 2.6, 2.7], True),
        ([3.0, 2.5, 2.7, 2.6], True),
        ([3.0, 2.5, 2.6, 2.4], False),
        ([3.0, 2.5, 2.501, 2.502], False),
        ([2.6, 2.7], False),
        ([], False),
    ],
)
def test_two_losses_in_a_row_above_the_lowest_end_a_run(losses, ends):
    assert Rising()(losses) == (
        f"the validation loss was 2.500, and then {losses[-2]:.3f} and {losses[-1]:.3f}" if ends else None
    )


def test_what_rises_with_the_learning_rate_does_not_end_a_run():
    def line(spent, loss):
        return {"step": int(100 * spent), "phase": 1, "budget_spent": spent, "validation_loss": loss}

    state = TrainState(Progress(step=30), validations=[line(0.0, 2.0), line(0.1, 2.5), line(0.2, 2.4), line(0.3, 2.45)])
    assert Rising().judge(state, None) is None
    state.validations.append(line(0.4, 2.46))
    assert Rising().judge(state, None) == "the validation loss was 2.400, and then 2.450 and 2.460"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGHUP"])
def test_a_signal_before_the_first_step_ends_with_code_0(name):
    code = "\n".join(
        [
            "import signal, time",
            # Under nohup it would be ignored, as it should.
            "signal.signal(signal.SIGHUP, signal.SIG_DFL)",
            "from budgetbert.training.loop.guards import Signals",
            "with Signals():",
            "    print('ready', flush=True)",
            "    time.sleep(60)",
        ]
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    assert name in process.communicate(timeout=30)[0]
    assert process.returncode == 0
