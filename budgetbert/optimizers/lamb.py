"""LAMB as published."""

import keras
from keras import ops

from budgetbert.optimizers.base import BaseOptimizer, dense, float32, names
from budgetbert.optimizers.parameter_groups import NOT_DECAYED, count_parts, last_component


@keras.saving.register_keras_serializable(package="budgetbert")
class Lamb(BaseOptimizer):
    """Adam's direction plus weight decay, scaled for every matrix to the norm of its weights.

        u = m / (sqrt(v) + epsilon) + weight_decay * x
        x = x - learning_rate * phi(||x||) / ||u|| * u

    `keras.optimizers.Lamb` is another method: it decays outside the ratio, 11 to 50 times harder for the same value.
    Norms are computed in float32 whatever the variable. Where phi(||x||) or ||u|| is zero the ratio is 1. A fused
    kernel has a ratio for each of its parts (`parameter_groups.count_parts`).

    The paper's code leaves biases and norms out of decay and adaptation. NVIDIA's PyTorch code does so too, NVLAMB
    and its TensorFlow code adapt every variable: `exclude_from_layer_adaptation=()`. Both clip the whole gradient to a
    norm of 1 first: `global_clipnorm=1.0`, or `clip_norm` of `budgetbert.training.step.base.make_step`, which clips
    after accumulation.

    Args:
        learning_rate: float, schedule or function without arguments, as for every Keras optimizer.
        beta_1: float in [0, 1). Decay of the first moment. Defaults to 0.9.
        beta_2: float in [0, 1). Decay of the second moment. Defaults to 0.999.
        epsilon: float. Defaults to 1e-6.
        weight_decay: float. Defaults to 0.01.
        exclude_from_weight_decay: sequence of str. Variables whose path ends in one of these components do not decay.
            Defaults to `("bias", "gamma", "beta", "scale")`.
        exclude_from_layer_adaptation: sequence of str, or `None` for those that do not decay (default); `()` for none.
            Those variables have the ratio 1.
        bias_correction: bool. Divide the moments by 1 - beta^t. Defaults to `True`.
        phi_bounds: tuple (low, high) or `None` (default). phi(z) is z, clamped to these.
        **kwargs: of `keras.optimizers.Optimizer`, as `name`, `global_clipnorm` or `use_ema`.

    Raises:
        ValueError: if an exclusion is a string and no sequence, or `phi_bounds` are not 0 <= low < high.

    Example:

    ```python
    model = BertBudgetMaskedLM.from_preset("tiny_bert", load_weights=False, vocabulary_size=64)
    model.compile(optimizer=Lamb(7e-3, weight_decay=0.01))
    ```

    Source: You et al. 2020 (arXiv 1904.00962v5), algorithm 2; the exclusions as in its published code.
    """

    def __init__(
        self,
        learning_rate,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-6,
        weight_decay=0.01,
        exclude_from_weight_decay=NOT_DECAYED,
        exclude_from_layer_adaptation=None,
        bias_correction=True,
        phi_bounds=None,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, exclude_from_weight_decay, **kwargs)
        if phi_bounds is not None and not (len(phi_bounds) == 2 and 0 <= phi_bounds[0] < phi_bounds[1]):
            raise ValueError(f"`phi_bounds` must be (low, high), 0 <= low < high. Received: phi_bounds={phi_bounds!r}")
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.not_adapted = names("exclude_from_layer_adaptation", exclude_from_layer_adaptation)
        self.bias_correction = bias_correction
        self.phi_bounds = phi_bounds and tuple(phi_bounds)

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(variables, ["momentum", "velocity"])

    def is_adapted(self, variable):
        """Returns whether the step of a `keras.Variable` is scaled to the norm of its weights."""
        excluded = self.not_decayed if self.not_adapted is None else self.not_adapted
        return last_component(variable) not in excluded

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        keras_variable = self._trainable_variables[index]  # on TensorFlow `variable` is a tf.Variable, without path
        weights = float32(variable)
        update = self.adam_direction(
            dense(gradient, weights.shape),
            self._momentums[index],
            self._velocities[index],
            self.beta_1,
            self.beta_2,
            self.epsilon,
            self.bias_correction,
        )
        if self.weight_decay and self.is_decayed(keras_variable):
            update = update + self.weight_decay * weights
        if self.is_adapted(keras_variable):
            update = update * self._ratio(weights, update, count_parts(keras_variable))
        self.assign_sub(variable, ops.cast(float32(learning_rate) * update, variable.dtype))

    def _ratio(self, weights, update, parts):
        """phi(||weights||) / ||update||: a scalar, or for several parts a vector as long as the last axis."""
        weight_norm, update_norm = _norms(weights, parts), _norms(update, parts)
        if self.phi_bounds is not None:
            weight_norm = ops.clip(weight_norm, *self.phi_bounds)
        usable = ops.logical_and(weight_norm > 0, update_norm > 0)
        ratio = ops.where(usable, weight_norm / ops.where(usable, update_norm, 1.0), 1.0)
        return ratio if parts == 1 else ops.repeat(ratio, weights.shape[-1] // parts)

    def get_config(self):
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "exclude_from_layer_adaptation": None if self.not_adapted is None else list(self.not_adapted),
            "bias_correction": self.bias_correction,
            "phi_bounds": self.phi_bounds and list(self.phi_bounds),
        }


def _norms(values, parts):
    squares = ops.square(values)
    if parts == 1:
        return ops.sqrt(ops.sum(squares))
    columns = ops.sum(squares, axis=tuple(range(len(values.shape) - 1)))
    return ops.sqrt(ops.sum(ops.reshape(columns, (parts, -1)), axis=-1))
