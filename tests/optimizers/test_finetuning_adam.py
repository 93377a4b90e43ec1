"""`FinetuningAdam` against Keras' Adam with the schedule of `budgetbert.schedules`."""

import keras
import numpy as np
import pytest

from budgetbert import schedules
from budgetbert.optimizers import FinetuningAdam

STEPS = 10


def steps_of(optimizer, count, rate_of=None):
    variable = keras.Variable(np.ones(3, "float32"))
    optimizer.build([variable])
    generator, values = np.random.default_rng(0), []
    for step in range(count):
        if rate_of:
            optimizer.learning_rate = rate_of(step)
        optimizer.apply([keras.ops.convert_to_tensor(generator.normal(size=3).astype("float32"))])
        values.append(keras.ops.convert_to_numpy(variable.value).copy())
    return np.array(values)


def test_a_schedule_is_a_linear_warmup_and_decay_and_then_the_full_rate_is_back():
    ours, theirs = FinetuningAdam(1e-2), keras.optimizers.Adam(1e-2, 0.9, 0.98, 1e-6, global_clipnorm=1.0)
    ours.start_schedule(0, STEPS, 0.2)
    expected = steps_of(theirs, STEPS, lambda step: 1e-2 * schedules.linear(step / STEPS, warmup=0.2))
    np.testing.assert_allclose(steps_of(ours, STEPS), expected, rtol=1e-5)
    assert float(ours.learning_rate) == pytest.approx(1e-2)
    ours.end_schedule()
    plain = steps_of(keras.optimizers.Adam(1e-2, 0.9, 0.98, 1e-6, global_clipnorm=1.0), 3)
    np.testing.assert_allclose(steps_of(FinetuningAdam(1e-2), 3), plain, rtol=1e-5)


def test_a_schedule_may_begin_at_a_later_step():
    optimizer = FinetuningAdam(1e-2)
    steps_of(optimizer, 4)
    optimizer.start_schedule(4, STEPS, 0.2)
    assert float(optimizer._factor()) == 0.0


def test_the_rate_is_saved_and_the_schedule_is_not():
    optimizer = FinetuningAdam(2e-3)
    optimizer.start_schedule(0, STEPS, 0.2)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(loaded) is FinetuningAdam
    assert loaded.get_config() == optimizer.get_config()
    assert loaded._factor() == 1.0
