"""What the tasks with labels share: an optimizer, epochs, batches and a schedule where nobody has chosen any."""

import contextlib

import keras

from budgetbert.finetuning_rule import WARMUP, finetuning_settings, learning_rate_of
from budgetbert.models.labelled_examples import count_batches
from budgetbert.optimizers.finetuning_adam import FinetuningAdam

_RATE_CALLBACKS = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)


class AutomaticFinetuning:
    """Mixin for a `PresetTask`: `fit` follows `budgetbert.finetuning_rule` where `compile` was given no optimizer."""

    def default_optimizer(self):
        """Returns a `FinetuningAdam` with a rate that suits the width of the encoder."""
        return FinetuningAdam(learning_rate_of(self.backbone.hidden_dim))

    def _is_automatic(self):
        """Whether nobody has chosen an optimizer; mixed_float16 wraps what is there, to scale its loss."""
        return isinstance(getattr(self.optimizer, "inner_optimizer", self.optimizer), FinetuningAdam)

    def _defaults(self, examples, batch_size, epochs):
        if not self._is_automatic():
            return super()._defaults(examples, batch_size, epochs)
        classes = getattr(self, "num_classes", 1)
        settings = finetuning_settings(self.backbone.hidden_dim, examples, batch_size, classes)
        return settings.batch_size, settings.epochs if epochs is None else epochs

    def _training(self, dataset, options):
        if not self._is_automatic():
            return super()._training(dataset, options)
        return self._schedule(getattr(self.optimizer, "inner_optimizer", self.optimizer), dataset, options)

    @contextlib.contextmanager
    def _schedule(self, optimizer, dataset, options):
        """Warm-up and decay over the steps of one `fit`, where they are known and no callback sets the rate."""
        steps = [count for count in (count_batches(dataset), options.get("steps_per_epoch")) if count]
        callbacks = keras.tree.flatten(getattr(options.get("callbacks"), "callbacks", options.get("callbacks")))
        if not steps or any(isinstance(callback, _RATE_CALLBACKS) for callback in callbacks):
            yield
            return
        first = int(optimizer.iterations) - min(steps) * options.get("initial_epoch", 0)
        optimizer.start_schedule(first, min(steps) * options["epochs"], WARMUP)
        self.train_function = None  # a compiled one has the schedule of before
        try:
            yield
        finally:
            optimizer.end_schedule()
            self.train_function = None
