"""The masked-LM loss of several models on the same held-out rows under the same masks.

Runs on rows of another kind, or with another share of masks, are not comparable by their own validation losses; their
models are, where they share a vocabulary.

Run       python tools/compare_models.py runs/a/model.keras runs/a/marks/0.5.keras runs/b/model.keras --corpus DIR
"""

import json

from absl import flags
from rich.console import Console
from rich.table import Table

from budgetbert import command_line
from budgetbert.errors import InputError

flags.DEFINE_string("corpus", None, "A prepared corpus, whose held-out rows are taken.")
flags.DEFINE_integer("rows", 2000, "How many of them at most.", 1)
flags.DEFINE_float("mask_rate", 0.15, "Share of the tokens to predict.", 0.0, 1.0)
flags.DEFINE_string("json", None, "File for the figures.")
FLAGS = flags.FLAGS

_ROWS_AT_ONCE = 32


def judge(model, corpus, rows, mask_rate):
    """Returns loss in nats per masked token and accuracy of a model on held-out rows, as dict.

    Args:
        model: `BertBudgetMaskedLM`.
        corpus: `PreparedCorpus`.
        rows: int.
        mask_rate: float.
    """
    import keras

    from budgetbert.batches import Loader, Masking
    from budgetbert.training.loop.validation import Validation
    from budgetbert.training.step.base import make_step
    from budgetbert.training.step.objectives import MaskedLanguageModeling

    masking = Masking(mask_rate, corpus.vocabulary, corpus.special_ids, seed=0)
    loader = Loader(corpus.rows("validation"), masking, 0, shuffle=False, kind=corpus.rows_kind)
    step = make_step(model, keras.optimizers.SGD(), MaskedLanguageModeling())
    rows = min(rows, len(corpus.rows("validation")))
    return Validation(step, loader, rows, _ROWS_AT_ONCE)()


def main(*paths):
    if not paths or not FLAGS.corpus:
        raise InputError("models and --corpus are missing: see --help.")
    command_line.start_keras()
    from budgetbert.corpus.store import open_corpus
    from budgetbert.models import BertBudgetMaskedLM
    from budgetbert.models.loading import load_any

    corpus = open_corpus(FLAGS.corpus)
    results = {}
    for path in paths:
        model = load_any(path)
        if not isinstance(model, BertBudgetMaskedLM):
            raise InputError(f"{path} is no masked-LM.")
        if model.preprocessor.tokenizer.get_vocabulary() != corpus.vocabulary:
            raise InputError(f"{path} has another vocabulary than {FLAGS.corpus}: prepare the text with the model's.")
        results[path] = judge(model, corpus, FLAGS.rows, FLAGS.mask_rate)
    table = Table("model", "loss, nats", "accuracy", box=None, header_style="bold")
    table.columns[0].no_wrap = True  # a path is copied whole
    for path, found in results.items():
        table.add_row(path, f"{found['validation_loss']:.3f}", f"{found['validation_accuracy']:.1%}")
    Console(width=max(map(len, paths)) + 40).print(table)
    if FLAGS.json:
        with open(FLAGS.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    command_line.run(main, arguments=True)
