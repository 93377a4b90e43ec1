"""One pretraining run on its way from the plan to the saved model."""

import dataclasses
import functools
import itertools
import os
import shutil
import time

import keras

from budgetbert.budget import BudgetClock
from budgetbert.command_line import TrainingError
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.training import checks, outlook
from budgetbert.training import plan as planning
from budgetbert.training.checkpoint import take_up
from budgetbert.training.display import Display, print_result
from budgetbert.training.followers import SharedCheckpoints
from budgetbert.training.guards import LossGuard
from budgetbert.training.loggers import make_callbacks, parse_loggers
from budgetbert.training.loop import Loop
from budgetbert.training.objectives import OBJECTIVES
from budgetbert.training.phase_job import PhaseJob, flops_per_token
from budgetbert.training.plan_display import draw_plan, print_plan
from budgetbert.training.recipe import split_budget
from budgetbert.training.record import read_record
from budgetbert.training.report import write_report
from budgetbert.training.run import replacing
from budgetbert.training.update import make_update


class Job:
    """One run on its way from the plan to the saved model.

    Args:
        recipe: `Recipe`.
        options: object with an attribute for each flag of the pretraining recipes.
        budget: `Budget` of the run.
        preset: str.
        corpora: list of `PreparedCorpus`, one for each phase.
        run: `Run`.
        console: `rich.console.Console`.
        refusable: bool. Whether a run that would learn nothing is refused.
        replicas: `Replicas`.
    """

    def __init__(self, recipe, options, budget, preset, corpora, run, console, refusable, replicas):
        self.recipe, self.options, self.budget, self.run = recipe, options, budget, run
        self.preset, self.console, self.refusable, self.replicas = preset, console, refusable, replicas
        self.phases = [
            PhaseJob(recipe, phase, options, share, preset, corpus, replicas)
            for phase, share, corpus in zip(recipe.phases, split_budget(budget, recipe), corpora, strict=True)
        ]

    def plan(self, device):
        """Measures what it must, chooses the batch and prints what the budget buys.

        A plan in the run's directory is taken over where it was made on this device; on another one the speed is
        measured anew, for the batch, the validation and the precision of that plan.

        Args:
            device: `Device` that the first process measured, or `None` if it is still to be measured.

        Returns:
            Tuple of the `Plan` and the list of the `Speed` of each phase, `None` if nothing had to be measured.
        """
        old = planning.read_plan(self.run)
        if old and (old.device, old.backend) == (self.replicas.device_name(), keras.backend.backend()):
            self.build(old.precision)
            old = self.promise(old, f"The plan of {self.run.directory}, calibrated before", save=not self.run.started)
            self.refuse_hopeless(old.tokens_per_second)
            return old, None
        device = self.replicas.measure(old.precision if old else self.options.precision, device)
        self.refuse_hopeless(device.matmul_rate / self.phases[0].flops_per_token)
        self.build(device.precision)
        if old:
            before = f"{old.device} on {old.backend}"
            self.console.print(f"calibrating again: {before} before, {device.name} now; equal within rounding only")
            speeds = [
                phase.calibrate(part.micro_batch_size, part.batch_size, device)
                for phase, part in zip(self.phases, old.parts, strict=True)
            ]
            plans = [
                dataclasses.replace(  # so that losses compare
                    phase.make_plan(part.batch_size, "as before", speed, device), validation_rows=part.validation_rows
                )
                for phase, part, speed in zip(self.phases, old.parts, speeds, strict=True)
            ]
            plan = planning.join(plans)
        else:
            batch_size, reason, speeds = self.choose_batch_size(device)
            plan = planning.join(
                [
                    phase.make_plan(phase.batch_size_after(batch_size), reason, speed, device)
                    for phase, speed in zip(self.phases, speeds, strict=True)
                ]
            )
            self.refuse_hopeless(plan.tokens_per_second)
        flops_of = functools.partial(
            flops_per_token,
            vocabulary_size=self.phases[0].vocabulary_size,
            sequence_length=plan.sequence_length,
            predictions=plan.predictions_per_row,
        )
        plan = outlook.look_ahead(plan, self.recipe.name, self.preset, self.budget, flops_of)
        return self.promise(plan, f"The plan: {self.preset} for {self.budget}"), speeds

    def promise(self, plan, title, save=True):
        """Returns a plan with the time of its end; draws, prints and, if so wanted, saves it."""
        spent = next((line["elapsed_seconds"] for line in self.run.lines()[::-1] if "elapsed_seconds" in line), 0.0)
        plan = outlook.from_now(plan, spent, self.options.price_per_hour)
        if save:
            self.run.write_json("plan.json", dataclasses.asdict(plan))
        picture = self.run.path("plan.png")
        if self.replicas.processes.first:
            schedules = [phase.schedules(part, *bounds) for phase, part, bounds in self.shares(plan)]
            draw_plan(schedules, [end for _, _, (_, end) in self.shares(plan)], picture)
        warnings = outlook.warnings(plan, self.preset, self.budget, self.options.demo)
        print_plan(plan, title, self.recipe.validate_at, picture, warnings, self.console)
        return plan

    def choose_batch_size(self, device):
        """Returns the batch size of the first phase, why it was chosen, and a list: for each phase the `Speed` at a
        micro-batch that divides its batch."""
        asked = self.options.batch_size
        batches = [asked and phase.batch_size_after(asked) for phase in self.phases]
        speeds = [
            phase.calibrate(phase.micro_batch_size_of(batch), batch, device)
            for phase, batch in zip(self.phases, batches, strict=True)
        ]
        if asked:
            return asked, "as asked for", speeds
        batch_size, reason = planning.choose_batch_size(
            self.budget,
            self.recipe.phases[0].batch_size,
            lambda size: sum(
                phase.steps_bought(phase.batch_size_after(size), speed)
                for phase, speed in zip(self.phases, speeds, strict=True)
            ),
        )
        checks.check_batch_sizes(batch_size, self.options.micro_batch_size)
        for i, phase in enumerate(self.phases):
            batch = phase.batch_size_after(batch_size)
            if batch % speeds[i].micro_batch_size:
                speeds[i] = phase.calibrate(None if i == 0 else phase.micro_batch_size_of(batch), batch, device)
        return batch_size, reason, speeds

    def refuse_hopeless(self, tokens_per_second):
        """Raises an `InputError` where a run that may be refused buys too few steps at this speed."""
        if self.refusable:
            planning.refuse_hopeless(
                self.budget,
                self.preset,
                self.options.corpus,
                self.phases[0].flops_per_token,
                self.tokens_per_row,
                tokens_per_second,
            )

    @property
    def tokens_per_row(self):
        """The tokens of a step over the rows of a step of the first phase, on average over the published plan."""
        if len(self.phases) == 1:
            return self.phases[0].corpus.sequence_length
        published = self.recipe.phases
        lengths = [phase.corpus.sequence_length for phase in self.phases]
        tokens = sum(p.steps * p.batch_size * length for p, length in zip(published, lengths, strict=True))
        return tokens / sum(p.steps for p in published) / published[0].batch_size

    def build(self, precision):
        """Builds model, optimizer and compiled functions."""
        keras.utils.set_random_seed(self.options.seed)
        last = self.phases[-1]  # its rows are what the result reads
        corpus = last.corpus
        tokenizer = BertBudgetTokenizer(
            corpus.vocabulary,
            lowercase=corpus.lowercase,
            strip_accents=corpus.strip_accents,
            normalizer=corpus.manifest["normalizer"].get("kind", "bert"),
        )
        preprocessor = BertBudgetMaskedLMPreprocessor(
            tokenizer,
            sequence_length=corpus.sequence_length,
            mask_selection_rate=last.mask_rate(1.0),
            mask_selection_length=last.predictions_at(1.0),
        )
        with self.replicas.scope():
            self.model = BertBudgetMaskedLM.from_preset(
                self.preset,
                load_weights=False,
                preprocessor=preprocessor,
                vocabulary_size=last.vocabulary_size,
                dtype=precision,
                next_sentence=self.recipe.objective == "mlm_nsp",
            )
            self.optimizer = self.recipe.optimizer()
        exclude_from_weight_decay(self.optimizer, self.model.trainable_variables)
        objective = OBJECTIVES[self.recipe.objective](dropout=self.recipe.dropout)
        self.update = make_update(self.model, self.optimizer, objective, self.recipe.clip_norm, self.replicas)
        for phase in self.phases:
            phase.attach(self.update)

    def shares(self, plan):
        """Returns a list of each phase with its `Plan` and the spent fractions (tuple) between which it lies."""
        amounts = [phase.budget.amount for phase in self.phases]
        bounds = [sum(amounts[:i]) / sum(amounts) for i in range(len(amounts) + 1)]
        return list(zip(self.phases, plan.parts, itertools.pairwise(bounds), strict=True))

    def stages(self, plan):
        """Returns the tuple of the `Stage` of each phase."""
        return tuple(phase.stage(part, *bounds) for phase, part, bounds in self.shares(plan))

    def train(self, plan, speeds, checkpoint_every, stops, signals):
        """Runs the loop from the newest checkpoint on, then saves the result."""
        directory, keep = self.run.path("checkpoints"), self.options.keep_checkpoints
        amount, unit = checkpoint_every
        regular = (lambda step: step % amount == 0) if unit == "steps" else (lambda step: True)
        processes = self.replicas.processes
        checkpoints = SharedCheckpoints(processes, directory, self.model, self.optimizer, keep, regular)
        compiled = sum(speed.compile_seconds for speed in speeds or ())
        begun = take_up(self.update, checkpoints, self.run, LossGuard(), len(self.phases), compiled)
        progress = begun["progress"]
        if progress.step:
            self.console.print(f"going on after step {progress.step:,}")
        loggers = parse_loggers(self.options.loggers) if processes.first else ()
        callbacks = make_callbacks(loggers, self.run.directory, self.model)
        signals.defer()
        with Display(self.console) as display:
            loop = Loop(
                update=self.update,
                stages=self.stages(plan),
                clock=processes.clock(BudgetClock(self.budget, progress.seconds + compiled)),
                stops=stops,
                validate_at=self.recipe.validate_at,
                run=self.run,
                checkpoints=checkpoints,
                checkpoint_every=checkpoint_every,
                keep_mark=functools.partial(self.keep_mark, checkpoints),
                callbacks=callbacks,
                display=display,
                signals=signals,
                processes=processes,
                **begun,
                compiled=speeds is not None,
            )
            if processes.first:
                processes.last_acts.append(lambda why: self.save_what_can_be(loop, checkpoints, why))
            loop.report_corrupt()
            ended = loop()
        if ended not in ("spent", "early_stop") and processes.first:
            write_report(self.run.directory)
        if ended == "diverged":
            raise TrainingError(
                f"the loss diverged {loop.guard.rollbacks + 1} times, last at step {loop.progress.step:,} (see "
                f"{self.run.path('log.jsonl')}): try a lower --learning_rate in another --output_dir."
            )
        if ended not in ("spent", "early_stop"):
            self.console.print(
                f"stopped by {'--' if ended == 'stop_at' else ''}{ended} after step {loop.progress.step:,}, everything "
                f"is saved in {self.run.directory}: the same command goes on from there."
            )
            return None
        if not processes.first:
            return None
        return self.finish(loop, checkpoints.path(loop.progress.step))

    def save_what_can_be(self, loop, checkpoints, why):
        """Completes the checkpoint under way and the log, where the run ends because of another process."""
        checkpoints.finish_writing()
        self.run.log({"incident": "lost_process", "step": loop.progress.step, "message": why})

    def keep_mark(self, checkpoints, mark):
        """Saves the model as `marks/0.5.keras` and returns that path, relative to the run."""
        name = os.path.join("marks", f"{mark:g}.keras")
        if self.replicas.processes.first:
            os.makedirs(self.run.path("marks"), exist_ok=True)
            checkpoints.save_model(self.run.path(name))
        return name

    def losses_by_phase(self, validations):
        """Returns the last validation loss of each phase, `{}` where there is one phase."""
        if len(self.phases) == 1:
            return {}
        return {"phase_validation_loss": {str(line["phase"]): line["validation_loss"] for line in validations}}

    def finish(self, loop, checkpoint):
        """Takes the model out of the last checkpoint, writes the last line of the log, and prints the result."""
        start = time.monotonic()
        for source, name in ((checkpoint, "model.keras"), (self.phases[-1].corpus.directory, "vocabulary.txt")):
            with replacing(self.run.path(name)) as temporary:
                shutil.copyfile(os.path.join(source, name), temporary)
        loop.seconds["checkpoint"] += time.monotonic() - start
        validations = read_record(self.run.directory).validation
        entropy = self.phases[-1].corpus.validation_unigram_entropy
        final = {
            **validations[-1],
            **loop.position(),
            "first_validation_loss": validations[0]["validation_loss"],
            "validation_unigram_entropy": entropy,
            **self.losses_by_phase(validations),
            "tokens_per_second": loop.progress.tokens / loop.clock.seconds,
            "final": True,
        }
        if self.options.price_per_hour:
            final["cost"] = self.options.price_per_hour * loop.clock.seconds / 3600
        self.run.log(final)
        write_report(self.run.directory)
        print_result(final, self.run, self.budget, self.console)
        return self.model
