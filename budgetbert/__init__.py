"""Pretrain the best BERT-like encoder that a fixed budget buys.

Importing the package costs nothing: its public names load when they are first used (PEP 562), because Keras takes
5 seconds and 700 MB. `import budgetbert.models` registers every class that a `.keras` file of ours names.
"""

import importlib

__version__ = "0.1.0"

# The module of each public name; an empty string for a module that is public itself.
_HOMES = {
    **dict.fromkeys(("layers", "models", "optimizers", "schedules"), ""),
    "Budget": "budget",
    "Normalizer": "tokenization.normalizer",
    **dict.fromkeys(
        (
            "BertBudget",
            "BertBudgetMaskedLM",
            "BertBudgetMaskedLMPreprocessor",
            "BertBudgetQuestionAnswering",
            "BertBudgetQuestionAnsweringPreprocessor",
            "BertBudgetTextClassifier",
            "BertBudgetTextClassifierPreprocessor",
            "BertBudgetTextEmbedder",
            "BertBudgetTextEmbedderPreprocessor",
            "BertBudgetTokenClassifier",
            "BertBudgetTokenClassifierPreprocessor",
            "BertBudgetTokenizer",
        ),
        "models",
    ),
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES[name] or name}")
    value = getattr(module, name) if _HOMES[name] else module
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
