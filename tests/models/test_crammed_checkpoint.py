"""The published format of crammed-BERT's own code."""

import copy

import numpy as np
import pytest

pytest.importorskip("transformers")
pytest.importorskip("safetensors")

from budgetbert.models.hugging_face_checkpoint import load_transformers

from . import published_crammed as published
from .examples import VOCABULARY, to_numpy

pytestmark = pytest.mark.filterwarnings("ignore:.*run of punctuation:UserWarning")


def test_the_logits_are_those_of_the_original(tmp_path):
    with pytest.warns(UserWarning, match="keeps a run of punctuation"):
        model = load_transformers(published.write(tmp_path))
    ids = np.random.default_rng(0).integers(5, 128, (3, 12)).astype("int32")
    mask = (np.arange(12) < np.array([[12], [7], [3]])).astype("int32")
    positions = np.tile(np.arange(12, dtype="int32"), (3, 1))
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": None, "mask_positions": positions}
    expected = published.logits(published.weights(), ids, mask)
    np.testing.assert_allclose(to_numpy(model(inputs))[mask == 1], expected[mask == 1], atol=2e-4)
    assert model.preprocessor.tokenizer.get_vocabulary() == VOCABULARY
    assert model.preprocessor.sequence_length == 24
    normalizer = model.preprocessor.tokenizer.normalizer
    assert (normalizer.kind, normalizer.lowercase, normalizer.strip_accents) == ("cramming", True, True)
    assert len(model.fill_mask("the [MASK] sat", k=2)[0]) == 2


CHANGES = {
    "a bias": (("use_bias",), True, "use_bias=True"),
    "other positions": (("embedding", "pos_embedding"), "learned", "embedding.pos_embedding='learned'"),
    "another head": (("skip_head_transform",), False, "skip_head_transform=False"),
    "causal": (("attention", "causal_attention"), True, "attention.causal_attention=True"),
}


@pytest.mark.without_backend
@pytest.mark.parametrize("kind", CHANGES)
def test_another_architecture_of_that_code_is_refused(kind, tmp_path):
    path, value, words = CHANGES[kind]
    arch = part = copy.deepcopy(published.ARCH)
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    with pytest.raises(ValueError, match=words):
        load_transformers(published.write(tmp_path, arch))


@pytest.mark.without_backend
def test_a_missing_weight_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"lacks the weight encoder\.final_norm\.weight"):
        load_transformers(published.write(tmp_path, **{"encoder.final_norm.weight": None}))
