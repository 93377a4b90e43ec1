"""Pretrain the best BERT-like encoder that a fixed budget buys."""

import os

__version__ = "0.1.0"

# The processes of corpus/ set this: they need no Keras, which takes 5 seconds and 700 MB. Everyone else gets the
# classes registered, so that `import budgetbert, keras` is all that keras.models.load_model needs.
if "BUDGETBERT_WITHOUT_KERAS" not in os.environ:
    from budgetbert import layers as layers
    from budgetbert import models as models
    from budgetbert import optimizers as optimizers
    from budgetbert import schedules as schedules
    from budgetbert.budget import Budget as Budget
    from budgetbert.models import BertBudget as BertBudget
    from budgetbert.models import BertBudgetMaskedLM as BertBudgetMaskedLM
    from budgetbert.models import BertBudgetMaskedLMPreprocessor as BertBudgetMaskedLMPreprocessor
    from budgetbert.models import BertBudgetTextClassifier as BertBudgetTextClassifier
    from budgetbert.models import BertBudgetTextClassifierPreprocessor as BertBudgetTextClassifierPreprocessor
    from budgetbert.models import BertBudgetTokenizer as BertBudgetTokenizer
    from budgetbert.normalization import Normalizer as Normalizer
