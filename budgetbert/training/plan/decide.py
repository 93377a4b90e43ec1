"""The plan of a run: taken over or made, told to people, and refused where it would teach a model nothing."""

import functools
import itertools

import keras

from budgetbert import flops
from budgetbert.batches import predictions_per_row
from budgetbert.errors import InputError
from budgetbert.training.plan.advice import PUBLISHED_TOKENS, advise, warnings
from budgetbert.training.plan.batch import hopeless, refuse_hopeless
from budgetbert.training.plan.device import Device, name_together
from budgetbert.training.plan.phase import tokens_per_row
from budgetbert.training.plan.plan import RunPlan, read_plan
from budgetbert.training.plan.planner import Planner
from budgetbert.training.recipe import config_of
from budgetbert.training.run.checkpoint_directory import seconds_spent
from budgetbert.training.run.plan_display import draw_plan, print_plan


def decide(run, phases, devices, build, device, refusable, console):
    """Measures what it must, chooses the batch, and prints what the budget buys.

    A plan in the run's directory is taken over where it was made on this device. On another one, or where
    `--recalibrate` or another `--remat` asks for it, the speed is measured anew: for the batch, the micro-batch, the
    validation and the precision of that plan. The two flags plan all anew where no step was made yet.

    Args:
        run: `Run`.
        phases: list of `RunPhase`.
        devices: `Devices`.
        build: function of a dtype policy (str) that returns the `Step` of the run.
        device: `Device` that the first process measured, or `None` if it is still to be measured.
        refusable: bool. Whether a run that would learn nothing is refused.
        console: `rich.console.Console`.

    Returns:
        Tuple of the `RunPlan`, the `Step`, and whether it was calibrated, and so compiled, here.

    Raises:
        InputError: if a run that may be refused would learn nothing, or nothing fits into the memory.
    """
    options = phases[0].options
    refuse = functools.partial(_refuse, options=options, refusable=refusable, console=console)
    old = read_plan(run)
    if old is None and run.started:  # Another batch might be chosen now, and the run would not be the same.
        raise InputError(
            f"{run.path('plan.json')} is missing, and the run has started with it: put it back from a copy, or give "
            "another --output_dir."
        )
    here = old and (old.device.name, old.device.backend) == (name_together(devices), keras.backend.backend())
    reason = "--recalibrate" if options.recalibrate else None
    if old and not old.suits(options.remat):
        reason = f"--remat {options.remat}, equal within rounding only"
    if here and not reason:
        step = build(old.device.precision)
        title = f"The plan of {run.directory}, calibrated before"
        plan = _show_plan(old, title, run, phases, console, save=not run.started)
        refuse(plan, ", or if the machine was busy when that was measured, give --recalibrate")
        return plan, step, False
    if old and reason:
        stays = "batch, micro-batch and precision stay" if run.started else "all of it is planned anew"
        console.print(f"{reason}: {run.path('plan.json')} is there and measured again, {stays}")
        old = old if run.started else None
    device = device or Device.measure(old.device.precision if old else options.precision)
    device = device.together(devices)
    if refusable and not options.plan_only:
        lowest, first = min(phases[0].flops_at_points), (options.budget, options.model_name, options.corpus)
        refuse_hopeless(*first, lowest, tokens_per_row(phases), device.matmul_rate, options.batch_ramp)
    step = build(device.precision)
    planner = Planner(phases, options, step, device, devices)
    if old:
        if not here:
            before = f"{old.device.name} on {old.device.backend}"
            console.print(f"calibrating again: {before} before, {device.name} now; equal within rounding only")
        plans = planner.plan_again(old.phases)
        for before, plan in zip(old.phases, plans, strict=True):
            if before.micro_batch_size != plan.micro_batch_size:
                console.print(
                    f"micro-batches of {plan.micro_batch_size:,} rows, {before.micro_batch_size:,} before: the same "
                    "rows and masks, equal within rounding but for dropout"
                )
    else:
        plans = planner.plan()
    if any(device.utilization(plan.tokens_per_second * plan.flops_per_token) is None for plan in plans):
        device = device.measured_again(devices)  # The machine was busy when its products were measured.
    plan = RunPlan(device, tuple(plans), planned_at=old and old.planned_at)
    plan = _show_plan(plan, f"The plan: {options.model_name} for {options.budget}", run, phases, console)
    refuse(plan)
    return plan, step, True


def refuse_before_preparing(recipe, options, devices):
    """Raises an `InputError` where even at the full rate of its matrix products a device cannot do enough steps.

    Returns:
        `Device`, as measured for it.
    """
    device = Device.measure(options.precision)
    config = config_of(options.preset, recipe)
    length, rate = recipe.phases[0].sequence_length, min(rate for _, rate in options.mask_rate.points)
    per_token = flops.training_flops_per_token(config, length, predictions_per_row(rate, length))
    asked = options.budget, options.model_name, options.corpus
    refuse_hopeless(*asked, per_token, length, devices.count * device.matmul_rate, options.batch_ramp)
    return device


def _refuse(plan, mend="", *, options, refusable, console):
    """Raises an `InputError` where a run that may be refused would learn nothing; `--plan_only` says it instead."""
    why = refusable and hopeless(plan, options.budget, options.model_name, options.corpus)
    if why and options.plan_only:
        console.print(f"[yellow]A run of this plan would be refused: {why}{mend}.")
    elif why:
        raise InputError(f"{why}{mend}.")


def _show_plan(plan, title, run, phases, console, save=True):
    """Returns a plan with the time of its end; draws, prints and, if so wanted, saves it."""
    first, options, recipe = phases[0], phases[0].options, phases[0].recipe
    plan = plan.from_now(seconds_spent(run.path("checkpoints")), options.price_per_hour)
    if save:
        run.write_json("plan.json", plan.to_json())
    picture = run.path("plan.png")
    if run.writes:
        schedules = [phase.schedules(part) for phase, part in zip(phases, plan.phases, strict=True)]
        spent = list(itertools.accumulate(phase.budget.amount for phase in phases))
        draw_plan(schedules, [amount / spent[-1] for amount in spent], picture)

    def flops_of(preset):
        config = config_of(preset, recipe, first.config["vocabulary_size"])
        return flops.training_flops_per_token(config, first.sequence_length, first.predictions)

    # Nobody expects a good model of a demo. A model that --config changes is of no preset's size, and one that goes on
    # from another has read its text.
    told = not (options.demo or options.config or options.initial_model)
    advice = advise(plan.tokens, options.preset, options.budget, flops_of) if told else None
    ends_early = options.given["early_stop"] == "rising"
    sentences = warnings(plan.epochs, advice, options.preset, options.budget, ends_early)
    print_plan(plan, title, recipe.validate_at, picture, PUBLISHED_TOKENS.get(recipe.name), sentences, console)
    return plan
