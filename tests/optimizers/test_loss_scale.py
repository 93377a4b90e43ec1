import pytest
from keras import ops

from budgetbert.optimizers.loss_scale import HIGHEST, LOWEST, next_scale


def after(scale, good_steps, finite):
    scale, good_steps = next_scale(
        ops.convert_to_tensor(scale, dtype="float32"),
        ops.convert_to_tensor(good_steps, dtype="int32"),
        ops.convert_to_tensor(finite, dtype="bool"),
    )
    return float(scale), int(good_steps)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ((1024.0, 0, True), (1024.0, 1)),
        ((1024.0, 1998, True), (1024.0, 1999)),
        ((1024.0, 1999, True), (2048.0, 0)),
        ((1024.0, 1999, False), (512.0, 0)),
        ((1024.0, 5, False), (512.0, 0)),
        ((LOWEST, 5, False), (LOWEST, 0)),
        ((HIGHEST, 1999, True), (HIGHEST, 0)),
    ],
)
def test_the_scale_doubles_after_2000_good_steps_and_halves_on_overflow_within_bounds(before, expected):
    assert after(*before) == expected
