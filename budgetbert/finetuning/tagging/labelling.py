"""The entities of texts, as rows of a file."""

import pyarrow as pa

from budgetbert.finetuning.tagging.head import EncodedTexts, word_logits


class TagLabeller:
    """The entities of texts: `start` and `end` in characters of the text, `label`, `text` and `score`.

    Args:
        model: `BertBudgetTokenClassifier` with a preprocessor.

    Attributes:
        pair: bool, `False`: there is one text.
        fields: list of `pyarrow.Field`, what a row has.
    """

    pair = False

    def __init__(self, model):
        self._model = model
        names = {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string()}
        entity = pa.struct([*(pa.field(name, kind) for name, kind in names.items()), pa.field("score", pa.float32())])
        self.fields = [pa.field("entities", pa.list_(entity))]

    def __call__(self, texts, batch_size):
        """Tags texts.

        Args:
            texts: tuple of a list of str.
            batch_size: int. Rows at a time.

        Returns:
            List of dict, a row for each text.
        """
        (texts,) = texts
        encoded = EncodedTexts(texts, self._model.preprocessor)
        found = self._model.read(texts, encoded.rows, word_logits(self._model, encoded, batch_size))
        return [{"entities": entities} for entities in found]
