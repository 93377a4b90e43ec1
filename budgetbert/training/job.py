"""One pretraining run on its way from the plan to the saved model."""

import dataclasses
import functools
import math
import os
import shutil
import time

import keras

from budgetbert import flops, schedules
from budgetbert.batches import Loader, Masking, predictions_per_row
from budgetbert.budget import BudgetClock, Progress
from budgetbert.command_line import TrainingError
from budgetbert.models.masked_lm import BertBudgetMaskedLM
from budgetbert.models.preprocessors import BertBudgetMaskedLMPreprocessor
from budgetbert.models.presets import PRESETS
from budgetbert.models.tokenizer import BertBudgetTokenizer
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.training import checks
from budgetbert.training import plan as planning
from budgetbert.training.display import Display, print_result
from budgetbert.training.followers import SharedCheckpoints
from budgetbert.training.guards import LossGuard
from budgetbert.training.loggers import make_callbacks, parse_loggers
from budgetbert.training.loop import Loop, Schedules
from budgetbert.training.objectives import MaskedLanguageModeling
from budgetbert.training.record import read_record
from budgetbert.training.report import write_report
from budgetbert.training.run import replacing
from budgetbert.training.update import make_update
from budgetbert.training.validation import Samples, Validation

VALIDATION_MASK_RATE = 0.15  # whatever the training rate is, so that losses compare
_VALIDATION_SEED = 0


def flops_per_token(preset, vocabulary_size, sequence_length, predictions):
    """Returns the training FLOPs per token of a preset with a vocabulary size, rows of a length and predictions."""
    config = {**PRESETS[preset]["backbone"], **PRESETS[preset]["masked_lm"], "vocabulary_size": vocabulary_size}
    return flops.training_flops_per_token(config, sequence_length, predictions)


class Job:
    """One run on its way from the plan to the saved model."""

    def __init__(self, recipe, options, budget, preset, corpus, run, console, refusable, replicas):
        self.recipe, self.options, self.budget, self.corpus, self.run = recipe, options, budget, corpus, run
        self.preset, self.console, self.refusable, self.replicas = preset, console, refusable, replicas
        self.vocabulary_size = checks.padded(len(corpus.vocabulary))
        self.mask_rate = schedules.parse_mask_rate(options.mask_rate)
        self.predictions = predictions_per_row(self.mask_rate.highest, corpus.sequence_length)
        self.flops_per_token = max(self.flops_at(x) for x, _ in self.mask_rate.points)  # of calibration

    def predictions_at(self, x):
        """Returns the predictions of a full row at a spent fraction of the budget."""
        return predictions_per_row(self.mask_rate(x), self.corpus.sequence_length)

    def flops_at(self, x):
        """Returns the training FLOPs per token at a spent fraction of the budget."""
        return self.flops_per_token_of(self.predictions_at(x))

    def flops_per_token_of(self, predictions):
        """Returns the training FLOPs per token of rows with so many predictions."""
        return flops_per_token(self.preset, self.vocabulary_size, self.corpus.sequence_length, predictions)

    def batch_at(self, x, batch_size, micro_batch_size):
        """Returns the rows of a step at a spent fraction of the budget, a multiple of the micro-batch."""
        return schedules.batch_ramp(x, batch_size, micro_batch_size, self.options.batch_ramp)

    def plan(self, device):
        """Measures what it must, chooses the batch and prints what the budget buys.

        A plan in the run's directory is taken over where it was made on this device; on another one the speed is
        measured anew, for the batch, the validation and the precision of that plan.

        Args:
            device: `Device` that the first process measured, or `None` if it is still to be measured.

        Returns:
            Tuple of the `Plan` and the `Speed`, `None` if nothing had to be measured.
        """
        old = planning.read_plan(self.run)
        if old and (old.device, old.backend) == (self.replicas.device_name(), keras.backend.backend()):
            self.build(old.precision)
            planning.print_plan(old, f"The plan of {self.run.directory}, going on", self.console)
            self.refuse_hopeless(old.tokens_per_second)
            return old, None
        device = self.replicas.measure(old.precision if old else self.options.precision, device)
        self.refuse_hopeless(device.matmul_rate / self.flops_per_token)
        self.build(device.precision)
        if old:
            before = f"{old.device} on {old.backend}"
            self.console.print(f"calibrating again: {before} before, {device.name} now; equal within rounding only")
            speed = self.calibrate(old.micro_batch_size, old.batch_size, device)
            plan = self.make_plan(old.batch_size, "as before", speed, device)
            plan = dataclasses.replace(plan, validation_rows=old.validation_rows)  # so that losses compare
        else:
            batch_size, reason, speed = self.choose_batch_size(device)
            plan = self.make_plan(batch_size, reason, speed, device)
            self.refuse_hopeless(plan.tokens_per_second)
        self.run.write_json("plan.json", dataclasses.asdict(plan))
        planning.print_plan(plan, f"The plan: {self.preset} for {self.budget}", self.console)
        return plan, speed

    def choose_batch_size(self, device):
        """Returns the batch size, why it was chosen, and the `Speed` at a micro-batch that divides it."""
        asked = self.options.batch_size
        speed = self.calibrate(self.options.micro_batch_size, asked, device)
        if asked:
            return asked, "as asked for", speed
        batch_size, reason = planning.choose_batch_size(
            self.budget, self.recipe.batch_size, lambda size: self.steps_bought(size, speed)
        )
        checks.check_batch_sizes(batch_size, self.options.micro_batch_size)
        if batch_size % speed.micro_batch_size:
            speed = self.calibrate(None, batch_size, device)
        return batch_size, reason, speed

    def refuse_hopeless(self, tokens_per_second):
        """Raises an `InputError` where a run that may be refused buys too few steps at this speed."""
        if self.refusable:
            planning.refuse_hopeless(
                self.budget,
                self.preset,
                self.options.corpus,
                self.flops_per_token,
                self.corpus.sequence_length,
                tokens_per_second,
            )

    def build(self, precision):
        """Builds model, optimizer and compiled functions."""
        keras.utils.set_random_seed(self.options.seed)
        corpus = self.corpus
        tokenizer = BertBudgetTokenizer(
            corpus.vocabulary,
            lowercase=corpus.lowercase,
            strip_accents=corpus.strip_accents,
            normalizer=corpus.manifest["normalizer"].get("kind", "bert"),
        )
        preprocessor = BertBudgetMaskedLMPreprocessor(
            tokenizer,
            sequence_length=corpus.sequence_length,
            mask_selection_rate=self.mask_rate(1.0),
            mask_selection_length=self.predictions_at(1.0),
        )
        with self.replicas.scope():
            self.model = BertBudgetMaskedLM.from_preset(
                self.preset,
                load_weights=False,
                preprocessor=preprocessor,
                vocabulary_size=self.vocabulary_size,
                dtype=precision,
            )
            self.optimizer = self.recipe.optimizer()
        exclude_from_weight_decay(self.optimizer, self.model.trainable_variables)
        objective, clip_norm = MaskedLanguageModeling(), self.recipe.clip_norm
        self.update = make_update(self.model, self.optimizer, objective, clip_norm, self.replicas)
        self.loader = self.training_loader(self.predictions)

    def training_loader(self, predictions):
        """Returns the `Loader` of the training rows with so many predictions per full row.

        Where their number is scheduled the slots come in eights, so that little is compiled anew.
        """
        if len(self.mask_rate.points) == 1:
            return self.make_loader("train", self.mask_rate.highest, self.options.seed)
        rate, slots = predictions / self.corpus.sequence_length, 8 * math.ceil(predictions / 8)
        return self.make_loader("train", rate, self.options.seed, slots)

    def make_loader(self, split, mask_rate, seed, slots=None):
        """Returns the `Loader` of a split; the held-out rows keep their order."""
        masking = Masking(mask_rate, self.corpus.vocabulary, self.corpus.special_ids, seed, slots)
        kind = self.corpus.rows_kind
        return Loader(
            self.corpus.rows(split),
            masking,
            seed,
            shuffle=split == "train",
            kind=kind,
            labels=self.corpus.labels(split) if kind == "pairs" else None,
            first_epoch_in_order=self.corpus.order != "shuffled",
            share=(self.replicas.processes.rank, self.replicas.processes.count),
        )

    def calibrate(self, micro_batch_size, batch_size, device):
        """Measures the speed at a micro-batch size, or at one that suits the devices and divides the batch."""
        count = self.replicas.count
        self.replicas.check_rows(batch_size, "a batch")
        self.replicas.check_rows(micro_batch_size, "a micro-batch")
        if micro_batch_size is None:
            row = self.flops_per_token * self.corpus.sequence_length
            limit = max(1, (batch_size or self.recipe.batch_size) // count)
            micro_batch_size = count * planning.micro_batch_rows(row, device.matmul_rate / count, limit)
            while batch_size and batch_size % micro_batch_size:
                micro_batch_size -= count
        speed = planning.calibrate(self.update, self.loader, self.held_out(), micro_batch_size)
        return planning.Speed(**self.replicas.processes.tell(dataclasses.asdict(speed)))

    def held_out(self):
        """Returns the `Loader` of the held-out rows, whose masks are always the same."""
        return self.make_loader("validation", VALIDATION_MASK_RATE, _VALIDATION_SEED)

    def steps_bought(self, batch_size, speed):
        """Returns the steps that the budget buys at a batch size and a `Speed`."""
        return self.buys(batch_size, speed)[0]

    def buys(self, batch_size, speed):
        """Returns steps, tokens and FLOPs that the budget buys at a batch size and a `Speed`."""
        micro = math.gcd(batch_size, speed.micro_batch_size)
        return planning.buys(
            self.budget,
            lambda x: self.batch_at(x, batch_size, micro),
            self.corpus.sequence_length,
            self.flops_at,
            speed.step_seconds,
        )

    def make_plan(self, batch_size, batch_reason, speed, device):
        """Returns the `Plan` of a batch size."""
        steps, tokens, flops = self.buys(batch_size, speed)
        step_seconds, step_tokens = speed.step_seconds(batch_size), batch_size * self.corpus.sequence_length
        calls_of = max(1, round(planning.CALL_SECONDS / speed.micro_batch_seconds))
        in_time = self.budget.unit == "seconds"
        return planning.Plan(
            batch_size=batch_size,
            batch_ramp=self.options.batch_ramp,
            batch_reason=batch_reason,
            micro_batch_size=speed.micro_batch_size,
            micro_batches_per_call=min(planning.CALL_CAPACITY, batch_size // speed.micro_batch_size, calls_of),
            validation_rows=planning.validation_rows(len(self.corpus.rows("validation")), self.budget, speed),
            validation_unigram_entropy=self.corpus.validation_unigram_entropy,
            sequence_length=self.corpus.sequence_length,
            predictions_per_row=self.predictions,
            mask_rate=self.options.mask_rate,
            flops_per_token=self.flops_per_token,
            precision=device.precision,
            precision_reason=device.precision_reason,
            device=device.name,
            devices=self.replicas.count,
            backend=keras.backend.backend(),
            matmul_rate=device.matmul_rate,
            tokens_per_second=step_tokens / step_seconds,
            steps=int(steps),
            tokens=tokens,
            flops=flops,
            seconds=self.budget.amount if in_time else tokens / step_tokens * step_seconds / planning.TRAINING_SHARE,
            epochs=tokens / self.corpus.sequence_length / len(self.corpus.rows("train")),
            calibration_seconds=speed.seconds,
            compile_seconds=speed.compile_seconds,
        )

    def train(self, plan, speed, checkpoint_every, stops, signals):
        """Runs the loop from the newest checkpoint on, then saves the result."""
        directory, keep = self.run.path("checkpoints"), self.options.keep_checkpoints
        amount, unit = checkpoint_every
        regular = (lambda step: step % amount == 0) if unit == "steps" else (lambda step: True)
        processes = self.replicas.processes
        checkpoints = SharedCheckpoints(processes, directory, self.model, self.optimizer, keep, regular)
        state = checkpoints.restore()
        compiled = speed.compile_seconds if speed else 0.0
        guard = LossGuard()
        if state:
            self.update.load(state["update"])
            guard.load(state["guard"])
            progress = Progress(**state["progress"])
            self.run.resume_log(progress.step)
            self.console.print(f"going on after step {progress.step:,}")
        else:
            state = {"micro_batches": 0, "seconds": {"compile": compiled}, "durations": {}}
            state |= {"validated_tenth": -1, "verdict": None}
            progress = Progress()
            self.run.resume_log(None)
        loggers = parse_loggers(self.options.loggers) if processes.first else ()
        callbacks = make_callbacks(loggers, self.run.directory, self.model)
        signals.defer()
        with Display(self.console) as display:
            loop = Loop(
                update=self.update,
                rows=lambda first, count: self.training_loader(count).read(first, plan.micro_batch_size),
                validate=Validation(self.update, self.held_out(), plan.validation_rows, plan.micro_batch_size),
                samples=Samples(self.update, self.corpus),
                clock=processes.clock(BudgetClock(self.budget, progress.seconds + compiled)),
                plan=plan,
                schedules=Schedules(
                    learning_rate=lambda x: self.options.learning_rate * self.recipe.schedule(x),
                    batch_size=lambda x: self.batch_at(x, plan.batch_size, plan.micro_batch_size),
                    mask_rate=self.mask_rate,
                    predictions=self.predictions_at,
                    flops_per_token=functools.cache(self.flops_per_token_of),
                ),
                stops=stops,
                run=self.run,
                checkpoints=checkpoints,
                checkpoint_every=checkpoint_every,
                keep_mark=functools.partial(self.keep_mark, checkpoints),
                callbacks=callbacks,
                display=display,
                signals=signals,
                processes=processes,
                progress=progress,
                micro_batches=state["micro_batches"],
                seconds=state["seconds"],
                durations=state["durations"],
                guard=guard,
                validated_tenth=state["validated_tenth"],
                verdict=state["verdict"],
                compiled=speed is not None,
            )
            if processes.first:
                processes.last_acts.append(lambda why: self.save_what_can_be(loop, checkpoints, why))
            loop.report_corrupt()
            ended = loop()
        if ended not in ("spent", "early_stop") and processes.first:
            write_report(self.run.directory)
        if ended == "diverged":
            raise TrainingError(
                f"the loss diverged {guard.rollbacks + 1} times, last at step {loop.progress.step:,} (see "
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

    def finish(self, loop, checkpoint):
        """Takes the model out of the last checkpoint, writes the last line of the log, and prints the result."""
        start = time.monotonic()
        for source, name in ((checkpoint, "model.keras"), (self.corpus.directory, "vocabulary.txt")):
            with replacing(self.run.path(name)) as temporary:
                shutil.copyfile(os.path.join(source, name), temporary)
        loop.seconds["checkpoint"] += time.monotonic() - start
        validations = read_record(self.run.directory).validation
        entropy = self.corpus.validation_unigram_entropy
        final = {
            **validations[-1],
            **loop.position(),
            "first_validation_loss": validations[0]["validation_loss"],
            "validation_unigram_entropy": entropy,
            "tokens_per_second": loop.progress.tokens / loop.clock.seconds,
            "final": True,
        }
        if self.options.price_per_hour:
            final["cost"] = self.options.price_per_hour * loop.clock.seconds / 3600
        self.run.log(final)
        write_report(self.run.directory)
        print_result(final, self.run, self.budget, self.console)
        return self.model
