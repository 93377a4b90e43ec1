"""The examples in docstrings run, and each public class has one."""

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap

import keras
import numpy as np
import pytest

import budgetbert.layers
import budgetbert.models
import budgetbert.optimizers

ROOMS = (
    "layers",
    "models",
    "optimizers",
    "tokenization",
    "schedules",
    "budget",
    "finetuning_rule",
    "corpus.options",
    "corpus.stages.pool",
)
# Users meet these; others may have an example.
NEED_ONE = {
    *budgetbert.layers.__all__,
    *("BertBudget", "BertBudgetMaskedLM", "BertBudgetTextClassifier", "BertBudgetTokenizer"),
    *("BertBudgetMaskedLMPreprocessor", "BertBudgetTextClassifierPreprocessor"),
    *("Budget", "FinetuningAdam", "Lamb", "Muon", "Normalizer"),
}


def documented():
    """Returns the classes and functions of the rooms that have a docstring, by name."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"budgetbert.{room}")
        paths = getattr(module, "__path__", None)
        names = [f"{module.__name__}.{m.name}" for m in pkgutil.iter_modules(paths)] if paths else [module.__name__]
        for name in names:
            if name.endswith("modeling_budgetbert"):  # It needs torch and transformers, and stands in exports.
                continue
            for key, value in vars(importlib.import_module(name)).items():
                if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == name:
                    found[key] = value
    return found


def blocks(value):
    """Returns the fenced Python of a docstring, as a list of str."""
    fenced = re.findall(r"^( *)```python\n(.*?)^ *```", value.__doc__ or "", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in fenced]


DOCUMENTED = documented()
WITH_EXAMPLE = sorted(name for name, value in DOCUMENTED.items() if blocks(value) or ">>>" in (value.__doc__ or ""))


def test_each_class_that_users_meet_has_an_example():
    assert NEED_ONE - set(WITH_EXAMPLE) == set()


@pytest.mark.parametrize("name", WITH_EXAMPLE)
def test_the_example_runs(name):
    names = {**vars(budgetbert.layers), **vars(budgetbert.models), **vars(budgetbert.optimizers)}
    names |= {"np": np, "keras": keras, "budgetbert": budgetbert, **DOCUMENTED}
    value = DOCUMENTED[name]
    for code in blocks(value):
        exec(code, dict(names))
    tests = doctest.DocTestParser().get_doctest(value.__doc__, dict(names), name, None, None)
    told = []
    doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE).run(tests, out=told.append)
    assert not told, "".join(told)
