"""From what was asked to a trained masked-LM: one pretraining run, told in its order."""

import contextlib
import functools
import itertools
import sys
import time

from budgetbert.budget import BudgetClock, PhaseClock, Progress
from budgetbert.corpus.prepare import check_sources, is_prepared
from budgetbert.errors import TrainingError, UnreadableRows
from budgetbert.models.loading import load_result
from budgetbert.processes import check_alike
from budgetbert.terminal import LastingConsole
from budgetbert.training.flags import CIRCUMSTANCE, DECISIVE
from budgetbert.training.loop.best import Best
from budgetbert.training.loop.feed import Feed
from budgetbert.training.loop.guards import Diverged, LossGuard, Rising, Signals
from budgetbert.training.loop.hooks import LOG_EVERY, Log, Marks, Save, Validate, keep_back
from budgetbert.training.loop.loop import Loop, train_phase
from budgetbert.training.loop.result import finish, show_finished
from budgetbert.training.loop.state import TrainState, begin_with, report_corrupt, resume, roll_back
from budgetbert.training.loop.validation import Samples, Validation, WithOldText
from budgetbert.training.plan import corpora
from budgetbert.training.plan.decide import decide, refuse_before_preparing
from budgetbert.training.plan.device import choose_precision
from budgetbert.training.plan.initial_model import open_watched
from budgetbert.training.plan.model import build_model, take_over
from budgetbert.training.plan.phase import RunPhase
from budgetbert.training.recipe import Phase as Phase
from budgetbert.training.recipe import Recipe as Recipe
from budgetbert.training.recipe import deviations, split_budget
from budgetbert.training.run.callbacks import make_callbacks
from budgetbert.training.run.checkpoint_directory import has_checkpoint
from budgetbert.training.run.checkpoints import Checkpoints
from budgetbert.training.run.directory import Run, one_sentence
from budgetbert.training.run.display import Display
from budgetbert.training.run.report import write_report
from budgetbert.training.step.base import make_step
from budgetbert.training.step.devices import open_devices
from budgetbert.training.step.objectives import OBJECTIVES


def pretrain(
    recipe,
    options,
    *,
    log_every=LOG_EVERY,
    now=time.monotonic,
    make_step=make_step,
    watchers=(),
    hooks=(),
    report=True,
):
    """Plans, trains (or goes on with) and saves one run.

    Args:
        recipe: `Recipe`.
        options: `Options`.
        log_every: tuple of int and float. The steps or seconds, whichever comes first, after which a line of the log
            is written. Defaults to 20 steps or 10 seconds.
        now: function without arguments that returns the seconds of the clock of the budget. Defaults to
            `time.monotonic`.
        make_step: function that returns the `Step` of the run. Defaults to that of the current backend.
        watchers: sequence of functions of a line of the log and the spent fraction. Defaults to none.
        hooks: sequence of functions of the `TrainState`, called after each step. Defaults to none.
        report: bool. Whether `report.html` is drawn where the run ends. Defaults to `True`.

    Returns:
        `BertBudgetMaskedLM`, or `None` after `--plan_only`, where a signal or `--stop_at` stopped the run, and in all
        processes but the first.

    Raises:
        InputError: on bad input, before anything is compiled.
        TrainingError: where the loss diverged again and again, the disk is full or the output directory can no longer
            be written, or the processes of the run could not be connected.
    """
    with contextlib.ExitStack() as stack:
        # The processes meet first: a backend may take signals for itself while they do.
        devices = stack.enter_context(open_devices(options.devices))
        signals, processes = stack.enter_context(Signals()), devices.processes
        stack.enter_context(one_sentence(options.output_dir))
        console = LastingConsole(soft_wrap=True, quiet=not processes.first)

        # 1. What was asked for: all that decides the result, alike in all processes.
        published, recipe = recipe, recipe.with_settings(options)
        shares = split_budget(options.budget, recipe)
        if options.precision != "auto":
            choose_precision(options.precision)  # This device may not be able to compute in it.
        budget = f"{options.budget.amount:.12g} {options.budget.unit}"
        decisive = {"recipe": recipe.name, "preset": options.preset, "budget": budget}
        if options.initial_model:  # Its path may differ from start to start.
            decisive |= {"preset": options.initial_model.size, "initial_model": options.initial_model.sha256}
        decisive = {**decisive, **options.written(DECISIVE), **recipe.numbers}
        has_rows = {"a prepared --corpus:": is_prepared(options.corpus.split(",")[0])}
        check_alike(processes, {**options.same_in_all_processes, **decisive, **has_rows})

        # 2. The directory: another run is refused, a finished one gives its result again.
        processes.wait_for_first()
        run = Run(options.output_dir, writes=processes.first)
        stack.callback(run.release)
        run.check(decisive)
        if run.final:
            return show_finished(run, recipe, options, console, report)

        # 3. The corpus of each phase, prepared first where it is raw text.
        refusable = not (run.started or options.batch_size or options.budget.unit == "steps" or options.demo)
        prepared = corpora.open_prepared(options.corpus, recipe.phases)
        device = None
        if prepared is None:
            check_sources(options.corpus)
            if refusable and not options.plan_only:
                device = refuse_before_preparing(recipe, options, devices)
            run.make_directory()
            prepared = corpora.prepare(options.corpus, run.path("corpus"), recipe, options.initial_model)
        watched = open_watched(recipe.keep_an_eye_on, prepared[0])
        corpora.check_rows([*prepared, *filter(None, [watched])], recipe, options)
        identity = corpora.identity(prepared, watched)
        if recipe.initial_run:
            recipe.initial_run.check({**decisive, **identity})
        run.start({**decisive, **identity}, {"command": sys.argv, **options.written(CIRCUMSTANCE)})
        processes.release_others()
        # The corpus may lie elsewhere on each machine, but must be the same.
        names = ", ".join(f"{name} {value}" for name, value in identity.items())
        check_alike(processes, {"--corpus": identity}, {"--corpus": f"{options.corpus} ({names})"})
        share = processes.rank, processes.count
        phases = [
            RunPhase(recipe, phase, options, budget, corpus, share)
            for phase, budget, corpus in zip(recipe.phases, shares, prepared, strict=True)
        ]
        for phase in phases:
            phase.check_bins()
        if options.demo and not options.initial_model and recipe.name != "frontier":
            console.print("of the recipes, frontier learns fastest in minutes: python recipes/frontier.py --demo")
        for difference in deviations(published, recipe, options, phases[0].config["vocabulary_size"], prepared):
            console.print(f"differs from the published recipe: {difference}")

        # 4. The model and its compiled functions, and the plan: what the budget buys on this device.
        def build(precision):
            model, optimizer = build_model(recipe, phases[-1], precision, options.seed, devices.scope())
            if options.initial_model and not has_checkpoint(run.path("checkpoints")):
                for sentence in take_over(model, options.initial_model, options.seed):
                    console.print(sentence)
            objective = OBJECTIVES[recipe.objective](dropout=recipe.dropout)
            return make_step(model, optimizer, objective, recipe.clip_norm, devices)

        plan, step, calibrated = decide(run, phases, devices, build, device, refusable, console)
        if options.plan_only:
            return None

        # 5. The state: that of the newest checkpoint, or a fresh one.
        regular, directory = options.checkpoint_every.regular, run.path("checkpoints")
        kept = options.keep_checkpoints, regular, LossGuard.first_wrong
        checkpoints = Checkpoints(directory, step.model, step.optimizer, *kept, processes)
        compile_seconds = plan.compile_seconds if calibrated else 0.0
        fresh = TrainState(Progress(phase_rows=(0,) * len(phases)), seconds={"compile": compile_seconds})
        initial = ()
        if recipe.initial_run:
            resets_step = recipe.phases[0].resets_step
            initial = (functools.partial(begin_with, recipe.initial_run, step, checkpoints, resets_step),)
        state = resume(fresh, step, checkpoints, run, *initial)
        if state.progress.step:
            console.print(f"going on after step {state.progress.step:,}")
        elif recipe.initial_run:
            console.print(f"beginning with weights and moments of {recipe.initial_run.checkpoint}")

        # 6. The phases one after another, and what is done between the steps.
        signals.defer()
        clock = processes.clock(BudgetClock(options.budget, state.progress.seconds + compile_seconds, now))
        clock.stop_at = options.stop_at
        callbacks = make_callbacks(options.loggers if processes.first else (), run.directory, step.model)
        with Display(console) as display:
            watchers = (callbacks.watch, display, *watchers)
            log = Log(run, clock, plan.device, watchers, processes, log_every)
            marks = Marks(log, options.marks, step, checkpoints)
            save = Save(log, checkpoints, step, options.checkpoint_every)
            best = Best(log, step, checkpoints) if isinstance(options.early_stop, Rising) else None
            if processes.first:
                processes.before_exit.append(functools.partial(_save_what_can_be, run, checkpoints, state))
            callbacks.on_train_begin({"step": state.progress.step})
            stack.callback(callbacks.on_train_end)
            report_corrupt(state, log, checkpoints)
            log.begin(state)
            marks.begin(state)
            ended = None
            while ended is None:
                try:
                    done = (log, marks, save, best, hooks)
                    ended = _train_phases(phases, plan, step, state, signals, done, watched, calibrated)
                except Diverged as trouble:
                    if not roll_back(trouble, state, log, checkpoints, step, save):
                        ended = "diverged"
                except UnreadableRows as lost:
                    raise _without_rows(lost, state, step, save, log) from lost
            if ended != "diverged":
                save.now(state, wait=True)

        # 7. The result, or how the same command goes on.
        finished = ended in ("spent", "early_stop")
        if report and processes.first and not finished:
            write_report(run.directory)
        if ended == "diverged":
            raise TrainingError(
                f"the loss diverged {state.guard.rollbacks + 1} times, last at step {state.progress.step:,} (see "
                f"{run.path('log.jsonl')}): try a lower --learning_rate in another --output_dir."
            )
        if not finished:
            console.print(
                f"stopped by {'--' if ended == 'stop_at' else ''}{ended} after step {state.progress.step:,}, "
                f"everything is saved in {run.directory}: the same command goes on from there."
            )
        elif processes.first:
            result = checkpoints.path(state.progress.step)
            finish(run, state, log, result, best, phases, console, report)
            return load_result(run.path("model.keras")) if best and best.is_better_than(state) else step.model
        return None


def _train_phases(phases, plan, step, state, signals, done, watched, calibrated):
    """Trains the phases that are left, each on its own rows and clock, and returns why the last of them ended."""
    log, marks, save, best, hooks = done
    processes, options, recipe = log.processes, phases[0].options, phases[0].recipe
    bounds = [0.0, *itertools.accumulate(phase.budget.amount for phase in phases[:-1]), None]
    for number in range(state.phase, len(phases)):
        phase, planned = phases[number], plan.phases[number]
        step.remat = bool(planned.speed.remat)
        if number != state.phase:
            state.phase = number
            state.guard.forget()  # Other rows and a new warm-up make other losses usual.
            if phase.phase.resets_step:
                step.reset_step()
        step.train_only(phase.phase.trains)
        keep_back(state, log, "call", planned.call_seconds)
        evaluate = Validation(step, phase.validation_rows(), planned.validation_rows, planned.micro_batch_size)
        if watched:
            rows = min(planned.validation_rows, len(watched.rows("validation")))
            old = Validation(step, phase.validation_rows(watched), rows, planned.micro_batch_size)
            evaluate = WithOldText(evaluate, old)
        shown = Samples(step, phase.corpus)
        validate = Validate(log, evaluate, recipe.validate_at, signals, shown, options.early_stop, calibrated, best)
        loop = Loop(
            step=step,
            feed=Feed(phase.rows_of_steps(planned.batch_size), planned.micro_batch_size),
            schedules=phase.schedules(planned),
            clock=PhaseClock(log.clock, bounds[number], bounds[number + 1]),
            state=state,
            hooks=(log, marks, validate, save, *hooks),
            signals=signals,
            processes=processes,
            per_call=planned.micro_batches_per_call,
            compiled=calibrated,
        )
        ended = train_phase(loop, log, validate, save, marks)
        if ended != "spent" or log.clock.ended(state.progress) == "spent":
            break
    return ended


def _without_rows(lost, state, step, save, log):
    """Saves what was done before rows of the corpus were lost; returns the error that says how the run goes on."""
    step.drop()
    saved = "the newest checkpoint is saved"
    # Of several processes the others may be in the middle of a step that never ends.
    if log.processes.count == 1:
        with contextlib.suppress(Diverged):
            save.now(state, wait=True)
            saved = f"all up to step {state.progress.step:,} is saved"
    return TrainingError(
        f"{lost.what}, so training stops, and {saved} in {log.run.directory}: put the corpus back as it was, and the "
        "same command goes on from there."
    )


def _save_what_can_be(run, checkpoints, state, why):
    """Completes the checkpoint under way and the log, where the run ends because of another process."""
    checkpoints.finish_writing()
    run.log({"incident": "lost_process", "step": state.progress.step, "message": why})
