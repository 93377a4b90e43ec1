"""Adam as `fit` uses it where nobody has chosen an optimizer."""

import keras
from keras import ops

from budgetbert.finetuning_rule import BETA_2, CLIP_NORM, EPSILON


@keras.saving.register_keras_serializable(package="budgetbert")
class FinetuningAdam(keras.optimizers.Adam):
    """Adam whose steps a linear warm-up and decay can scale for a while.

    The rate itself stays a number that callbacks and users may set. `fit` sets a schedule and takes it away again, so
    that steps outside of `fit` have the full rate; the schedule is therefore no part of what is saved.

    Args:
        learning_rate: float. The peak.
        beta_1: float. Defaults to `0.9`.
        beta_2: float. Defaults to `0.98`.
        epsilon: float. Defaults to `1e-6`.
        global_clipnorm: float or `None`. Defaults to `1.0`.
        **kwargs: as `keras.optimizers.Adam`.

    Example:

    ```python
    optimizer = FinetuningAdam(1e-3)
    optimizer.start_schedule(first=0, steps=100, warmup=0.1)
    ```
    """

    def __init__(self, learning_rate, beta_1=0.9, beta_2=BETA_2, epsilon=EPSILON, global_clipnorm=CLIP_NORM, **kwargs):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, global_clipnorm=global_clipnorm, **kwargs)
        self._schedule = None

    def start_schedule(self, first, steps, warmup):
        """Scales the rate of the steps from number `first` (int) on, `steps` of them (int): up from 0 over the share
        `warmup` (float above 0), then down to 0. Functions compiled before do not see it."""
        self._schedule = (first, steps, warmup)

    def end_schedule(self):
        """Goes back to the full rate."""
        self._schedule = None

    def apply(self, grads, trainable_variables=None):
        # Keras multiplies each gradient by the scale of all, which is float32 where one of them is.
        halves = ("bfloat16", "float16")
        grads = [
            ops.cast(g, "float32") if g is not None and keras.backend.standardize_dtype(g.dtype) in halves else g
            for g in grads
        ]
        return super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        # Variables of bfloat16 have a rate of their own dtype.
        rate, factor = (ops.cast(value, variable.dtype) for value in (learning_rate, self._factor()))
        super().update_step(gradient, variable, rate * factor)

    def _factor(self):
        """As `budgetbert.schedules.linear`, of the step that is being done."""
        if self._schedule is None:
            return 1.0
        first, steps, warmup = self._schedule
        x = (ops.cast(self.iterations, "float32") - first) / steps
        return ops.clip(ops.minimum(x / warmup, (1.0 - x) / (1.0 - warmup)), 0.0, 1.0)
