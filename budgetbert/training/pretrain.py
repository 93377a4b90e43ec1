"""From flags to a trained masked-LM: everything that the pretraining recipes have in common."""

import os
import sys

from rich.console import Console

from budgetbert import schedules
from budgetbert.batches import predictions_per_row
from budgetbert.budget import Budget
from budgetbert.corpus.prepare import check_sources
from budgetbert.models.presets import PRESETS
from budgetbert.training import checks, corpora, devices
from budgetbert.training import plan as planning
from budgetbert.training.display import print_result
from budgetbert.training.followers import FollowedRun
from budgetbert.training.guards import Signals
from budgetbert.training.job import Job
from budgetbert.training.loggers import parse_loggers
from budgetbert.training.phase_job import flops_per_token
from budgetbert.training.recipe import Phase as Phase
from budgetbert.training.recipe import Recipe as Recipe
from budgetbert.training.recipe import split_budget
from budgetbert.training.replicas import open_replicas
from budgetbert.training.report import write_report
from budgetbert.training.run import Run
from budgetbert.training.stages import Stops


def pretrain(recipe, options):
    """Plans, trains (or goes on with) and saves one run.

    Args:
        recipe: `Recipe`.
        options: object with an attribute for each flag of the pretraining recipes.

    Returns:
        `BertBudgetMaskedLM`, or `None` after `--plan_only`, where a signal or `--stop_at` stopped the run, and in all
        processes but the first.

    Raises:
        InputError: on bad input, before anything is compiled.
        TrainingError: where the loss diverged again and again, or the processes of the run could not be connected.
    """
    # the processes meet first: a backend may take signals for itself while they do
    with open_replicas(options.devices) as replicas, Signals() as signals:
        return _pretrain(recipe, options, signals, replicas)


def _pretrain(recipe, options, signals, replicas):
    processes = replicas.processes
    # where nobody looks, in a file or a job's output, paths are not to be torn in two
    width = None if sys.stdout.isatty() else 160
    console = Console(soft_wrap=True, width=width, quiet=not processes.first)
    budget = Budget.parse(options.budget)
    split_budget(budget, recipe)
    checkpoint_every = checks.parse_cadence(options.checkpoint_every)
    preset = checks.resolve_preset(options.preset, recipe.family)
    checks.check_batch_sizes(options.batch_size, options.micro_batch_size)
    schedules.parse_mask_rate(options.mask_rate)
    stops = Stops(options.stop_at, checks.parse_early_stop(options.early_stop), checks.parse_marks(options.marks))
    parse_loggers(options.loggers)
    if options.precision != "auto":
        devices.choose_precision(options.precision)  # which this device may not have
    decisive = {
        "recipe": recipe.name,
        "preset": preset,
        "budget": f"{budget.amount:.12g} {budget.unit}",
        **{name: getattr(options, name) for name in _DECISIVE_FLAGS},
        **recipe.numbers,
    }
    circumstances = {"command": sys.argv, **{name: getattr(options, name) for name in _FREE_FLAGS}}
    processes.wait_for_first()
    run = (Run if processes.first else FollowedRun)(options.output_dir)
    run.check(decisive)
    if run.final:
        if prepared := corpora.open_prepared(options.corpus, recipe.phases):  # it need not be there any more
            run.check(corpora.identity(prepared))
        console.print(f"{run.directory} holds this run, finished:")
        if not os.path.exists(run.path("report.html")):  # killed after the last line of the log
            write_report(run.directory)
        print_result(run.final, run, budget, console)
        return checks.load_result(run.path("model.keras"))

    refusable = not (run.started or options.batch_size or budget.unit == "steps" or options.demo or options.plan_only)
    device = None
    prepared = corpora.open_prepared(options.corpus, recipe.phases)
    if prepared is None:
        check_sources(options.corpus)
        if refusable:  # at the full rate of the matrix products, before any text is prepared
            device = devices.Device.measure(options.precision)
            lowest = min(rate for _, rate in schedules.parse_mask_rate(options.mask_rate).points)
            vocabulary_size = PRESETS[preset]["backbone"]["vocabulary_size"]
            length = recipe.phases[0].sequence_length
            per_token = flops_per_token(preset, vocabulary_size, length, predictions_per_row(lowest, length))
            rate = replicas.count * device.matmul_rate
            planning.refuse_hopeless(budget, preset, options.corpus, per_token, length, rate / per_token)
        prepared = corpora.prepare(options.corpus, run.path("corpus"), recipe)
    for corpus in prepared:
        checks.check_rows_fit(corpus, PRESETS[preset]["backbone"]["max_sequence_length"], preset)
        checks.check_labels(corpus, recipe.objective)
    run.start({**decisive, **corpora.identity(prepared)}, circumstances)
    processes.first_is_through()
    try:
        for difference in checks.deviations(recipe, options, budget, preset, prepared):
            console.print(f"differs from the published recipe: {difference}")
        job = Job(recipe, options, budget, preset, prepared, run, console, refusable, replicas)
        plan, speeds = job.plan(device)
        return None if options.plan_only else job.train(plan, speeds, checkpoint_every, stops, signals)
    finally:
        run.release()


_DECISIVE_FLAGS = (
    *("batch_size", "batch_ramp", "micro_batch_size", "learning_rate", "mask_rate", "precision", "seed", "early_stop"),
)
_FREE_FLAGS = (
    *("corpus", "checkpoint_every", "keep_checkpoints", "stop_at", "marks", "loggers", "price_per_hour", "devices"),
)
