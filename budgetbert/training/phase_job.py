"""One phase of a run: its rows, what they cost, and what its share of the budget buys."""

import dataclasses
import functools
import math

import keras

from budgetbert import flops, schedules
from budgetbert.batches import Loader, Masking, predictions_per_row
from budgetbert.models.presets import PRESETS
from budgetbert.training import calibration, checks, devices, memory
from budgetbert.training import plan as planning
from budgetbert.training.recipe import describe_schedule
from budgetbert.training.reference import corpus_kind
from budgetbert.training.stages import Schedules, Stage
from budgetbert.training.validation import Samples, Validation

VALIDATION_MASK_RATE = 0.15  # whatever the training rate is, so that losses compare
_VALIDATION_SEED = 0


def flops_per_token(preset, vocabulary_size, sequence_length, predictions):
    """Returns the training FLOPs per token of a preset with a vocabulary size, rows of a length and predictions."""
    return flops.training_flops_per_token(config_of(preset, vocabulary_size), sequence_length, predictions)


def config_of(preset, vocabulary_size):
    """Returns the configuration of a preset's masked-LM with a vocabulary size, as dict."""
    return {**PRESETS[preset]["backbone"], **PRESETS[preset]["masked_lm"], "vocabulary_size": vocabulary_size}


class PhaseJob:
    """One phase of a run.

    Args:
        recipe: `Recipe`.
        phase: `Phase` of it.
        options: object with an attribute for each flag of the pretraining recipes.
        budget: `Budget` of the phase.
        preset: str.
        corpus: `PreparedCorpus` of the phase.
        replicas: `Replicas`.

    Attributes:
        update: `Update` of the run, once it is built.
        loader: `Loader` of the training rows, once it is built.
    """

    def __init__(self, recipe, phase, options, budget, preset, corpus, replicas):
        self.recipe, self.phase, self.options = recipe, phase, options
        self.budget, self.preset, self.corpus, self.replicas = budget, preset, corpus, replicas
        self.vocabulary_size = checks.padded(len(corpus.vocabulary))
        self.mask_rate = schedules.parse_mask_rate(options.mask_rate)
        self.predictions = predictions_per_row(self.mask_rate.highest, corpus.sequence_length)
        self.row_shape = config_of(preset, self.vocabulary_size), corpus.sequence_length, self.predictions
        self.flops_per_token = max(self.flops_at(x) for x, _ in self.mask_rate.points)  # of calibration
        self.update = self.loader = None

    def attach(self, update):
        """Takes over the compiled functions of the run."""
        self.update, self.loader = update, self.training_loader(self.predictions)

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

    def batch_size_after(self, first):
        """Returns the batch of this phase where that of the first phase is `first` (int): in the published ratio."""
        return max(1, first * self.phase.batch_size // self.recipe.phases[0].batch_size)

    def micro_batch_size_of(self, batch_size):
        """Returns the `--micro_batch_size` for this phase, `None` if there is none.

        It is meant for the rows of the first phase: longer ones come fewer at once, as they need the same memory.
        """
        first, asked = self.recipe.phases[0], self.options.micro_batch_size
        if not asked or self.phase is first:
            return asked
        rows = max(1, asked * first.sequence_length // self.phase.sequence_length)
        return math.gcd(batch_size, rows) if batch_size else rows

    def rates_at(self, batch_size):
        """Returns the peak learning rate and the schedule with such a batch.

        A `--learning_rate` is that of the first phase; later ones keep the published ratio to it.
        """
        rate, schedule = self.phase.rates_at(batch_size)
        asked, first = self.options.learning_rate, self.recipe.phases[0]
        if asked is None or rate is None:
            return rate or asked, schedule
        published, of_first = (phase.rates_at(phase.batch_size)[0] for phase in (self.phase, first))
        return (asked if self.phase is first else asked * published / of_first), schedule

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
        """Measures the speed at a micro-batch size, or at the best that suits the devices and divides the batch."""
        replicas = self.replicas
        replicas.check_rows(batch_size, "a batch")
        replicas.check_rows(micro_batch_size, "a micro-batch")
        if micro_batch_size:
            asked_for = bool(self.options.micro_batch_size)
            sizes = calibration.Sizes(micro_batch_size, micro_batch_size, batch_size, asked_for)
        else:
            # of one device, in rows; the processes may have different memories left, and must try the same sizes
            limit, available = (batch_size or self.phase.batch_size) // replicas.count, memory.available()
            if available and not devices.is_accelerated():
                limit = min(limit, memory.most_rows(self.update, *self.row_shape, available / replicas.count))
            if self.options.batch_ramp and devices.is_accelerated():
                limit //= 16  # the ramp goes in micro-batches, Cramming's in 16
            limit = replicas.processes.tell(max(1, limit))
            length = self.corpus.sequence_length
            row_flops, rate = self.flops_per_token * length, device.matmul_rate / replicas.count
            share = batch_size and batch_size // replicas.count
            sizes = calibration.choose_sizes(row_flops, rate, limit, length, share).times(replicas.count)
        tell = replicas.processes.tell
        speed = calibration.calibrate(self.update, self.loader, self.held_out(), sizes, tell=tell)
        return calibration.Speed.from_dict(tell(dataclasses.asdict(speed)))

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
        config, *row = self.row_shape
        held = memory.estimate(self.update, config, speed.micro_batch_size // self.replicas.count, *row)
        if speed.memory[0]:
            held = held.with_total(*speed.memory)
        steps, tokens, total_flops = self.buys(batch_size, speed)
        step_seconds, step_tokens = speed.step_seconds(batch_size), batch_size * self.corpus.sequence_length
        calls_of = max(1, round(calibration.CALL_SECONDS / speed.micro_batch_seconds))
        in_time = self.budget.unit == "seconds"
        learning_rate, schedule = self.rates_at(batch_size)
        return planning.Plan(
            batch_size=batch_size,
            batch_ramp=self.options.batch_ramp,
            batch_reason=batch_reason,
            micro_batch_size=speed.micro_batch_size,
            micro_batches_per_call=min(calibration.CALL_CAPACITY, batch_size // speed.micro_batch_size, calls_of),
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
            flops=total_flops,
            seconds=self.budget.amount if in_time else tokens / step_tokens * step_seconds / planning.TRAINING_SHARE,
            epochs=tokens / self.corpus.sequence_length / len(self.corpus.rows("train")),
            calibration_seconds=speed.seconds,
            compile_seconds=speed.compile_seconds,
            learning_rate=learning_rate,
            schedule=describe_schedule(schedule),
            trials=[dataclasses.asdict(trial) for trial in speed.trials],
            memory=dataclasses.asdict(held),
            corpus_kind=corpus_kind(self.corpus),
        )

    def schedules(self, plan, start, end):
        """Returns the `Schedules` of this phase over the whole run's x, between two spent fractions of the budget."""
        learning_rate, schedule = self.rates_at(plan.batch_size)

        def own(curve):  # each phase has an x of its own, from 0 to 1
            return lambda x: curve(min(max((x - start) / (end - start), 0.0), 1.0))

        return Schedules(
            learning_rate=own(lambda x: learning_rate * schedule(x)),
            batch_size=own(lambda x: self.batch_at(x, plan.batch_size, plan.micro_batch_size)),
            mask_rate=own(self.mask_rate),
            predictions=own(self.predictions_at),
            flops_per_token=functools.cache(self.flops_per_token_of),
        )

    def stage(self, plan, start, end):
        """Returns the `Stage` of this phase, between two spent fractions of the budget."""
        return Stage(
            start=start,
            plan=plan,
            schedules=self.schedules(plan, start, end),
            rows=lambda first, count: self.training_loader(count).read(first, plan.micro_batch_size),
            validate=Validation(self.update, self.held_out(), plan.validation_rows, plan.micro_batch_size),
            samples=Samples(self.update, self.corpus),
            resets_step=self.phase.resets_step,
        )
