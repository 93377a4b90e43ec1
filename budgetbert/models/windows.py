"""Texts longer than a row as windows of it that overlap, and the rows that are made of them."""

import numpy as np

# Rows of a batch are padded to a multiple of 8, so that there are few shapes to compile.
_MULTIPLE = 8


def stride_of(room):
    """Returns by how many pieces a window of `room` pieces (int, or an array of such) begins behind the one before.

    Two windows share half a row at most, so that a piece has a quarter of one on both sides in one of them.
    """
    return room - 2 * (room // 4)


def count_windows(pieces, room):
    """Returns how many windows of `room` pieces hold `pieces` of them; one where there are none."""
    return 1 + np.maximum(0, -(-(np.asarray(pieces) - room) // stride_of(room)))


def window_of(places, room, windows):
    """Returns the window, from 0, in which a piece has most around it on both sides.

    Args:
        places: int array, of pieces in their text.
        room: int or int array, the pieces of a window.
        windows: int or int array, how many windows the text has.
    """
    return np.clip((places - room // 4) // stride_of(room), 0, windows - 1)


def pack(tokenizer, rows, second_at=None, length=None):
    """Packs token ids to rows of one length, that of the longest, rounded up to a multiple of 8.

    Args:
        tokenizer: `BertBudgetTokenizer`.
        rows: list of int arrays, special tokens included.
        second_at: int array, the column of each row at which its second segment begins. Defaults to `None`: none does.
        length: int. The most that a row may have. Defaults to no limit.

    Returns:
        Dict of int32 arrays `[rows, length]`: `token_ids`, `padding_mask` and `segment_ids`.
    """
    longest = -(-max((len(row) for row in rows), default=2) // _MULTIPLE) * _MULTIPLE
    longest = longest if length is None else min(length, longest)
    token_ids = np.full((len(rows), longest), tokenizer.pad_token_id, np.int32)
    padding_mask = np.zeros((len(rows), longest), np.int32)
    segment_ids = np.zeros((len(rows), longest), np.int32)
    for number, row in enumerate(rows):
        token_ids[number, : len(row)] = row
        padding_mask[number, : len(row)] = 1
        if second_at is not None:
            segment_ids[number, second_at[number] : len(row)] = 1
    return {"token_ids": token_ids, "padding_mask": padding_mask, "segment_ids": segment_ids}
