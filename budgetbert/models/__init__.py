"""The models, as KerasHub knows them.

Importing this package registers every class that a `.keras` file of ours can name, the optimizers' included.
"""

from budgetbert.terminal import without_notices

with without_notices():
    import keras_hub  # noqa: F401

import budgetbert.optimizers  # noqa: F401 (a compiled model's file names its optimizer)
from budgetbert.hardware import hide_gpus_from_tensorflow
from budgetbert.models.answer_rows import BertBudgetQuestionAnsweringPreprocessor
from budgetbert.models.bert_budget import BertBudget
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import (
    BertBudgetMaskedLMPreprocessor,
    BertBudgetTextClassifierPreprocessor,
    BertBudgetTextEmbedderPreprocessor,
)
from budgetbert.models.question_answering import BertBudgetQuestionAnswering
from budgetbert.models.tagging_rows import BertBudgetTokenClassifierPreprocessor
from budgetbert.models.text_classifier import BertBudgetTextClassifier
from budgetbert.models.text_embedder import BertBudgetTextEmbedder
from budgetbert.models.token_classifier import BertBudgetTokenClassifier
from budgetbert.models.tokenizer import BertBudgetTokenizer

# KerasHub has imported TensorFlow where it is installed, and nothing has started it yet.
hide_gpus_from_tensorflow()

__all__ = [
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
]
