"""The entities of texts, as rows of a file."""

import numpy as np
import pyarrow as pa

# Texts of similar length are tagged together, so that little is padding.
_TEXTS = 512


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
        order = np.argsort([len(text) for text in texts], kind="stable")
        rows = [None] * len(texts)
        for first in range(0, len(order), _TEXTS):
            chosen = order[first : first + _TEXTS]
            found = self._model.predict([texts[place] for place in chosen], batch_size=batch_size, verbose=0)
            for place, entities in zip(chosen, found, strict=True):
                rows[place] = {"entities": entities}
        return rows
