"""The end of a run: its result, and the last line of its log."""

import os
import shutil
import time

from budgetbert.corpus.store import write_vocabulary
from budgetbert.files import replacing
from budgetbert.models.loading import load_result
from budgetbert.training.plan import corpora
from budgetbert.training.recipe import VALIDATION_MASKS
from budgetbert.training.run.display import print_result
from budgetbert.training.run.report import write_report

# What the last line says of the validation before the first step.
_FIRST = ("validation_loss", "validation_old_loss")


def finish(run, state, log, checkpoint, best, phases, console, report):
    """Takes the model out of the last checkpoint, or the best one, writes the last line of the log, prints the result.

    Args:
        run, state, log, phases, console, report: as in `pretrain`.
        checkpoint: str, the path of the last one.
        best: `Best`, or `None`.
    """
    start, corpus, options = time.monotonic(), phases[-1].corpus, phases[-1].options
    takes_best = best is not None and best.is_better_than(state)
    with replacing(run.path("model.keras")) as temporary:
        shutil.copyfile(best.path if takes_best else os.path.join(checkpoint, "model.keras"), temporary)
    # The vocabulary is that which was read at the start: nobody needs the corpus any more, and it may be gone.
    write_vocabulary(run.path("vocabulary.txt"), corpus.vocabulary)
    state.seconds["checkpoint"] += time.monotonic() - start
    validations = state.validations
    by_phase = {str(line["phase"]): line["validation_loss"] for line in validations}
    seconds = log.clock.seconds
    final = {
        **(best.line if takes_best else validations[-1]),
        **log.position(state),
        **({"best_step": best.line["step"]} if takes_best else {}),
        **{f"first_{name}": validations[0][name] for name in _FIRST if name in validations[0]},
        "validation_unigram_entropy": corpus.validation_unigram_entropy,
        "validation_masks": VALIDATION_MASKS,
        **({"phase_validation_loss": by_phase} if len(phases) > 1 else {}),
        "tokens_per_second": state.progress.tokens / seconds,
        "final": True,
    }
    if options.price_per_hour:
        final["cost"] = options.price_per_hour * seconds / 3600
    run.log(final)
    if report:
        write_report(run.directory)
    print_result(final, run, options.budget, console)


def show_finished(run, recipe, options, console, report):
    """Prints the result of a finished run again, and returns its model."""
    if prepared := corpora.open_prepared(options.corpus, recipe.phases):  # It need not be there any more.
        run.check(corpora.identity(prepared))
    console.print(f"{run.directory} holds this run, finished:")
    if report and not os.path.exists(run.path("report.html")):  # It was killed after the last line of the log.
        write_report(run.directory)
    print_result(run.final, run, options.budget, console)
    return load_result(run.path("model.keras"))
