"""The models, as KerasHub knows them."""

from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor, BertBudgetTextClassifierPreprocessor
from budgetbert.models.presets import PRESETS
from budgetbert.models.text_classifier import BertBudgetTextClassifier
from budgetbert.models.tokenizer import BertBudgetTokenizer

__all__ = [
    "PRESETS",
    "BertBudget",
    "BertBudgetMaskedLM",
    "BertBudgetMaskedLMPreprocessor",
    "BertBudgetTextClassifier",
    "BertBudgetTextClassifierPreprocessor",
    "BertBudgetTokenizer",
]
