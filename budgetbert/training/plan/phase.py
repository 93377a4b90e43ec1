"""One phase of a run: its rows, what they cost, and its settings over its share of the budget."""

import functools
import math

from budgetbert import flops
from budgetbert.batches import ALL_MASKED, LengthBins, Loader, Masking, mean_length, predictions_per_row
from budgetbert.errors import InputError
from budgetbert.schedules import Schedules, batch_ramp
from budgetbert.training.recipe import config_of

# Validation always masks 15 %, whatever training masks, so that losses of different recipes can be compared.
VALIDATION_MASK_RATE = 0.15
_LEAST_BINS, _MOST_BINS = 4, 8
_SAMPLED_ROWS = 4096  # of whose lengths the plan is made
_VALIDATION_SEED = 0


def round_up_to_64(size):
    """Returns a vocabulary size rounded up to a multiple of 64, as the logits' matrix product likes it."""
    return -(-size // 64) * 64


def table_rows(corpus, initial_model=None):
    """Returns the rows of the table of tokens.

    A model that keeps its vocabulary keeps its table, since every further row would take part in the softmax.

    Args:
        corpus: `PreparedCorpus`.
        initial_model: `InitialModel`. Defaults to `None`.
    """
    if initial_model and corpus.vocabulary == initial_model.tokens.vocabulary:
        return initial_model.table_rows
    return round_up_to_64(len(corpus.vocabulary))


class RunPhase:
    """One phase of a run.

    Args:
        recipe: `Recipe`.
        phase: `Phase` of it.
        options: `Options`.
        budget: `Budget` of the phase, its share of the run's.
        corpus: `PreparedCorpus` of the phase.
        share: tuple of two int, (i, n): which share of each micro-batch this process reads, see `Loader`.
    """

    def __init__(self, recipe, phase, options, budget, corpus, share=(0, 1)):
        self.recipe, self.phase, self.options = recipe, phase, options
        self.budget, self.corpus, self.share = budget, corpus, share
        self.config = config_of(options.preset, recipe, table_rows(corpus, options.initial_model))

    @property
    def sequence_length(self):
        """int. Tokens of a row."""
        return self.corpus.sequence_length

    @property
    def predictions(self):
        """int. The most predictions of a full row."""
        return predictions_per_row(self.options.mask_rate.highest, self.sequence_length)

    @property
    def row_shape(self):
        """Tuple of the model's configuration, the tokens and the predictions of a row."""
        return self.config, self.sequence_length, self.predictions

    def predictions_at(self, x):
        """Returns the predictions of a full row at a spent fraction."""
        return predictions_per_row(self.options.mask_rate(x), self.sequence_length)

    def flops_per_token_of(self, predictions, length=None):
        """Returns the training FLOPs per token of rows with so many predictions if they are full.

        Args:
            predictions: int.
            length: int. At which they are computed, with as many predictions per token. Defaults to that of full rows.
        """
        if length is None or length == self.sequence_length:
            return flops.training_flops_per_token(self.config, self.sequence_length, predictions)
        return flops.training_flops_per_token(self.config, length, predictions * length / self.sequence_length)

    @property
    def bin_width(self):
        """int or `None`. Tokens by which the lengths of the rows are binned.

        Of rows of less than four bins too little is saved for each bin's program to be worth its compilation.
        """
        width = self.phase.length_bins
        binned = width and self.corpus.rows_kind != "packed" and self.sequence_length >= _LEAST_BINS * width
        return width if binned else None

    def check_bins(self):
        """Raises an `InputError` where there are more bins than are compiled, or steps that differ in their rows."""
        least = -(-self.sequence_length // _MOST_BINS)
        if self.bin_width and self.bin_width < least:
            raise InputError(
                f"--length_bins {self.bin_width} makes more than {_MOST_BINS} lengths of rows of "
                f"{self.sequence_length} tokens, each compiled for itself: give {least} or more."
            )
        if self.bin_width and self.options.batch_ramp:
            raise InputError(
                "--length_bins sorts the rows of a step, and --batch_ramp lets the steps grow: leave one out "
                "(--length_bins 0)."
            )

    def computed_length(self, batch_size, micro_batch_size):
        """Returns the tokens (int, or float where rows are binned) at which a row is computed, on average."""
        if not self.bin_width:
            return self.sequence_length
        return mean_length(self._sampled_lengths, batch_size, micro_batch_size, self.bin_width, self.sequence_length)

    @functools.cached_property
    def _sampled_lengths(self):
        """Integer array, the lengths of the first rows that the phase reads."""
        rows = min(_SAMPLED_ROWS, len(self.corpus.rows("train")))
        return self.training_rows(self.predictions).lengths(range(rows))

    def flops_at(self, x):
        """Returns the training FLOPs per token at a spent fraction."""
        return self.flops_per_token_of(self.predictions_at(x))

    @property
    def flops_at_points(self):
        """List of the training FLOPs per token at the points of the mask rate."""
        return [self.flops_at(x) for x, _ in self.options.mask_rate.points]

    def batch_at(self, x, batch_size, micro_batch_size):
        """Returns the rows of a step at a spent fraction, a multiple of the micro-batch."""
        return batch_ramp(x, batch_size, micro_batch_size, self.options.batch_ramp)

    def batch_size_after(self, first):
        """Returns the batch of this phase where that of the first phase is `first` (int): in the published ratio."""
        return max(1, first * self.phase.batch_size // self.recipe.phases[0].batch_size)

    def micro_batch_size_for(self, batch_size):
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

    def schedules(self, plan):
        """Returns the `Schedules` of the phase with the batch of a `Plan`."""
        peak, schedule = self.rates_at(plan.batch_size)
        return Schedules(
            learning_rate=lambda x: peak * schedule(x),
            batch_size=lambda x: self.batch_at(x, plan.batch_size, plan.micro_batch_size),
            flops_per_token=functools.cache(self.flops_per_token_of),
            mask_rate=self.options.mask_rate,
            predictions=self.predictions_at,
        )

    def rows_of_steps(self, batch_size):
        """Returns a function of the predictions of a full row that gives the training rows in the order of the steps.

        Args:
            batch_size: int. Rows of a step.
        """
        if not self.bin_width:
            return self.training_rows
        return lambda predictions: LengthBins(self.training_rows(predictions), batch_size, self.bin_width)

    def training_rows(self, predictions):
        """Returns the `Loader` of the training rows with so many predictions per full row.

        Where their number is scheduled the slots come in eights, so that little is compiled anew.
        """
        mask_rate, seed, shares = self.options.mask_rate, self.options.seed, self.recipe.mask_shares
        if self.phase.sequence_length == self.recipe.phases[0].sequence_length:
            # It reads the rows of the first phase, so it gets an order and masks of its own.
            seed += self.recipe.phases.index(self.phase)
        if len(mask_rate.points) == 1:
            return self._loader("train", mask_rate.highest, seed, shares)
        slots = 8 * math.ceil(predictions / 8)
        return self._loader("train", predictions / self.sequence_length, seed, shares, slots)

    def validation_rows(self, corpus=None):
        """Returns the `Loader` of the held-out rows, in their order and with masks that are always the same.

        All that is to be predicted stands behind [MASK]. With the published shares a tenth of it is shown as it is and
        a tenth as another token: the loss is then as much as 0.6 nats lower, and below the unigram entropy for a model
        that reads nothing but those.

        Args:
            corpus: `PreparedCorpus` whose rows are meant. Defaults to `None`: that of the phase.
        """
        return self._loader("validation", VALIDATION_MASK_RATE, _VALIDATION_SEED, ALL_MASKED, corpus=corpus)

    def _loader(self, split, mask_rate, seed, mask_shares, slots=None, corpus=None):
        corpus = corpus or self.corpus
        return Loader(
            corpus.rows(split),
            Masking(mask_rate, corpus.vocabulary, corpus.special_ids, seed, slots, mask_shares),
            seed,
            shuffle=split == "train",
            kind=corpus.rows_kind,
            labels=corpus.labels(split) if corpus.rows_kind == "pairs" else None,
            order=corpus.training_order if split == "train" else None,
            share=self.share,
        )


def tokens_per_row(phases):
    """Returns the tokens of a step over the rows of a step of the first phase, on average over the published plan.

    Args:
        phases: list of `RunPhase`.
    """
    if len(phases) == 1:
        return phases[0].sequence_length
    tokens = sum(each.phase.steps * each.phase.batch_size * each.sequence_length for each in phases)
    return tokens / sum(each.phase.steps for each in phases) / phases[0].phase.batch_size
