"""What a finetuned classifier says of texts, as rows of a file."""

import numpy as np
import pyarrow as pa

from budgetbert.finetuning.batches import EncodedExamples, judging_batches
from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.heads import logits_of
from budgetbert.finetuning.labelled.judging import probabilities_of
from budgetbert.models.logits import label_names, problem_type


class TextLabeller:
    """The labels of texts.

    A row has `label`, `probability` and the `probabilities` of all classes; where a text may have several labels
    `labels`, those with a probability over a half, and `probabilities`; of a regression `score`.

    Args:
        model: `BertBudgetTextClassifier` with a preprocessor.

    Attributes:
        pair: bool. Whether there are two texts.
        fields: list of `pyarrow.Field`, what a row has.
    """

    def __init__(self, model):
        self._model, self._problem, self._names = model, problem_type(model), label_names(model)
        self.pair = model.pair
        self.fields = {
            "regression": [pa.field("score", pa.float32())],
            "multi_label_classification": [pa.field("labels", pa.list_(pa.string()))],
            "single_label_classification": [pa.field("label", pa.string()), pa.field("probability", pa.float32())],
        }[self._problem]
        if self._names:
            each = pa.struct([pa.field(name, pa.float32()) for name in self._names])
            self.fields = [*self.fields, pa.field("probabilities", each)]

    def __call__(self, texts, batch_size):
        """Labels texts.

        Args:
            texts: tuple of one or two lists of str.
            batch_size: int. Texts at a time.

        Returns:
            List of dict, a row for each text.
        """
        preprocessor = self._model.preprocessor
        lengths = preprocessor.sequence_length, self._model.apart
        encoded = EncodedExamples(Examples(texts, None, ()), preprocessor.tokenizer, *lengths)
        logits = logits_of(self._model, judging_batches(encoded, batch_size), len(encoded))
        return [self._row(found) for found in np.nan_to_num(probabilities_of(self._model, logits)).tolist()]

    def _row(self, found):
        if self._problem == "regression":
            return {"score": found[0]}
        row = {"probabilities": dict(zip(self._names, found, strict=True))}
        if self._problem == "multi_label_classification":
            return {"labels": [name for name, value in row["probabilities"].items() if value > 0.5], **row}
        best = max(range(len(found)), key=found.__getitem__)
        return {"label": self._names[best], "probability": found[best], **row}
