import ast
import pathlib

import numpy as np
import pytest
from keras import ops

from budgetbert.models import BertBudgetMaskedLM
from budgetbert.presets import PRESETS
from budgetbert.training.step.objectives import MaskedLanguageModeling

pytestmark = pytest.mark.without_backend

torch = pytest.importorskip("torch")
REPOSITORY = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "tools")


def test_it_has_the_published_number_of_parameters():
    from peers.crammed_torch import CrammedBert

    with torch.device("meta"):
        model = CrammedBert(PRESETS["crammed_base"]["backbone"])
    assert sum(p.numel() for p in model.parameters()) == 119_589_889


def test_its_loss_is_ours_at_equal_weights():
    pytest.importorskip("transformers")
    from harness import masked_rows, setup_of
    from peers.crammed_torch import CrammedBert

    from budgetbert.models.hugging_face import to_torch

    model = BertBudgetMaskedLM.from_preset("tiny_crammed", load_weights=False, vocabulary_size=256)
    for variable in model.trainable_variables:  # gains and offsets, too, so that each of them matters
        variable.assign_add(0.1 * np.random.default_rng(0).normal(size=variable.shape))
    batch = masked_rows(4, 256, setup_of("tiny_crammed"))
    batch["weights"][0, 3:] = 0

    peer = CrammedBert(PRESETS["tiny_crammed"]["backbone"] | {"vocabulary_size": 256})
    weights = to_torch(model).budgetbert.state_dict()
    del weights["positions.weight"]  # there the scale is multiplied into the table
    scale = ops.convert_to_numpy(model.backbone.embeddings.position_scale)
    peer.load_state_dict(weights | {"position_scale": torch.tensor(float(scale))})
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    for name in ("mask_positions", "labels"):
        tensors[name] = tensors[name].long()

    inputs = {name: ops.convert_to_tensor(array) for name, array in batch.items()}
    loss, weight, _ = MaskedLanguageModeling()(model, inputs, training=False)
    assert float(peer(**tensors)) == pytest.approx(float(loss) / float(weight), abs=1e-4)


@pytest.mark.parametrize(("family", "recipe"), [("24h", "academic_24h"), ("crammed", "cramming_24h")])
def test_the_setups_are_those_of_the_recipes(family, recipe):
    from harness import SETUPS

    tree = ast.parse((REPOSITORY / "recipes" / f"{recipe}.py").read_text())
    published = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "PUBLISHED"
    )
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    adamw, recipe = (
        {k.arg: k.value for k in next(c for c in calls if ast.unparse(c.func).endswith(name)).keywords if k.arg}
        for name in ("AdamW", "Recipe")
    )
    setup = SETUPS[family]
    assert setup.mask_rate == float(published["mask_rate"])
    assert {name: ast.literal_eval(value) for name, value in adamw.items()} == {
        "beta_1": 0.9,
        "beta_2": setup.beta_2,
        "epsilon": setup.epsilon,
        "weight_decay": 0.01,
    }
    assert ast.literal_eval(recipe["clip_norm"]) == setup.clip_norm
    assert ast.literal_eval(recipe.get("dropout", ast.Constant(True))) == setup.dropout
