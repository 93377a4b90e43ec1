"""BLiMP: how often a masked-LM finds the grammatical one of two sentences more likely, without any finetuning."""

import collections
import dataclasses
import math

import keras
import numpy as np
from keras import ops

from budgetbert.corpus.sources.records import Records
from budgetbert.errors import InputError
from budgetbert.tokenization.vocabulary import standalone_tokenizer

# The twelve phenomena of the paper count the two paradigms that its files call s-selection as argument structure.
_PHENOMENA = {"s-selection": "argument_structure"}
_FIELDS = ("sentence_good", "sentence_bad", "UID", "linguistics_term")
# So many tokens are run at once, of rows of one length.
_TOKENS_AT_ONCE = 8192
# Rows are padded to a multiple of it: few shapes to compile, and few tokens of padding.
_MULTIPLE = 4


@dataclasses.dataclass(frozen=True)
class MinimalPair:
    """Two sentences that differ in one point of grammar.

    Args:
        good: str, the grammatical one.
        bad: str.
        paradigm: str. Which of the 67 kinds of pairs it is of.
        phenomenon: str. Which of the 12 phenomena the paradigm belongs to.
    """

    good: str
    bad: str
    paradigm: str
    phenomenon: str


def read_blimp(path, pairs_per_paradigm=None, seed=0):
    """Reads minimal pairs.

    Args:
        path: str. A file with the columns `sentence_good`, `sentence_bad`, `UID` and `linguistics_term`, as `.jsonl` or
            another table, also compressed.
        pairs_per_paradigm: int. So many of each paradigm at most, drawn by the seed: the same for every model. Defaults
            to `None`: all, 1,000 in the published files.
        seed: int. Defaults to 0.

    Returns:
        list of `MinimalPair`, in the order of the file.

    Raises:
        InputError: if it cannot be read, has other columns, or a row has no text in one of them.
    """
    records = Records(str(path), "blimp")
    if missing := [name for name in _FIELDS if name not in records.names]:
        raise InputError(f"--blimp {path} has no column {missing[0]!r}: BLiMP's files have {', '.join(_FIELDS)}.")
    pairs = []
    for record in records:
        values = record.values and [record.values.get(name) for name in _FIELDS]
        if not values or not all(isinstance(value, str) and value.strip() for value in values):
            raise InputError(
                f"--blimp {path}, line {record.line:,}: {record.problem or 'a column has no text'}; get it again."
            )
        pairs.append(MinimalPair(*values[:3], _PHENOMENA.get(values[3], values[3])))
    if not pairs:
        raise InputError(f"--blimp {path} holds no pairs: get it again.")
    return pairs if pairs_per_paradigm is None else _some_of_each(pairs, pairs_per_paradigm, seed)


def _some_of_each(pairs, count, seed):
    places = collections.defaultdict(list)
    for place, pair in enumerate(pairs):
        places[pair.paradigm].append(place)
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(places[name])[:count] for name in sorted(places)]
    return [pairs[place] for place in np.sort(np.concatenate(drawn))]


class PseudoLogLikelihood:
    """The pseudo-log-likelihood of sentences under a masked-LM.

    It is the sum over the tokens of a sentence of the log of the probability that the model gives it where it, and it
    alone, is masked; over the entries of the vocabulary, not those that only a padded table has. [CLS] and [SEP] are
    never masked, and do not count.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor.

    Source: Salazar et al. 2020, Masked Language Model Scoring, section 2.
    """

    def __init__(self, model):
        self._tokenizer = model.preprocessor.tokenizer
        self._longest = model.backbone.max_sequence_length
        labels = keras.Input((1,), dtype="int32", name="labels")
        logits = model.output["masked_lm"] if isinstance(model.output, dict) else model.output
        logits = logits[:, :, : self._tokenizer.vocabulary_size()]
        chosen = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)[:, :, 0]
        self._model = keras.Model({**model.input, "labels": labels}, chosen - ops.logsumexp(logits, axis=-1))
        if keras.backend.backend() == "tensorflow":
            # One graph serves all lengths, where XLA would compile a program for each.
            self._model.jit_compile = False

    def encode(self, sentences):
        """Returns the ids of sentences, `[CLS] sentence [SEP]`, as a list of tuples of int.

        Raises:
            InputError: if a sentence is longer than the model's positions.
        """
        start, end = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        fast = standalone_tokenizer(self._tokenizer.get_vocabulary(), self._tokenizer.normalizer)
        rows = [(start, *row.ids, end) for row in fast.encode_batch(sentences, add_special_tokens=False)]
        for sentence, row in zip(sentences, rows, strict=True):
            if len(row) > self._longest:
                raise InputError(f"{sentence[:100]!r} has {len(row)} tokens: the model has {self._longest} positions.")
        return rows

    def __call__(self, rows):
        """Returns the sums (float64 array, nats) for tuples of ids as `encode` makes them; equal rows are run once."""
        distinct = sorted(set(rows), key=len)
        masked = [(row, place) for row in range(len(distinct)) for place in range(1, len(distinct[row]) - 1)]
        sums, start = np.zeros(len(distinct)), 0
        while start < len(masked):
            length = _padded(len(distinct[masked[start][0]]))
            count = max(1, _TOKENS_AT_ONCE // length)
            batch = [entry for entry in masked[start : start + count] if _padded(len(distinct[entry[0]])) == length]
            found = self._model.predict_on_batch(self._inputs(distinct, batch, length, count))
            np.add.at(sums, [row for row, _ in batch], np.asarray(found, "float64")[: len(batch), 0])
            start += len(batch)
        place_of = {row: place for place, row in enumerate(distinct)}
        return sums[[place_of[row] for row in rows]]

    def _inputs(self, rows, batch, length, count):
        """Returns `count` rows of the model's inputs: the entries of a batch, and behind them the last one again."""
        shape = (count, length)
        token_ids, padding_mask = np.full(shape, self._tokenizer.pad_token_id, np.int32), np.zeros(shape, np.int32)
        positions, labels = np.zeros((count, 1), np.int32), np.zeros((count, 1), np.int32)
        for place, (row, masked) in enumerate(batch):
            ids = rows[row]
            token_ids[place, : len(ids)] = ids
            padding_mask[place, : len(ids)] = 1
            token_ids[place, masked] = self._tokenizer.mask_token_id
            positions[place], labels[place] = masked, ids[masked]
        for array in (token_ids, padding_mask, positions, labels):
            array[len(batch) :] = array[len(batch) - 1]
        return {
            "token_ids": token_ids,
            "padding_mask": padding_mask,
            "segment_ids": np.zeros_like(token_ids),
            "mask_positions": positions,
            "labels": labels,
        }


def _padded(length):
    return _MULTIPLE * -(-length // _MULTIPLE)


def judge(model, pairs):
    """Returns how often a masked-LM finds the good one of two sentences more likely.

    Args:
        model: `BertBudgetMaskedLM` with a preprocessor.
        pairs: list of `MinimalPair`.

    Returns:
        dict: `accuracy`, the mean over the paradigms, as published; `standard_error` of it, for the pairs that were
        drawn; `ties`, the share of the pairs of which both sentences are equally likely, which count half (those that
        become the same tokens, above all); `phenomena` and `paradigms`, dict of names to accuracies, that of a
        phenomenon being the mean over its paradigms.
    """
    likelihood = PseudoLogLikelihood(model)
    rows = likelihood.encode([sentence for pair in pairs for sentence in (pair.good, pair.bad)])
    good, bad = likelihood(rows).reshape(-1, 2).T
    # What differs by rounding alone is a tie too.
    tied = np.isclose(good, bad, rtol=1e-6, atol=0)
    return summary(pairs, np.where(tied, 0.5, good > bad))


def summary(pairs, points):
    """Returns what `judge` returns for points (float array): 1 for a pair that is right, a half for a tie, else 0."""
    by_paradigm, by_phenomenon = collections.defaultdict(list), collections.defaultdict(dict)
    for pair, point in zip(pairs, points, strict=True):
        by_paradigm[pair.paradigm].append(float(point))
    paradigms = {name: float(np.mean(values)) for name, values in by_paradigm.items()}
    for pair in pairs:
        by_phenomenon[pair.phenomenon][pair.paradigm] = paradigms[pair.paradigm]
    variances = [np.var(values) / len(values) for values in by_paradigm.values()]
    return {
        "accuracy": float(np.mean(list(paradigms.values()))),
        "standard_error": math.sqrt(sum(variances)) / len(paradigms),
        "ties": float(np.mean(np.equal(points, 0.5))),
        "pairs": len(pairs),
        "phenomena": {name: float(np.mean(list(of.values()))) for name, of in sorted(by_phenomenon.items())},
        "paradigms": paradigms,
    }
