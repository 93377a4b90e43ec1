"""Dynamic loss scaling: keeps float16 gradients within what float16 can hold."""

from keras import ops

# 2^15, x 2 after 2,000 good steps, / 2 on overflow: Micikevicius et al. 2018, as in NVIDIA's apex and Keras. Bounds are
# ours: Keras's own scale reaches infinity, or 0.002 after ten overflows.
INITIAL = 2.0**15
GROWTH_STEPS = 2000
LOWEST, HIGHEST = 1.0, 2.0**24


def next_scale(scale, good_steps, finite):
    """What a step does to the scale.

    Args:
        scale: float32 scalar tensor.
        good_steps: int32 scalar tensor. Steps without overflow since the scale last changed.
        finite: bool scalar tensor. Whether the gradient of this step was finite.

    Returns:
        Tuple of the next `scale` and `good_steps`.

    Source: Micikevicius et al. 2018 (arXiv 1710.03740), section 3.2.
    """
    good_steps = ops.where(finite, good_steps + 1, 0)
    grows = good_steps >= GROWTH_STEPS
    grown = ops.where(grows, ops.minimum(scale * 2.0, HIGHEST), scale)
    scale = ops.where(finite, grown, ops.maximum(scale / 2.0, LOWEST))
    return scale, ops.where(grows, 0, good_steps)
