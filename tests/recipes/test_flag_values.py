"""NaN, infinite, huge, empty and absurd values of every flag end in one sentence, before Keras is imported."""

import json

import pytest

from tests.programs import call

pytestmark = pytest.mark.without_backend
RECIPES = (
    *("academic_24h", "cramming_24h", "export_model", "finetune_glue", "frontier", "lamb_76min", "prepare_corpus"),
    *("finetune", "predict", "search", "continue_24h"),
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_value_that_nobody_means_is_refused(recipe, tmp_path):
    done = call("tests.recipes.flag_values", recipe, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert len(found) > 50
    assert [line for line in found if line[2] != "sentence"] == []
