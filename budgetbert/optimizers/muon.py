"""Muon: momentum, orthogonalised, for hidden matrices, and AdamW for the rest."""

import keras
from keras import ops

from budgetbert.hardware import is_accelerated
from budgetbert.optimizers.base import BaseOptimizer, dense, float32
from budgetbert.optimizers.parameter_groups import NOT_DECAYED, count_parts, is_hidden_matrix

# The quintic whose iteration moves every singular value of a matrix of norm 1 to about 1 (0.7 to 1.2) in five steps.
# Source: Jordan et al. 2024.
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


@keras.saving.register_keras_serializable(package="budgetbert")
class Muon(BaseOptimizer):
    """Gives every direction of a hidden matrix the same step; embeddings, heads, norms and biases take AdamW's.

        m = momentum * m + g
        o = newton_schulz(g + momentum * m)      (without `nesterov`: of m)
        x = x - learning_rate * (0.2 * sqrt(max(rows, columns)) * o + weight_decay * x)

    Hidden matrices are the 2-D kernels of the encoder (`parameter_groups.is_hidden_matrix`). A fused kernel is
    orthogonalised in its parts, [q | k | v] and [input | gate], of which each has the step of a matrix of its own:
    as one matrix the part with the largest gradient would take nearly all of it. With the factor above, whatever the
    shape, the root mean square of a step is about 0.2 learning rates, as AdamW's is: rates carry over.

    `keras.optimizers.Muon` (3.15) differs: it sees a fused kernel as one matrix, takes a head's kernels too, and
    forgets its exclusions when it is saved.

    Args:
        learning_rate: float, schedule or function without arguments, as for every Keras optimizer.
        momentum: float in [0, 1). Defaults to 0.95.
        nesterov: bool. Look one step ahead. Defaults to `True`.
        steps: int. Newton-Schulz iterations. Defaults to 5.
        weight_decay: float. Decoupled, of matrices and of the rest alike. Defaults to 0.01.
        scale: `"rms"` (default), the factor 0.2 sqrt(max(rows, columns)), or `"spectral"`, sqrt(max(1, columns / rows))
            of a kernel [rows, columns] that maps rows to columns.
        adam_rate: float. The learning rate of the rest over that of the matrices. Defaults to 1.
        adam_beta_1: float in [0, 1). Defaults to 0.9.
        adam_beta_2: float in [0, 1). Defaults to 0.98.
        adam_epsilon: float. Defaults to 1e-8.
        exclude_from_weight_decay: sequence of str. Variables whose path ends in one of these components do not decay.
            Defaults to `("bias", "gamma", "beta", "scale")`.
        compute_dtype: `"float32"`, `"bfloat16"` or `None` (default) for bfloat16 where there is an accelerator. Of the
            iterations alone; momentum and weights are float32.
        **kwargs: of `keras.optimizers.Optimizer`, as `name`, `global_clipnorm` or `use_ema`.

    Raises:
        ValueError: if an exclusion is a string and no sequence, or `scale` is unknown.

    Example:

    ```python
    model = BertBudgetMaskedLM.from_preset("tiny_frontier", load_weights=False, vocabulary_size=64)
    model.compile(optimizer=Muon(6e-3, adam_rate=0.5))
    ```

    Source: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"; the factor of `"rms"` and the
    decay: Liu et al. 2025 (arXiv 2502.16982), "Muon is Scalable for LLM Training", section 2.2.
    """

    def __init__(
        self,
        learning_rate,
        momentum=0.95,
        nesterov=True,
        steps=5,
        weight_decay=0.01,
        scale="rms",
        adam_rate=1.0,
        adam_beta_1=0.9,
        adam_beta_2=0.98,
        adam_epsilon=1e-8,
        exclude_from_weight_decay=NOT_DECAYED,
        compute_dtype=None,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay, exclude_from_weight_decay, **kwargs)
        if scale not in ("rms", "spectral"):
            raise ValueError(f"`scale` must be 'rms' or 'spectral'. Received: scale={scale!r}")
        self.momentum = momentum
        self.nesterov = nesterov
        self.steps = steps
        self.scale = scale
        self.adam_rate = adam_rate
        self.adam_beta_1 = adam_beta_1
        self.adam_beta_2 = adam_beta_2
        self.adam_epsilon = adam_epsilon
        self.compute_dtype = compute_dtype

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")
        # AdamW's second moment; a matrix has none.
        self._velocities = [
            None if is_hidden_matrix(variable) else self.add_variable_from_reference(variable, "velocity")
            for variable in variables
        ]

    def update_step(self, gradient, variable, learning_rate):
        index = self._get_variable_index(variable)
        keras_variable = self._trainable_variables[index]  # on TensorFlow `variable` is a tf.Variable, without path
        momentum, velocity = self._momentums[index], self._velocities[index]
        weights, rate = float32(variable), float32(learning_rate)
        gradient = dense(gradient, weights.shape)
        if velocity is None:
            update = self._orthogonal(gradient, momentum, count_parts(keras_variable))
        else:
            rate = rate * self.adam_rate
            update = self.adam_direction(
                gradient, momentum, velocity, self.adam_beta_1, self.adam_beta_2, self.adam_epsilon
            )
        if self.weight_decay and self.is_decayed(keras_variable):
            update = update + self.weight_decay * weights
        self.assign_sub(variable, ops.cast(rate * update, variable.dtype))

    def _orthogonal(self, gradient, momentum, parts):
        """Updates the momentum of a matrix and returns its direction, orthogonalised part by part and scaled."""
        m = self.momentum * float32(momentum) + gradient
        self.assign(momentum, m)
        direction = gradient + self.momentum * m if self.nesterov else m
        rows, columns = direction.shape[0], direction.shape[1] // parts
        pieces = ops.transpose(ops.reshape(direction, (rows, parts, columns)), (1, 0, 2))
        dtype = self.compute_dtype or ("bfloat16" if is_accelerated() else "float32")
        pieces = float32(newton_schulz(pieces, self.steps, dtype))
        scale = 0.2 * max(rows, columns) ** 0.5 if self.scale == "rms" else max(1.0, columns / rows) ** 0.5
        return scale * ops.reshape(ops.transpose(pieces, (1, 0, 2)), (rows, parts * columns))

    def get_config(self):
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "nesterov": self.nesterov,
            "steps": self.steps,
            "scale": self.scale,
            "adam_rate": self.adam_rate,
            "adam_beta_1": self.adam_beta_1,
            "adam_beta_2": self.adam_beta_2,
            "adam_epsilon": self.adam_epsilon,
            "compute_dtype": self.compute_dtype,
        }


def newton_schulz(matrices, steps=5, dtype="float32"):
    """Moves the singular values of matrices towards 1: an approximation of u v^T of the decomposition u s v^T.

    Args:
        matrices: float32 tensor `[count, rows, columns]`.
        steps: int. Iterations. Defaults to 5.
        dtype: str. What they are computed in. Defaults to `"float32"`.

    Returns:
        Tensor of the shape of `matrices` and of `dtype`; zeros of a matrix of zeros.

    Source: Jordan et al. 2024.
    """
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]  # the products of the shorter side are the cheaper ones
    norm = ops.sqrt(ops.sum(ops.square(matrices), axis=(1, 2), keepdims=True))
    x = ops.cast(matrices / (norm + 1e-7), dtype)
    x = ops.transpose(x, (0, 2, 1)) if tall else x
    for _ in range(steps):
        gram = ops.matmul(x, ops.transpose(x, (0, 2, 1)))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    return ops.transpose(x, (0, 2, 1)) if tall else x
