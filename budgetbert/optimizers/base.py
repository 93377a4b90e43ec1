"""What the optimizers of this package share: exclusions that are saved with them, float32 moments, Adam's direction."""

import math

import keras
from keras import ops

from budgetbert.optimizers.parameter_groups import last_component


class BaseOptimizer(keras.optimizers.Optimizer):
    """An optimizer that decays inside its own step, and knows by the path of a variable whether to.

    Keras keeps the exclusions of its own optimizers beside the config and loses them when an optimizer is saved.

    Args:
        learning_rate: float, schedule or function without arguments, as for every Keras optimizer.
        weight_decay: float.
        exclude_from_weight_decay: sequence of str. Variables whose path ends in one of these components do not decay.
        **kwargs: of `keras.optimizers.Optimizer`, as `name`, `global_clipnorm` or `use_ema`.

    Raises:
        ValueError: if the exclusions are a string and no sequence.
    """

    def __init__(self, learning_rate, weight_decay, exclude_from_weight_decay, **kwargs):
        super().__init__(learning_rate, weight_decay=weight_decay, **kwargs)
        self.not_decayed = names("exclude_from_weight_decay", exclude_from_weight_decay)

    def is_decayed(self, variable):
        """Returns whether weight decay applies to a `keras.Variable`."""
        return last_component(variable) not in self.not_decayed

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        raise ValueError(f"{type(self).__name__} takes its exclusions when it is made, so that they are saved with it.")

    def _apply_weight_decay(self, variables):
        """Keras would decay here, before the step and outside of it."""

    def get_config(self):
        return {**super().get_config(), "exclude_from_weight_decay": list(self.not_decayed)}

    def adam_direction(self, gradient, momentum, velocity, beta_1, beta_2, epsilon, bias_correction=True):
        """Updates the two moments (`keras.Variable`) and returns m / (sqrt(v) + epsilon), float32.

        Source: Kingma & Ba 2015, algorithm 1.
        """
        m = beta_1 * float32(momentum) + (1 - beta_1) * gradient
        v = beta_2 * float32(velocity) + (1 - beta_2) * ops.square(gradient)
        self.assign(momentum, m)
        self.assign(velocity, v)
        if bias_correction:
            step = float32(self.iterations) + 1.0
            m = m / _one_minus_power(beta_1, step)
            v = v / _one_minus_power(beta_2, step)
        return m / (ops.sqrt(v) + epsilon)


def names(argument, value):
    """Returns a sequence of names as a tuple, `None` as `None`; a string is a `ValueError` that names the argument."""
    if isinstance(value, str):
        raise ValueError(f"`{argument}` must be a sequence of names. Received: {argument}={value!r}")
    return None if value is None else tuple(value)


def float32(value):
    """Returns a variable or tensor as a float32 tensor."""
    return ops.cast(ops.convert_to_tensor(value), "float32")


def dense(gradient, shape):
    """Returns a gradient as a float32 tensor; TensorFlow's of a gathered table may repeat a row, which is summed."""
    if hasattr(gradient, "dense_shape"):
        gradient = ops.add(ops.zeros(shape, gradient.dtype), gradient)
    return float32(gradient)


def _one_minus_power(beta, step):
    """1 - beta^step; written out, float32 leaves four digits of 1 - 0.999."""
    return -ops.expm1(step * math.log(beta)) if beta else 1.0
