"""What a model makes of held-out rows: the loss, and some masked words to look at."""

import collections

import numpy as np


class Validation:
    """The loss and the accuracy of held-out rows under masks that are always the same.

    Args:
        step: `Step`.
        loader: `Loader` of the held-out rows, not shuffled.
        rows: int. How many.
        micro_batch_size: int. Rows at a time; weights of 0 fill the last micro-batch.
    """

    def __init__(self, step, loader, rows, micro_batch_size):
        self._step = step
        self._batches = []
        for first in range(0, rows, micro_batch_size):
            batch = loader.micro_batch(first, micro_batch_size)
            batch["weights"][max(0, rows - first - loader.share_of(micro_batch_size).start) :] = 0.0
            self._batches.append(batch)

    def __call__(self, stopped=lambda: False):
        """Returns a dict of `validation_loss` (nats per masked token) and further metrics.

        A metric is divided by the sum of its own weight, `<metric>_weight`, where the objective gives one.

        Args:
            stopped: function that says whether to give up; then the result is `None`.
        """
        sums = collections.Counter()
        for batch in self._batches:
            if stopped():
                return None
            sums.update({name: float(value) for name, value in self._step.evaluate(batch).items()})
        weight = sums.pop("weight")
        weights = {name: sums.pop(f"{name}_weight", weight) for name in [*sums] if not name.endswith("_weight")}
        return {f"validation_{name}": value / weights[name] for name, value in sums.items()}


class WithOldText:
    """A validation together with one on the text that a continued model was trained on before: what it forgets.

    Args:
        new, old: `Validation`.
    """

    def __init__(self, new, old):
        self._new, self._old = new, old

    def __call__(self, stopped=lambda: False):
        """As `Validation`, and the same figures of the old text as `validation_old_loss` and so on."""
        result, old = self._new(stopped), self._old(stopped)
        if result is None or old is None:
            return None
        return result | {name.replace("validation_", "validation_old_"): value for name, value in old.items()}


class Samples:
    """What the model puts for one masked word in each of some held-out texts, always the same ones.

    Args:
        step: `Step`.
        corpus: `PreparedCorpus`.
        count: int. Texts. Defaults to 5.
        tokens: int. Of each text at most. Defaults to 32.
    """

    def __init__(self, step, corpus, count=5, tokens=32):
        self._step = step
        rows, vocabulary = corpus.rows("validation"), corpus.vocabulary
        special = set(corpus.special_ids.values())
        self._texts = []  # ids with one masked, its place, what stood there
        for index in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int):
            row = [token for token in rows[index : index + 1][0] if token not in special]
            row = np.array(row[: min(tokens, corpus.sequence_length) - 2], "int32")
            follows = [*(vocabulary[token] for token in row[1:]), ""]
            words = [i for i in range(len(row)) if vocabulary[row[i]].isalpha() and not follows[i].startswith("##")]
            if words:
                place = words[index % len(words)]
                expected = vocabulary[row[place]]
                row[place] = corpus.special_ids["[MASK]"]
                self._texts.append((row, place, expected))

    def __call__(self):
        """Returns a list of dicts of `text`, the `expected` word, and the best `answers` as [token, probability]."""
        self._step.synchronize()
        model = self._step.model
        tokenizer = model.preprocessor.tokenizer
        start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
        rows = [np.concatenate([[start], row, [end]]) for row, _, _ in self._texts]
        filled = model.fill_ids(rows, [np.array([place + 1]) for _, place, _ in self._texts]) if rows else []
        return [
            {"text": _join(row, tokenizer), "expected": expected, "answers": [list(answer) for answer in answers[0]]}
            for (row, _, expected), answers in zip(self._texts, filled, strict=True)
        ]


def _join(row, tokenizer):
    return " ".join(tokenizer.id_to_token(int(token)) for token in row).replace(" ##", "")
