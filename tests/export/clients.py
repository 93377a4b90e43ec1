"""What programs of others do with an export that has no strings in its graph."""

import numpy as np
import tokenizers


def encode(folder, texts, length=None):
    """Token ids by the `tokenizer.json` of a folder, padded to the longest text or to a length; texts may be pairs."""
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=length)
    rows = tokenizer.encode_batch(texts)
    names = {"token_ids": "ids", "padding_mask": "attention_mask", "segment_ids": "type_ids"}
    return {key: np.array([getattr(row, name) for row in rows], "int32") for key, name in names.items()}
