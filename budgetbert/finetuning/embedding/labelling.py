"""What a model of vectors says of texts, as rows of a file."""

import pyarrow as pa

from budgetbert.finetuning.batches import EncodedExamples
from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.embedding.encoded import vectors_of


class VectorLabeller:
    """The vectors of texts; a row has `vector`.

    Args:
        model: `BertBudgetTextEmbedder` with a preprocessor.

    Attributes:
        pair: bool. `False`: it reads one text.
        fields: list of `pyarrow.Field`, what a row has.
    """

    pair = False

    def __init__(self, model):
        self._model = model
        self.fields = [pa.field("vector", pa.list_(pa.float32(), model.backbone.hidden_dim))]

    def __call__(self, texts, batch_size):
        """Returns a row (dict) for each text of a tuple of one list of str, `batch_size` (int) texts at a time."""
        preprocessor = self._model.preprocessor
        encoded = EncodedExamples(Examples(texts, None, ()), preprocessor.tokenizer, preprocessor.sequence_length)
        return [{"vector": vector} for vector in vectors_of(self._model, encoded, batch_size)]
