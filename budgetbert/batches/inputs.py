"""What a model has to be told of rows beside their tokens."""

import numpy as np


def row_inputs(rows, kind, special_ids):
    """Returns the inputs that follow from the tokens of rows.

    Args:
        rows: integer array (count, sequence_length) of token ids, before any is masked.
        kind: str. `"packed"` rows are full and need none, `"sentences"` may end in [PAD], `"pairs"` are of two segments
            as well: [CLS] A [SEP] B [SEP].
        special_ids: dict of str to int, with `"[PAD]"` and `"[SEP]"`.

    Returns:
        Dict of int32 arrays (count, sequence_length): `padding_mask`, 0 at padding, unless the rows are packed, and
        `segment_ids` of pairs, 1 behind the first [SEP] and up to the last.
    """
    if kind == "packed":
        return {}
    mask = rows != special_ids["[PAD]"]
    inputs = {"padding_mask": mask.astype(np.int32)}
    if kind == "pairs":
        is_separator = rows == special_ids["[SEP]"]
        separators_before = np.cumsum(is_separator, axis=1) - is_separator
        inputs["segment_ids"] = ((separators_before > 0) & mask).astype(np.int32)
    return inputs
