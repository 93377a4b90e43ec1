"""What importing the package costs, and what it registers."""

import subprocess
import sys

import keras
import pytest

import budgetbert

pytestmark = pytest.mark.without_backend

HEAVY = {"keras", "keras_hub", "tensorflow", "torch", "jax", "matplotlib"}
WITHOUT_KERAS = [
    "budgetbert",
    "budgetbert.command_line",
    "budgetbert.corpus.prepare",
    "budgetbert.finetuning.protocols",
    "budgetbert.flops",
    "budgetbert.presets",
    "budgetbert.schedules",
    "budgetbert.training.flags",
]


def run(program):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not done.stderr  # TensorFlow's notices of its start are nobody's news.
    return done.stdout.strip()


def test_a_file_saved_elsewhere_loads_after_the_import_of_the_models():
    registered = run("import budgetbert.models, keras; print(*keras.saving.get_custom_objects())").split()
    ours = {name.partition(">")[2] for name in registered if name.startswith("budgetbert>")}
    assert {"BertBudget", "BertBudgetMaskedLM", "BertBudgetTextClassifier", "BertBudgetTokenizer"} <= ours
    assert {"EncoderBlock", "MaskedLMHead", "NextSentenceHead", "RMSNormalization"} <= ours
    assert {"Lamb", "Muon", "FinetuningAdam"} <= ours


def test_what_needs_no_keras_imports_none():
    modules = ", ".join(WITHOUT_KERAS)
    assert not run(f"import sys, {modules}; print(*{HEAVY!r} & set(sys.modules))")


def test_public_names_load_when_they_are_used():
    assert issubclass(budgetbert.BertBudget, keras.Model)
    assert budgetbert.optimizers.Lamb.__module__.startswith("budgetbert.optimizers")
    assert budgetbert.schedules.linear(0.5, warmup=0.5) == 1.0
    assert set(budgetbert.__all__) <= set(dir(budgetbert))
    for name in budgetbert.__all__:
        getattr(budgetbert, name)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Bert'"):
        budgetbert.Bert  # noqa: B018
