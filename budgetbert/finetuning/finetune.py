"""One task: every configuration of the protocol with every seed, each a run of `training/loop/loop.py`."""

import contextlib
import json
import math
import os
import shutil
import statistics

import keras
import numpy as np

from budgetbert import files, flops
from budgetbert.budget import Budget, BudgetClock, Progress
from budgetbert.corpus.store import write_vocabulary
from budgetbert.finetuning.batches import TrainingBatches
from budgetbert.finetuning.protocols import steps_of, steps_per_epoch
from budgetbert.optimizers import exclude_from_weight_decay
from budgetbert.reporting.numbers import number, score
from budgetbert.schedules import Schedules
from budgetbert.training.flags import Cadence
from budgetbert.training.loop.feed import Feed
from budgetbert.training.loop.guards import Diverged, LossGuard
from budgetbert.training.loop.hooks import Log, Save, Validate
from budgetbert.training.loop.loop import Loop, train_phase
from budgetbert.training.loop.state import TrainState, resume, roll_back
from budgetbert.training.run.checkpoints import Checkpoints
from budgetbert.training.run.directory import Run
from budgetbert.training.step.base import make_step

_CHECKPOINT_EVERY = Cadence(600, "seconds")


class Interrupted(Exception):
    """A signal ended the run, with everything saved; the argument names it."""


class Finetuning:
    """A task on its way from the pretrained encoder to its metrics.

    Args:
        pretrained: `Pretrained`.
        task: `Task`.
        head: what is particular to its kind, as `heads.TextHead`.
        protocol: `Protocol`.
        examples: dict with `"train"`, an `Examples`, and `"dev"`, a list of them.
        start: `Pretrained`, whose weights it starts from.
        device: `Device`.
        directory: str, of the task.
        identity: dict. What else decides the result, for each run's `recipe.json`.
        signals: `Signals`.
        say: function of a str, for people.
        remat: bool. Whether the encoder's blocks are computed again in the backward pass. Defaults to `False`.
    """

    def __init__(
        self, pretrained, task, head, protocol, examples, start, device, directory, identity, signals, say, remat=False
    ):
        self.task, self.head, self.protocol, self.device = task, head, protocol, device
        self.directory, self.identity, self.signals, self.say = directory, identity, signals, say
        self.start = start
        self.examples, self.tokenizer = examples, pretrained.tokenizer
        self.main_metric = protocol.metric_of(task)
        self.pretrained, self.remat = pretrained, remat
        self.step = None

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
            "majority": _merged(_named(self.head.majority(part), part.suffix) for part in dev),
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
        """Returns the last line of the log of one finetuning, done now or before."""
        run = Run(self.path_of(configuration, seed))
        settings = {**self.protocol.settings, **configuration, "seed": seed, "task": self.task.name, **self.identity}
        data = [part.fingerprint for part in (self.examples["train"], *self.examples["dev"])]
        recipe = {**settings, "data": data}
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
        """Trains and judges one seed, saves its model and predictions, and returns the last line of its log."""
        self._build()
        self.head.restart(self.step.model, self.start.weights_of(seed), seed, self.start.pooler)
        self.step.reset_optimizer()
        checkpoints = Checkpoints(
            run.path("checkpoints"), self.step.model, self.step.optimizer, keep=1, first_wrong=LossGuard.first_wrong
        )
        state = resume(TrainState(Progress(), guard=LossGuard(math.inf)), self.step, checkpoints, run)
        loop, log, validate, save = self._make_loop(run, checkpoints, state, configuration, seed)
        log.begin(state)
        ended = None
        while ended is None:
            try:
                ended = train_phase(loop, log, validate, save)
            except Diverged as trouble:
                if not roll_back(trouble, state, log, checkpoints, self.step, save):
                    ended = "diverged"
        if ended != "diverged":
            save.now(state, wait=True)
        if ended not in ("spent", "diverged"):
            raise Interrupted(ended)
        self.step.synchronize()
        _, found, predictions, why = self._judge()
        self.head.finish(self.step.model)
        checkpoints.save_model(run.path("model.keras"))
        why = "the loss diverged" if ended == "diverged" else why
        files.write(run.path("predictions.json"), json.dumps(predictions))
        rate, rows = configuration["learning_rate"], configuration["batch_size"]
        setting = f", rate {rate:g}, batch {rows}" if len(self.protocol.configurations) > 1 else ""
        figures = ", ".join(f"{name} {score(value)}" for name, value in found.items())
        self.say(
            f"{self.task.title}, seed {seed}{setting}: {figures} after {number(state.progress.step)} steps in "
            f"{number(loop.clock.seconds)} s{f': FAILED TO TRAIN, {why}' if why else ''}"
        )
        return {**log.position(state), "metrics": found, "failed": why, "final": True}

    def _make_loop(self, run, checkpoints, state, configuration, seed):
        """Returns the `Loop` of one seed, and the hooks that write its log, validate after each epoch, and save."""
        protocol, rows = self.protocol, configuration["batch_size"]
        steps = steps_of(protocol, len(self.train), rows)
        epochs = steps / steps_per_epoch(protocol, len(self.train), rows)
        batches = TrainingBatches(self.train, rows, seed, protocol.drop_last, steps)
        config = self.step.model.backbone.get_config()
        per_token = 6 * flops.block_weights(config)
        per_token += 12 * config["num_layers"] * config["hidden_dim"] * batches.mean_length
        clock = BudgetClock(Budget(steps, "steps"), state.progress.seconds)
        self.signals.defer()
        log = Log(run, clock, self.device)
        ends = tuple(epoch / epochs for epoch in range(1, math.ceil(epochs)))
        validate = Validate(log, self._validate, ends, self.signals)
        save = Save(log, checkpoints, self.step, _CHECKPOINT_EVERY)
        loop = Loop(
            step=self.step,
            feed=Feed(lambda predictions: batches, rows),
            schedules=Schedules(
                learning_rate=lambda x: configuration["learning_rate"] * protocol.factor(x, steps),
                batch_size=lambda x: rows,
                flops_per_token=lambda predictions, length: per_token,
            ),
            clock=clock,
            state=state,
            hooks=(log, validate, save),
            signals=self.signals,
        )
        return loop, log, validate, save

    def _build(self):
        """Encodes the texts and builds model and compiled functions; nothing of it is needed where all is done."""
        if self.step is not None:
            return
        protocol, length = self.protocol, self.protocol.sequence_length
        length = min(length, self.pretrained.config["max_sequence_length"])
        self.train = self.head.encode(self.examples["train"], self.tokenizer, length)
        self.dev = [self.head.encode(part, self.tokenizer, length) for part in self.examples["dev"]]
        model = self.head.make_model(self.pretrained, protocol.dropout, length, self.device.precision)
        optimizer = keras.optimizers.AdamW(
            beta_1=0.9, beta_2=protocol.beta_2, epsilon=protocol.epsilon, weight_decay=protocol.weight_decay
        )
        exclude_from_weight_decay(optimizer, model.trainable_variables)
        self.step = make_step(model, optimizer, self.head.objective, protocol.clip_norm)
        self.step.remat = self.remat

    def _validate(self, stopped=lambda: False):
        if stopped():
            return None
        self.step.synchronize()
        loss, found, _, _ = self._judge()
        return {f"validation_{name}": value for name, value in {"loss": loss, **found}.items()}

    def _judge(self):
        """Returns the loss, the metrics, the predictions by development set, and how the model failed, or `None`."""
        found, predictions, losses, failures = {}, {}, [], []
        for part, encoded in zip(self.examples["dev"], self.dev, strict=True):
            judged = self.head.judge(self.step.model, part, encoded)
            losses.append(judged.losses)
            found |= _named(judged.metrics, part.suffix)
            predictions[part.stem] = judged.predictions
            failures.append(judged.failure)
        return float(np.mean(np.concatenate(losses))), found, predictions, failures[0]

    def _keep_model(self, configuration, seed):
        """Makes the model of one seed the task's."""
        source = os.path.join(self.path_of(configuration, seed), "model.keras")
        # An earlier start of the same command may have moved it.
        if os.path.exists(source):
            os.replace(source, self.model_path)
        write_vocabulary(os.path.join(self.directory, "vocabulary.txt"), self.tokenizer.get_vocabulary())

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
    """Returns the seed whose value is the median, the lower one of two."""
    return values.index(statistics.median_low(values))


def _merged(parts):
    return {name: value for part in parts for name, value in part.items()}


def _named(found, suffix):
    return {name + suffix: value for name, value in found.items()}
