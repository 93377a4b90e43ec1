"""Texts to batches of token ids, padded to the longest of the batch in multiples of 8, on accelerators of 32."""

import functools

import grain
import numpy as np

from budgetbert.tokenization.vocabulary import standalone_tokenizer

# Texts are sorted by length among so many batches.
_POOL = 32
# A batch's length is a multiple of 8: there are few shapes to compile. An accelerator, whose compiler takes longer and
# which computes the padding faster, gets fewer still.
_MULTIPLE, _ACCELERATED_MULTIPLE = 8, 32


class EncodedExamples:
    """The token ids of examples, `[CLS] A [SEP]` or `[CLS] A [SEP] B [SEP]`.

    Of two texts that are too long together the longer one is cut.

    Args:
        examples: `Examples`.
        tokenizer: `BertBudgetTokenizer`.
        sequence_length: int. Longer texts are cut to it.
        apart: bool. Each of two texts becomes a row of its own, both as long as the longer one. Defaults to `False`.
    """

    def __init__(self, examples, tokenizer, sequence_length, apart=False):
        fast = standalone_tokenizer(tokenizer.get_vocabulary(), tokenizer.normalizer)
        columns = [
            [np.array(row.ids, np.int32) for row in fast.encode_batch(column, add_special_tokens=False)]
            for column in examples.texts
        ]
        start, end = [tokenizer.cls_token_id], [tokenizer.sep_token_id]
        # An example is a list of rows, each of a list of texts.
        examples_of_rows = [
            [_cut((text,), sequence_length - 2) for text in texts]
            if apart
            else [_cut(texts, sequence_length - 1 - len(texts))]
            for texts in zip(*columns, strict=True)
        ]
        self._ids = [
            [np.concatenate([start, *(part for text in row for part in (text, end))]).astype(np.int32) for row in rows]
            for rows in examples_of_rows
        ]
        # The place at which the second text of a row begins.
        self._second = [rows[0][0].size + 2 for rows in examples_of_rows]
        self._pair, self._apart = len(columns) == 2, apart
        self._pad, self._longest = tokenizer.pad_token_id, sequence_length
        self.lengths = np.array([max(row.size for row in rows) for rows in self._ids])
        self.labels = examples.labels

    def __len__(self):
        return len(self._ids)

    def length_of(self, indices):
        """Returns the length (int) to which a batch of these examples is padded."""
        return padded_length(self.lengths[indices].max(), self._longest)

    def batch(self, indices, rows):
        """Returns a batch of `rows` rows (int): the examples of `indices`, and behind them padding of weight 0.

        Returns:
            Dict of arrays: `token_ids`, `padding_mask` and, of two texts, `segment_ids`, int32 (rows, length), or
            (rows, 2, length) where they are apart; `weights`, float32 (rows,); with labels also `labels`, int32 or
            float32 (rows,), or (rows, classes) where a text may have several.
        """
        shape = (rows, len(self._ids[0]), self.length_of(indices))
        token_ids, padding_mask = np.full(shape, self._pad, np.int32), np.zeros(shape, np.int32)
        segment_ids, weights = np.zeros(shape, np.int32), np.zeros(rows, np.float32)
        # A row of padding alone would have nothing to attend to.
        padding_mask[..., 0] = 1
        for row, index in enumerate(indices):
            for place, ids in enumerate(self._ids[index]):
                token_ids[row, place, : ids.size] = ids
                padding_mask[row, place, : ids.size] = 1
            if self._pair and not self._apart:
                segment_ids[row, 0, self._second[index] : self._ids[index][0].size] = 1
            weights[row] = 1.0
        batch = {"token_ids": token_ids, "padding_mask": padding_mask}
        if self._pair:
            batch["segment_ids"] = segment_ids
        if not self._apart:
            batch = {name: array[:, 0] for name, array in batch.items()}
        batch["weights"] = weights
        if self.labels is not None:
            batch["labels"] = np.zeros((rows, *self.labels.shape[1:]), self.labels.dtype)
            batch["labels"][: len(indices)] = self.labels[indices]
        return batch


def padded_length(length, longest):
    """Returns the length (int) to which rows of a length (int) are padded.

    Args:
        length: int.
        longest: int. What no row of a model is longer than; it need not be a multiple.
    """
    fine, coarse = (multiple * -(-int(length) // multiple) for multiple in (_MULTIPLE, _multiple()))
    return max(fine, min(coarse, longest))


@functools.cache
def _multiple():
    from budgetbert.hardware import is_accelerated

    return _ACCELERATED_MULTIPLE if is_accelerated() else _MULTIPLE


def _cut(texts, room):
    """Cuts a tuple of one or two arrays of ids to `room` ids in all, as KerasHub does: of two the longer one first."""
    if sum(text.size for text in texts) <= room:
        return texts
    if len(texts) == 1:
        return (texts[0][:room],)
    first, second = texts
    # The first text gets the odd token.
    half = (room + 1) // 2
    kept = min(first.size, max(half, room - second.size))
    return first[:kept], second[: room - kept]


class TrainingBatches:
    """Batches of texts of similar length in an order that is a pure function of (seed, epoch).

    Each epoch is shuffled; of every 32 batches the texts are sorted by length, cut, and the batches shuffled again.

    Args:
        encoded: `EncodedExamples` with labels.
        batch_size: int. Rows.
        seed: int.
        drop_last: bool. Whether the rows beyond the last whole batch of an epoch are left out of it.
        steps: int. Batches in all.
    """

    def __init__(self, encoded, batch_size, seed, drop_last, steps):
        self._encoded, self._rows, self._seed = encoded, batch_size, seed
        whole = len(encoded) // batch_size * batch_size
        self._used = whole if drop_last and whole else len(encoded)
        self._per_epoch = -(-self._used // batch_size)
        self._steps = steps
        self._epoch = None

    def indices(self, number):
        """Returns the examples (int array) of the batch of a number, counted from the start of training."""
        epoch, place = divmod(number, self._per_epoch)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = (epoch, self._batches_of(epoch))
        return self._epoch[1][place]

    def _batches_of(self, epoch):
        generator = np.random.default_rng((self._seed, epoch))
        order = generator.permutation(len(self._encoded))[: self._used]
        batches = []
        for start in range(0, self._used, _POOL * self._rows):
            pool = order[start : start + _POOL * self._rows]
            pool = pool[np.argsort(self._encoded.lengths[pool], kind="stable")]
            batches += [pool[first : first + self._rows] for first in range(0, pool.size, self._rows)]
        return [batches[place] for place in generator.permutation(len(batches))]

    @property
    def mean_length(self):
        """float. What the attention of a token costs, in padded tokens, on average over the first epoch."""
        lengths = [self._encoded.length_of(batch) for batch in self._batches_of(0)]
        return float(np.sum(np.square(lengths)) / np.sum(lengths))

    def read(self, first_row, count):
        """Returns an iterator of the batches of `count` rows from row `first_row` on, prepared ahead by a thread."""
        first = first_row // count
        numbers = grain.MapDataset.range(first, max(first + 1, self._steps))
        batches = numbers.map(lambda number: self._encoded.batch(self.indices(number), count))
        return iter(batches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)))


def judging_batches(encoded, rows=64):
    """Returns a list of tuples of an int array of examples and their batch: the shortest first, all of them once."""
    order = np.argsort(encoded.lengths, kind="stable")
    parts = [order[start : start + rows] for start in range(0, order.size, rows)]
    return [(part, encoded.batch(part, rows)) for part in parts]
