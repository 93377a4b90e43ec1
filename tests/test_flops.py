import pytest

from budgetbert import flops
from budgetbert.presets import PRESETS


@pytest.mark.parametrize(
    ("preset", "vocabulary_size", "share", "transform", "megaflops"),
    # the table of MFLOP per token, counted with a transform in the head
    [
        ("bert_base", 30528, 0.15, True, 545),
        ("bert_base", 30528, 1.0, True, 668),
        ("bert_large_24h", 30528, 0.15, True, 1879),
        ("crammed_base", 32768, 0.25, True, 623),
    ],
)
def test_flops_per_token_are_those_of_the_published_shapes(preset, vocabulary_size, share, transform, megaflops):
    config = {**PRESETS[preset]["backbone"], "vocabulary_size": vocabulary_size, "head_transform": transform}
    counted = flops.training_flops_per_token(config, 128, share * 128)
    assert counted / 1e6 == pytest.approx(megaflops, abs=1)


def test_a_head_without_a_transform_costs_less():
    config = PRESETS["crammed_base"]["backbone"]
    with_transform = flops.training_flops_per_token({**config, "head_transform": True}, 128, 32)
    without = flops.training_flops_per_token({**config, "head_transform": False}, 128, 32)
    assert with_transform - without == pytest.approx(6 * 0.25 * 768**2)
