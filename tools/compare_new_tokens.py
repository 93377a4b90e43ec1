"""Ways to start the rows of new tokens, compared by the held-out loss at the start and after some steps.

A small model is trained on one corpus and goes on with others: with one that was prepared with its vocabulary and new
entries, and with one that has a vocabulary of another language. All ways see the same batches.

Time      4 minutes on 2 idle cores with corpora of 64-token rows
Run       python tools/compare_new_tokens.py --corpus corpora/old --extended corpora/new --other corpora/finnish
"""

import json

from absl import flags
from rich.console import Console
from rich.table import Table

from budgetbert import command_line
from budgetbert.errors import InputError

flags.DEFINE_string("corpus", None, "The prepared corpus of the old model.")
flags.DEFINE_string("extended", None, "A corpus with its vocabulary and new entries (--extend_vocabulary).")
flags.DEFINE_string("other", None, "A corpus with a vocabulary of another language.")
flags.DEFINE_string("preset", "tiny_frontier", "The architecture.")
flags.DEFINE_integer("old_steps", 1000, "Steps of 32 rows on the old corpus.", 1)
flags.DEFINE_integer("steps", 100, "Steps of 32 rows on each of the others.", 1)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

_ROWS, _HELD_OUT = 32, 512
_LEARNING_RATE, _SPREAD = 1e-3, 0.02


def batch_of(corpus, split, numbers, first_use):
    """Returns inputs, labels and weights of rows (int array) of a split, masked by their use."""
    import numpy as np

    from budgetbert.batches import Masking

    masked = Masking(0.15, corpus.vocabulary, corpus.special_ids, seed=0)(corpus.rows(split)[numbers], first_use)
    ids = masked["token_ids"]
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": np.zeros_like(ids)}
    return inputs | {"mask_positions": masked["mask_positions"]}, masked["labels"], masked["weights"]


def train(model, corpus, steps):
    """Trains a model for some steps; returns its held-out loss (nats per masked token) before and after."""
    import keras
    import numpy as np

    def judge():
        model.reset_metrics()
        for first in range(0, min(_HELD_OUT, len(corpus.rows("validation"))) - _ROWS + 1, _ROWS):
            numbers = np.arange(first, first + _ROWS)
            found = model.test_on_batch(*batch_of(corpus, "validation", numbers, first), return_dict=True)
        return float(found["loss"])  # of all batches so far

    warmup = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=_LEARNING_RATE, warmup_steps=steps // 10)
    model.compile(keras.optimizers.AdamW(warmup, clipnorm=1.0))
    preprocessor, model.preprocessor = model.preprocessor, None  # The batches hold ids.
    losses = [judge()]
    draw = np.random.default_rng(0)
    for step in range(steps):
        numbers = np.sort(draw.integers(len(corpus.rows("train")), size=_ROWS))
        model.train_on_batch(*batch_of(corpus, "train", numbers, step * _ROWS))
    losses.append(judge())
    model.preprocessor = preprocessor
    return losses


def with_rows(model, first, table=None, bias=None):
    """Changes the rows from `first` (int) on of a model's table, its bias, or both, and returns the model."""
    for variable, rows in (
        (model.backbone.token_embedding.embeddings, table),
        (getattr(model.head, "bias", None), bias),
    ):
        if variable is not None and rows is not None:
            value = variable.numpy().copy()
            value[first:] = rows(value[first:], value[:first])
            variable.assign(value)
    return model


def ways(old, extended_corpus, other_corpus):
    """Yields a corpus, the name of a way, and a function that makes the model."""
    import numpy as np

    from budgetbert.models.new_tokens import extended, transferred

    def noise(new, _):
        return np.random.default_rng(0).normal(0, _SPREAD, new.shape)

    def drawn(new, known):
        return np.random.default_rng(0).normal(known.mean(axis=0), known.std(axis=0), new.shape)

    def zeros(new, _):
        return np.zeros(new.shape)

    def frequencies(new, known):
        """The bias as log-frequency, put where the old bias stands to the old log-frequency on the average."""
        ids, counts = np.unique(extended_corpus.rows("train")[:], return_counts=True)
        logs = np.log(0.5) * np.ones(len(new) + len(known))
        logs[ids] = np.log(counts)
        return logs[len(known) :] + (known - logs[: len(known)]).mean()

    first = old.preprocessor.tokenizer.vocabulary_size()
    if extended_corpus:
        entries = extended_corpus.vocabulary
        for name, changed in {
            "mean of pieces, bias too": {},
            "mean of pieces, bias log-frequency": {"bias": frequencies},
            "mean of pieces, bias 0": {"bias": zeros},
            "mean and spread of the table": {"table": drawn, "bias": zeros},
            "noise of 0.02": {"table": noise, "bias": zeros},
        }.items():
            yield extended_corpus, name, lambda changed=changed: with_rows(extended(old, entries), first, **changed)
    if other_corpus:
        entries = other_corpus.vocabulary
        yield other_corpus, "overlap; others mean and spread", lambda: transferred(old, entries)
        yield (
            other_corpus,
            "mean and spread for all but special tokens",
            lambda: with_rows(
                transferred(old, entries),
                5,
                table=lambda new, _: drawn(new, old.backbone.token_embedding.embeddings.numpy()),
            ),
        )
        yield (
            other_corpus,
            "noise of 0.02 for all",
            lambda: with_rows(transferred(old, entries), 0, table=noise, bias=zeros),
        )


def main():
    if not FLAGS.corpus or not (FLAGS.extended or FLAGS.other):
        raise InputError("--corpus and one of --extended and --other are missing: see --help.")
    command_line.start_keras()
    import keras

    from budgetbert.corpus.store import open_corpus
    from budgetbert.models import BertBudgetMaskedLM, BertBudgetMaskedLMPreprocessor, BertBudgetTokenizer

    corpora = [open_corpus(path) if path else None for path in (FLAGS.corpus, FLAGS.extended, FLAGS.other)]
    keras.utils.set_random_seed(0)
    reader = BertBudgetTokenizer.from_normalizer(corpora[0].vocabulary, corpora[0].normalizer)
    old = BertBudgetMaskedLM.from_preset(
        FLAGS.preset,
        load_weights=False,
        preprocessor=BertBudgetMaskedLMPreprocessor(reader, corpora[0].sequence_length),
        vocabulary_size=len(corpora[0].vocabulary),
    )
    results = [(FLAGS.corpus, "the old model", *train(old, corpora[0], FLAGS.old_steps))]
    for corpus, name, make in ways(old, *corpora[1:]):
        results.append((str(corpus.directory), name, *train(make(), corpus, FLAGS.steps)))
    table = Table("corpus", "rows of new tokens", "loss at the start", f"after {FLAGS.steps} steps")
    for where, name, before, after in results:
        table.add_row(where, name, f"{before:.3f}", f"{after:.3f}")
    Console().print(table)
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    command_line.run(main)
