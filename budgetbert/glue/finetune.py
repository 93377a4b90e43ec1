"""One task: every configuration of the protocol with every seed, each a run of `training/loop.py`."""

import contextlib
import dataclasses
import json
import math
import os
import shutil
import statistics

import keras
import numpy as np

from budgetbert import flops
from budgetbert.budget import Budget, BudgetClock
from budgetbert.glue import metrics
from budgetbert.glue.batches import EncodedExamples, TrainingBatches, judging_batches
from budgetbert.glue.classifier import logits_of, restart
from budgetbert.glue.protocols import steps_of, steps_per_epoch
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.training.checkpoint import Checkpoints, take_up
from budgetbert.training.guards import LossGuard
from budgetbert.training.loggers import make_callbacks
from budgetbert.training.loop import Loop
from budgetbert.training.objectives import Classification
from budgetbert.training.run import Run, replacing
from budgetbert.training.stages import Schedules, Stage, Stops
from budgetbert.training.update import make_update

_CHECKPOINT_EVERY = (600, "seconds")


class Interrupted(Exception):
    """A signal ended the run, with everything saved; the argument names it."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What the loop asks of a plan, for batches that are one micro-batch each."""

    micro_batch_size: int
    device: str
    matmul_rate: float
    sequence_length: int
    micro_batches_per_call: int = 1
    tokens_per_second: float = math.inf  # of the call that a budget of time keeps back; this one is in steps


class Finetuning:
    """A task on its way from the pretrained encoder to its metrics.

    Args:
        pretrained: `Pretrained`.
        task: `Task`.
        protocol: `Protocol`.
        examples: dict with `"train"`, an `Examples`, and `"dev"`, a list of them.
        weights_of: function of a seed that returns the encoder's weights to start from.
        device: `Device`.
        directory: str, of the task.
        identity: dict. What else decides the result, for each run's `recipe.json`.
        signals: `Signals`.
        say: function of a str, for people.
    """

    def __init__(self, pretrained, task, protocol, examples, weights_of, device, directory, identity, signals, say):
        self.task, self.protocol, self.device = task, protocol, device
        self.directory, self.identity, self.signals, self.say = directory, identity, signals, say
        self.weights_of = weights_of
        self.examples, self.tokenizer = examples, pretrained.tokenizer
        self.main_metric = protocol.metric_of(task)
        self.pretrained = pretrained
        self.update = None

    def __call__(self, seeds):
        """Finetunes with the seeds 0 to `seeds - 1` and keeps the model of the median one.

        Returns:
            dict, the entry of the task in `glue.json`.

        Raises:
            Interrupted: where a signal came; finished seeds stay, the one under way is saved.
        """
        tried, best = [], None
        for configuration in self.protocol.configurations:
            runs = [self._run(configuration, seed) for seed in range(seeds)]
            values = [run["metrics"][self.main_metric] for run in runs]
            tried.append((configuration, runs, values))
            if best is None or statistics.median(values) > statistics.median(best[2]):
                best = tried[-1]
                self._keep_model(configuration, _median_seed(values))
            self._delete_models(configuration, seeds)
        configuration, runs, values = best
        names = runs[0]["metrics"]
        train, dev = self.examples["train"], self.examples["dev"]
        return {
            "metrics": {name: summary([run["metrics"][name] for run in runs]) for name in names},
            "main_metric": self.main_metric,
            "examples": sum(map(len, dev)),
            "train_examples": len(train),
            "majority": _merged(metrics.majority(self.task, part.labels, part.suffix) for part in dev),
            "notes": [
                *dict.fromkeys(note for part in (train, *dev) for note in part.notes),
                *(f"seed {seed} failed to train: {run['failed']}" for seed, run in enumerate(runs) if run["failed"]),
            ],
            "configuration": configuration,
            "configurations_tried": [{**setting, self.main_metric: found} for setting, _, found in tried],
            "median_seed": _median_seed(values),
            "failed_seeds": [seed for seed, run in enumerate(runs) if run["failed"]],
            "steps": runs[0]["step"],
            "seconds": sum(run["elapsed_seconds"] for _, runs, _ in tried for run in runs),
        }

    def path_of(self, configuration, seed):
        """Returns the directory of the run of a configuration with a seed."""
        name = f"rate{configuration['learning_rate']:g}-batch{configuration['batch_size']}-seed{seed}"
        return os.path.join(self.directory, "runs", name)

    def _run(self, configuration, seed):
        """The last line of the log of one finetuning, done now or before."""
        run = Run(self.path_of(configuration, seed))
        settings = {**self.protocol.settings, **configuration, "seed": seed, "task": self.task.name, **self.identity}
        data = [part.fingerprint for part in (self.examples["train"], *self.examples["dev"])]
        recipe = {"recipe": "finetune_glue", **settings, "data": data}
        run.check(recipe)
        if run.final is None:
            run.start(recipe, {"device": self.device.name, "precision": self.device.precision})
            try:
                run.log(self._train(run, configuration, seed))
            finally:
                run.release()
            shutil.rmtree(run.path("checkpoints"), ignore_errors=True)
            run = Run(run.directory)
        return run.final

    def _train(self, run, configuration, seed):
        protocol, rows = self.protocol, configuration["batch_size"]
        self._build()
        restart(self.update.model, self.weights_of(seed), seed)
        self.update.reset_optimizer()
        steps = steps_of(protocol, len(self.train), rows)
        batches = TrainingBatches(self.train, rows, seed, protocol.drop_last, steps)
        epochs = steps / steps_per_epoch(protocol, len(self.train), rows)
        config = self.update.model.backbone.get_config()
        per_token = 6 * flops.block_weights(config)
        per_token += 12 * config["num_layers"] * config["hidden_dim"] * batches.mean_length
        schedules = Schedules(
            learning_rate=lambda x: configuration["learning_rate"] * protocol.factor(x),
            batch_size=lambda x: rows,
            mask_rate=lambda x: None,
            predictions=lambda x: 0,
            flops_per_token=lambda _: per_token,
        )
        plan = _Plan(rows, self.device.name, self.device.matmul_rate, protocol.sequence_length)
        checkpoints = Checkpoints(run.path("checkpoints"), self.update.model, self.update.optimizer, keep=1)
        begun = take_up(self.update, checkpoints, run, LossGuard(math.inf))
        self.signals.defer()
        loop = Loop(
            update=self.update,
            stages=(Stage(0.0, plan, schedules, batches.read, self._validate, None, False),),
            clock=BudgetClock(Budget(steps, "steps"), begun["progress"].seconds),
            stops=Stops(),
            validate_at=tuple(epoch / epochs for epoch in range(1, math.ceil(epochs))),
            run=run,
            checkpoints=checkpoints,
            checkpoint_every=_CHECKPOINT_EVERY,
            keep_mark=None,
            callbacks=make_callbacks((), run.directory, self.update.model),
            display=lambda line, spent: None,
            signals=self.signals,
            **begun,
        )
        ended = loop()
        if ended not in ("spent", "diverged"):
            raise Interrupted(ended)
        self.update.synchronize()
        checkpoints.save_model(run.path("model.keras"))
        found, predictions, why = self._judge()
        why = "the loss diverged" if ended == "diverged" else why
        with replacing(run.path("predictions.json")) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump(predictions, file)
        setting = f", rate {configuration['learning_rate']:g}, batch {rows}" if len(protocol.configurations) > 1 else ""
        figures = ", ".join(f"{name} {100 * value:.1f}" for name, value in found.items())
        self.say(
            f"{self.task.title}, seed {seed}{setting}: {figures} after {loop.progress.step:,} steps in "
            f"{loop.clock.seconds:.0f} s{f': FAILED TO TRAIN, {why}' if why else ''}"
        )
        return {**loop.position(), "metrics": found, "failed": why, "final": True}

    def _build(self):
        """Encodes the texts and builds model and compiled functions; nothing of it is needed where all is done."""
        if self.update is not None:
            return
        protocol, length = self.protocol, self.protocol.sequence_length
        length = min(length, self.pretrained.config["max_sequence_length"])
        self.train = EncodedExamples(self.examples["train"], self.tokenizer, length)
        self.dev = [EncodedExamples(part, self.tokenizer, length) for part in self.examples["dev"]]
        self.dev_batches = [judging_batches(part) for part in self.dev]
        model = self.pretrained.make_classifier(self.task, protocol.dropout, length, self.device.precision)
        optimizer = keras.optimizers.AdamW(
            beta_1=0.9, beta_2=protocol.beta_2, epsilon=protocol.epsilon, weight_decay=protocol.weight_decay
        )
        exclude_from_weight_decay(optimizer, model.trainable_variables)
        self.update = make_update(model, optimizer, Classification(), protocol.clip_norm)

    def _validate(self, stopped=lambda: False):
        if stopped():
            return None
        self.update.synchronize()
        found, _, _ = self._judge()
        return {f"validation_{name}": value for name, value in {"loss": self._loss, **found}.items()}

    def _judge(self):
        """Metrics, predictions by development set, and in which way the model failed, or `None`."""
        found, predictions, losses, failures = {}, {}, [], []
        for part, encoded, batches in zip(self.examples["dev"], self.dev, self.dev_batches, strict=True):
            logits = logits_of(self.update.model, batches, len(encoded))
            losses += list(_losses(logits, encoded.labels))
            logits = np.nan_to_num(logits)
            predicted = metrics.predictions_of(logits)
            found |= metrics.score(self.task, encoded.labels, predicted, part.suffix)
            predictions[part.stem] = predicted.tolist()
            failures.append(metrics.failed(self.task, encoded.labels, predicted))
        self._loss = float(np.mean(losses))
        return found, predictions, failures[0]

    def _keep_model(self, configuration, seed):
        """Makes the model of one seed the task's."""
        source = os.path.join(self.path_of(configuration, seed), "model.keras")
        if os.path.exists(source):  # else it was moved before
            os.replace(source, self.model_path)
        with open(os.path.join(self.directory, "vocabulary.txt"), "w", encoding="utf-8") as file:
            file.writelines(f"{token}\n" for token in self.tokenizer.get_vocabulary())

    def _delete_models(self, configuration, seeds):
        """Deletes the models of the other seeds: 40 of BERT-large would take 50 GB a task."""
        for seed in range(seeds):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(self.path_of(configuration, seed), "model.keras"))

    @property
    def model_path(self):
        """str, where the model of the median seed is."""
        return os.path.join(self.directory, "model.keras")


def summary(values):
    """Returns what `glue.json` says of a metric: its values by seed, their median, number and spread (max - min)."""
    return {
        "values": values,
        "median": statistics.median(values),
        "n": len(values),
        "spread": max(values) - min(values),
    }


def _median_seed(values):
    """The seed whose value is the median, the lower one of two."""
    return values.index(statistics.median_low(values))


def _merged(parts):
    return {name: value for part in parts for name, value in part.items()}


def _losses(logits, labels):
    if logits.shape[1] == 1:
        return np.square(logits[:, 0] - labels)
    shifted = logits - logits.max(axis=1, keepdims=True)
    chosen = np.take_along_axis(shifted, labels[:, None], axis=1)[:, 0]
    return np.log(np.exp(shifted).sum(axis=1)) - chosen
