"""Masks drawn anew at each use of a row, as a pure function of (seed, row use).

BERT's and 24hBERT's preparation wrote each row with up to ten masks drawn beforehand. That is not reproduced: drawn
anew, the masks have the same distribution, and none comes a second time.
"""

import numpy as np

# This stands in label slots of weight 0.
IGNORED_LABEL = 0
# Which shares of the chosen tokens become [MASK] and a random token; the rest stay.
PUBLISHED_SHARES = (0.8, 0.1)
ALL_MASKED = (1.0, 0.0)


def predictions_per_row(rate, sequence_length):
    """Returns k, the predictions of a full row: round(rate x length), at least 1. 19 at 15 % of 128, 32 at 25 %."""
    return max(1, round(rate * sequence_length))


class Masking:
    """BERT's masks with exact counts: of n chosen tokens round(0.8 n) become [MASK], up to round(0.9 n) a random
    token, the rest stay. n = 32: 26, 3 and 3; n = 19: 15, 2 and 2. Other `shares` than 0.8 and 0.1 can be asked for;
    they choose the same tokens.

    Special tokens are never chosen, and random tokens are never special (24hBERT and Cramming draw from the whole
    vocabulary, [PAD] and [unused] entries included).

    Args:
        rate: float in (0, 1). Share of the tokens of a row to predict.
        vocabulary: list of str.
        special_ids: dict of str to int, with `"[PAD]"` and `"[MASK]"` among them.
        seed: int.
        slots: int. Prediction slots of a row. Defaults to `None`: as many as a full row has predictions.
        shares: tuple of two floats. Which shares of the chosen tokens become [MASK] and a random token. Defaults to
            (0.8, 0.1), as published; `ALL_MASKED`, (1, 0), shows none of the tokens that are to be predicted.

    Source: Devlin et al. 2019, section 3.1; exact counts as in Geiping & Goldstein 2022 (`mlm_probability`).
    """

    def __init__(self, rate, vocabulary, special_ids, seed, slots=None, shares=PUBLISHED_SHARES):
        self.rate = rate
        masked, random = shares
        self._masked_share, self._changed_share = masked, masked + random
        self._slots = slots
        self.seed = seed
        self._pad_id, self._mask_id = special_ids["[PAD]"], special_ids["[MASK]"]
        self._is_special = np.zeros(len(vocabulary), bool)
        self._is_special[list(special_ids.values())] = True
        self.special_ids = special_ids
        unused = [token.startswith("[unused") for token in vocabulary]
        self._replacements = np.flatnonzero(~self._is_special & ~np.array(unused))

    def __call__(self, rows, first_use):
        """Masks rows.

        Args:
            rows: integer array (count, sequence_length) of token ids.
            first_use: int. How many rows the run has used before these; row i of them is use `first_use + i`.

        Returns:
            As `of_uses`.
        """
        return self.of_uses(rows, range(first_use, first_use + len(rows)))

    def slots_of(self, length):
        """Returns the prediction slots (int) that rows of at most so many tokens need."""
        return self._slots or predictions_per_row(self.rate, length)

    def of_uses(self, rows, uses):
        """Masks rows that need not be used one after another.

        Args:
            rows: integer array (count, sequence_length) of token ids.
            uses: sequence of int, the number of the use of each row.

        Returns:
            Dict of `token_ids` int32 (count, sequence_length); `mask_positions` and `labels` int32 (count, k), k as
            in `predictions_per_row`; `weights` float32 (count, k), 0 in the slots that a row too short does not fill.
        """
        count, length = rows.shape
        slots = self.slots_of(length)
        order_keys = np.empty((count, length))
        draws = np.empty((count, slots), np.int64)
        # Every use of a row has a generator of its own (20 us), so that any split gives equal masks.
        for i, use in enumerate(uses):
            generator = np.random.Generator(np.random.Philox(key=[self.seed, int(use)]))
            generator.random(out=order_keys[i])
            draws[i] = generator.integers(len(self._replacements), size=slots)

        candidates = ~self._is_special[rows]
        order_keys[~candidates] = 2.0
        # The candidates come first, in random order.
        chosen = np.argsort(order_keys, axis=1)[:, :slots]
        tokens = np.count_nonzero(rows != self._pad_id, axis=1)
        wanted = np.clip(np.round(self.rate * tokens).astype(np.int64), 1, slots)
        number = np.minimum(wanted, np.count_nonzero(candidates, axis=1))[:, None]

        slot = np.arange(slots)[None, :]
        used = slot < number
        labels = np.take_along_axis(rows, chosen, axis=1).astype(np.int32)
        inputs = np.where(slot < np.round(self._masked_share * number), self._mask_id, labels)
        random_slots = slot >= np.round(self._masked_share * number)
        random_slots &= slot < np.round(self._changed_share * number)
        inputs = np.where(random_slots, self._replacements[draws], inputs)
        inputs = np.where(used, inputs, labels).astype(np.int32)

        token_ids = rows.astype(np.int32)
        np.put_along_axis(token_ids, chosen, inputs, axis=1)
        return {
            "token_ids": token_ids,
            "mask_positions": chosen.astype(np.int32),
            "labels": np.where(used, labels, IGNORED_LABEL),
            "weights": used.astype(np.float32),
        }
