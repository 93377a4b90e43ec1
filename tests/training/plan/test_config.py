"""The configuration of a run's model: the preset's, what its recipe sets of it, and what `--config` does."""

import dataclasses

import pytest

from budgetbert.errors import InputError
from budgetbert.presets import PRESETS
from budgetbert.training.flags import Options
from budgetbert.training.plan.corpora import check_rows
from budgetbert.training.recipe import config_of
from tests.training.runs import RECIPE, train

pytestmark = pytest.mark.without_backend


def options_with(config):
    return Options.read({"budget": "1steps", "preset": "tiny", "mask_rate": "0.15", "config": config}, "24h")


def recipe_with(config):
    recipe = dataclasses.replace(RECIPE, architecture={"activation": "gelu_approximate"})
    return recipe.with_settings(options_with(config))


def test_a_configuration_is_of_preset_recipe_and_flag_the_last_first():
    preset = {**PRESETS["tiny_24h"]["backbone"], **PRESETS["tiny_24h"]["masked_lm"]}
    assert config_of("tiny_24h", recipe_with('{"num_layers": 3}')) == {
        **preset,
        "activation": "gelu_approximate",
        "num_layers": 3,
    }
    other = config_of("tiny_24h", recipe_with('{"activation": "gelu"}'), 256)
    assert (other["activation"], other["vocabulary_size"]) == ("gelu", 256)


def test_rows_are_held_against_the_positions_that_the_flag_sets(small_corpus):
    check_rows([small_corpus], recipe_with("{}"), options_with("{}"))
    short = '{"max_sequence_length": 16}'
    with pytest.raises(InputError, match=r"has rows of 32 tokens, tiny_24h has 16 positions"):
        check_rows([small_corpus], recipe_with(short), options_with(short))


def test_no_other_preset_is_advised_for_a_model_that_the_flag_changes(small_corpus, tmp_path, capsys):
    for config, told in (("{}", True), ('{"num_layers": 1}', False)):
        train(small_corpus.directory, tmp_path / str(told), plan_only=True, config=config)
        assert ("is large for 12 steps" in " ".join(capsys.readouterr().out.split())) is told
