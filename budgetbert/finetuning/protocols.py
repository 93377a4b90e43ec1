"""The protocols by which a GLUE score is made: a score without its protocol is worthless. Imports no Keras."""

import dataclasses

from budgetbert import finetuning_rule as finetuning
from budgetbert import schedules
from budgetbert.errors import InputError
from budgetbert.finetuning.tasks import TASKS


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a model is finetuned and judged; one for all tasks, or one rule (`for_task`).

    It has more than ten fields because each is a setting on which a score depends, and which a paper states or leaves
    open.

    Args:
        name: str.
        description: str, one sentence.
        learning_rates: tuple of float. More than one, here or in `batch_sizes`: a grid, from which each task takes the
            configuration with the best median over the seeds.
        batch_sizes: tuple of int.
        epochs: int, or `None` where `for_task` has to say it, as rates and batch sizes then.
        weight_decay: float.
        beta_2, epsilon: float. Of AdamW; beta_1 is 0.9.
        schedule: str, `"cosine"` or `"linear"`, falling to 0.
        warmup: float. Share of the steps of each task.
        clip_norm: float or `None`.
        drop_last: bool. Whether the rows beyond the last whole batch of an epoch are left out of it.
        seeds: int. How many, unless `--seeds` says otherwise.
        sequence_length: int. Longer texts are cut.
        dropout: float. Of encoder and head.
        mnli_transfer: tuple of the tasks that start from the encoder finetuned on MNLI, where MNLI is there.
        main_metrics: dict of task to the metric that chooses configuration and median seed, where it is not the task's
            first.
        max_steps: int or `None`. Where fewer than the epochs have.
        deviations: tuple of str. What differs from the published protocol, or is not confirmed.
        warmup_steps: int or `None` (default). Steps of warm-up in every task, in place of `warmup`.
        pairs: str. Two texts are encoded `"together"` in one row (default), `"apart"`, or `"auto"`: apart by encoders
            that are so small that they need it (`for_task`).
    """

    name: str
    description: str
    learning_rates: tuple
    batch_sizes: tuple
    epochs: int | None
    weight_decay: float
    beta_2: float
    epsilon: float
    schedule: str
    warmup: float
    clip_norm: float | None
    drop_last: bool
    seeds: int
    sequence_length: int = 128
    dropout: float = 0.1
    mnli_transfer: tuple = ()
    main_metrics: dict = dataclasses.field(default_factory=dict)
    max_steps: int | None = None
    deviations: tuple = ()
    warmup_steps: int | None = None
    pairs: str = "together"

    @property
    def configurations(self):
        """list of dict, `learning_rate` and `batch_size` of each configuration."""
        return [{"learning_rate": r, "batch_size": b} for b in self.batch_sizes for r in self.learning_rates]

    def for_task(self, width, examples):
        """Returns the protocol (`Protocol`) for an encoder's width (int) and a task's number of examples (int)."""
        return self

    def factor(self, x, steps):
        """Returns what the learning rate is multiplied by at a share x of so many steps (int)."""
        schedule = {"cosine": schedules.cosine, "linear": schedules.linear}[self.schedule]
        warmup = self.warmup if self.warmup_steps is None else self.warmup_steps / steps
        # A task that ends within its warm-up is all rise, as with Transformers' schedules.
        return x / warmup if x < warmup else schedule(x, warmup=warmup)

    def with_warmup_of_cola(self):
        """Returns the protocol with CoLA's steps of warm-up in every task, 267 of Cramming's, as its code has them.

        The code turns the share into steps at the first task of GLUE, and keeps those for all.

        Raises:
            InputError: if the batch or the epochs of CoLA are not one for all.
        """
        if self.epochs is None or len(self.batch_sizes) != 1:
            raise InputError(
                f"--cola_warmup is for a protocol with one batch size: {self.name} has others, take cramming or "
                "cramming_bert."
            )
        steps = int(self.warmup * steps_of(self, TASKS["cola"].train.rows, self.batch_sizes[0]))
        kept = tuple(text for text in self.deviations if not text.startswith(_OWN_WARMUP))
        return dataclasses.replace(self, warmup_steps=steps, deviations=kept)

    def metric_of(self, task):
        """Returns the metric (str) that chooses the configuration and the median seed of a `Task`."""
        return self.main_metrics.get(task.name, task.metric)

    @property
    def settings(self):
        """dict for `glue.json`; in every protocol the model of the last epoch counts."""
        settings = {**dataclasses.asdict(self), "mnli_transfer": list(self.mnli_transfer), "selection": "last epoch"}
        # Directories of before have none of these.
        if self.warmup_steps is None:
            del settings["warmup_steps"]
        if self.pairs == "together":
            del settings["pairs"]
        return settings


@dataclasses.dataclass(frozen=True)
class BudgetProtocol(Protocol):
    """One that takes rate, batch, epochs and the reading of pairs from `budgetbert.finetuning_rule`.

    `pairs` other than `"auto"` stays as it is.
    """

    def for_task(self, width, examples):
        chosen = finetuning.finetuning_settings(width, examples)
        apart = finetuning.reads_pairs_apart(width) if self.pairs == "auto" else self.pairs == "apart"
        return dataclasses.replace(
            self,
            learning_rates=(chosen.learning_rate,),
            batch_sizes=(chosen.batch_size,),
            epochs=chosen.epochs,
            pairs="apart" if apart else "together",
        )


_BUCKETS = "batches are of texts of similar length, cut from 32 shuffled batches at a time"
_OWN_WARMUP = "warm-up of "  # of each task, as the deviation begins that `with_warmup_of_cola` undoes
_SINGLE = "a single text is [CLS] A [SEP], where the original adds a second [SEP]"

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="cramming",
            description="Cramming's GLUE-sane: one setting for all tasks, 5 epochs, no MNLI transfer, last epoch, dev",
            learning_rates=(4e-5,),
            batch_sizes=(16,),
            epochs=5,
            weight_decay=0.0,
            beta_2=0.98,
            epsilon=1e-6,
            schedule="cosine",
            warmup=0.1,
            clip_norm=None,
            drop_last=True,
            seeds=5,
            deviations=(
                f"{_OWN_WARMUP}10 % in every task (the original computes 267 steps for its first task, CoLA, and keeps "
                "them for all: 23 % of MRPC, 34 % of RTE, 0.2 % of MNLI; --cola_warmup does so too)",
                _BUCKETS,
                _SINGLE,
            ),
        ),
        Protocol(
            name="cramming_bert",
            description="Cramming's for BERT and RoBERTa, its `eval=GLUE`: 10 epochs with decay, last epoch, dev",
            learning_rates=(2e-5,),
            batch_sizes=(32,),
            epochs=10,
            weight_decay=0.1,
            beta_2=0.98,
            epsilon=1e-6,
            schedule="linear",
            warmup=0.06,
            clip_norm=None,
            drop_last=True,
            seeds=5,
            sequence_length=1024,
            deviations=(
                "10 epochs as in the code, 5 in the paper",
                "texts are cut where the model's positions end, if that is before 1,024 tokens",
                f"{_OWN_WARMUP}6 % in every task (the original keeps CoLA's 160 steps for all; --cola_warmup does so "
                "too)",
                _BUCKETS,
                _SINGLE,
            ),
        ),
        Protocol(
            name="academic",
            description="24hBERT's: a small grid per task, the best configuration's median, MNLI transfer, dev",
            learning_rates=(1e-5, 3e-5, 5e-5, 8e-5),
            batch_sizes=(16, 32),
            epochs=5,
            weight_decay=0.01,
            beta_2=0.999,
            epsilon=1e-8,
            schedule="linear",
            warmup=0.06,
            clip_norm=1.0,
            drop_last=False,
            seeds=5,
            mnli_transfer=("rte", "mrpc", "stsb"),
            main_metrics={"stsb": "spearman"},
            deviations=(
                "the grid and the warm-up of 6 % are ours: the paper's per-task values are not confirmed",
                "scores are of the development sets, the paper's of the test server",
                _BUCKETS,
            ),
        ),
        BudgetProtocol(
            name="budget",
            description="rate and reading of pairs from the encoder's width, epochs from the number of examples, last "
            "epoch, dev",
            learning_rates=(),
            batch_sizes=(),
            epochs=None,
            weight_decay=0.0,
            beta_2=finetuning.BETA_2,
            epsilon=finetuning.EPSILON,
            schedule="linear",
            warmup=finetuning.WARMUP,
            clip_norm=finetuning.CLIP_NORM,
            drop_last=False,
            seeds=5,
            pairs="auto",
        ),
        Protocol(
            name="quick",
            description="a smoke test: at most 100 steps, one setting, no score to report",
            learning_rates=(1e-4,),
            batch_sizes=(16,),
            epochs=1,
            weight_decay=0.0,
            beta_2=0.98,
            epsilon=1e-6,
            schedule="linear",
            warmup=0.1,
            clip_norm=1.0,
            drop_last=True,
            seeds=1,
            max_steps=100,
        ),
    )
}


def protocol_of(name, cola_warmup=False):
    """Returns the `Protocol` of a name, with CoLA's steps of warm-up in every task if so wanted."""
    return PROTOCOLS[name].with_warmup_of_cola() if cola_warmup else PROTOCOLS[name]


def steps_per_epoch(protocol, rows, batch_size):
    """Returns the optimizer steps (int) of an epoch, at least one."""
    return max(1, rows // batch_size if protocol.drop_last else -(-rows // batch_size))


def steps_of(protocol, rows, batch_size):
    """Returns the optimizer steps (int) of a finetuning."""
    steps = protocol.epochs * steps_per_epoch(protocol, rows, batch_size)
    return steps if protocol.max_steps is None else min(steps, protocol.max_steps)
