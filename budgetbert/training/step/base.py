"""What the `Step` and the `Devices` of the three backends share."""

import contextlib
import importlib

import keras
from keras import ops

from budgetbert.errors import InputError
from budgetbert.layers.dropout import seed_states
from budgetbert.optimizers import loss_scale
from budgetbert.processes import Processes


def make_step(model, optimizer, objective, clip_norm=None, devices=None):
    """Returns the `Step` of the current Keras backend.

    Args:
        model: built `keras.Model`.
        optimizer: `keras.optimizers.Optimizer`, with its decay exclusions set and not built yet.
        objective: one of `budgetbert.training.step.objectives`.
        clip_norm: float or `None`. Clips the gradient of the whole batch to this global norm. Defaults to `None`.
        devices: `Devices` in whose scope model and optimizer were made. Defaults to `None`: one device.

    Example:

    ```python
    model = budgetbert.BertBudgetMaskedLM.from_preset("tiny_24h", load_weights=False)
    step = make_step(model, keras.optimizers.AdamW(), MaskedLanguageModeling(), clip_norm=1.0)
    batch = {
        "token_ids": np.ones((8, 16), "int32"),
        "mask_positions": np.ones((8, 2), "int32"),
        "labels": np.ones((8, 2), "int32"),
        "weights": np.ones((8, 2), "float32"),
    }
    step.accumulate(stack([batch], 4), count=1, first=0)
    loss = float(step.apply(learning_rate=1e-3)["loss"])
    ```
    """
    module = importlib.import_module(f"budgetbert.training.step.{keras.backend.backend()}")
    return module.Step(model, optimizer, objective, clip_norm, devices or module.Devices())


class BaseDevices:
    """The devices that share the rows of every micro-batch, in one process or several.

    Each holds the whole model and computes its share of the rows; gradients are summed over all of them once an
    optimizer step. The `Devices` of the backends take the number of devices of this process, by default 1, and its
    `Place` among several, by default `None`.

    Attributes:
        count: int. Devices, those of all processes together.
        processes: `Processes`.
    """

    def __init__(self):
        self.count = 1
        self.processes = Processes()

    def scope(self):
        """Returns the context in which model and optimizer are to be made."""
        return contextlib.nullcontext()

    def broadcast(self, numbers):
        """Returns process 0's list of integers below 2^31 in all processes, which must call it at the same time."""
        raise NotImplementedError

    def check_rows(self, rows, what):
        """Raises an `InputError` where rows (int or `None`) of `what` cannot be split evenly over the devices."""
        if rows and rows % self.count:
            raise InputError(
                f"{what} of {rows} rows cannot be split over {self.count} devices: change --devices, "
                "--micro_batch_size or --batch_size, so that they divide."
            )


class BaseStep:
    """Gradients of micro-batches added one after another, then one optimizer step.

    How many micro-batches a call of `accumulate` runs changes no bit of the result. Dropout masks are a pure function
    of (seed, number of the micro-batch since the run's start), so that a resumed run draws the same ones.

    Methods of the backends:
        accumulate(batches, count, first): adds the gradients of the first `count` of the stacked micro-batches;
            `first` is the number of the first of them. Returns a ticket: a scalar that is there when the call is done.
        apply(learning_rate): divides by the summed weight, clips, updates where loss and norm are finite, opens new
            sums. Returns a dict of scalars: `loss` and `weight` (sums), `gradient_norm` (before clipping),
            `parameter_norm` (of all trainable variables, before the step), and in float16 `loss_scale` (the one that
            was used).
        drop(): forgets the open sums.
        evaluate(batch): returns a dict of scalar sums of one micro-batch: `loss`, `weight`, metrics.
        reload(): takes over what was written into the variables of model and optimizer.
        synchronize(): brings the variables of model and optimizer up to date (they live elsewhere on JAX).
    """

    def __init__(self, model, optimizer, objective, clip_norm):
        self.model = model
        self.optimizer = optimizer
        self.objective = objective
        self.clip_norm = clip_norm
        self.variables = model.trainable_variables
        self.trained = [True] * len(self.variables)
        optimizer.build(self.variables)
        # The state of a SeedGenerator is (seed, counter), and the counter is set anew for every micro-batch.
        self.seed_states = seed_states(model)
        # Losses are sums; divided by the rows of a micro-batch they, and so the scale, are of the usual size. The first
        # micro-batch fixes the divisor. It cancels out, so any later one may have other rows.
        self.loss_divisor, self._scale = None, None
        if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
            self._scale = {
                "scale": keras.Variable(loss_scale.INITIAL, dtype="float32", trainable=False, name="loss_scale"),
                "good_steps": keras.Variable(0, dtype="int32", trainable=False, name="good_steps"),
                "divisor": keras.Variable(1.0, dtype="float32", trainable=False, name="loss_divisor"),
            }

    @property
    def remat(self):
        """bool. Whether the encoder's blocks are computed again in the backward pass; may change between calls."""
        return getattr(getattr(self.model, "backbone", None), "remat", False)

    @remat.setter
    def remat(self, value):
        self.model.backbone.remat = value

    @property
    def scale_state(self):
        """The loss scale and its counter, as `{"scale": float, "good_steps": int}`; `None` unless in float16."""
        if self._scale is None:
            return None
        scale, good_steps = (ops.convert_to_numpy(self._scale[name]) for name in ("scale", "good_steps"))
        return {"scale": float(scale), "good_steps": int(good_steps)}

    @scale_state.setter
    def scale_state(self, state):
        if (state is None) != (self._scale is None):
            raise ValueError("A loss scale belongs to float16, and float16 needs one.")
        for name, value in (state or {}).items():
            self._scale[name].assign(value)

    def _fix_loss_divisor(self, batches):
        if self._scale is not None and self.loss_divisor is None:
            rows = next(iter(batches.values())).shape[1]
            # A power of two rounds nothing.
            self._divide_losses_by(2.0 ** (rows - 1).bit_length())

    def _divide_losses_by(self, divisor):
        self.loss_divisor = divisor
        if divisor is not None:
            self._scale["divisor"].assign(divisor)

    def _scale_values(self):
        """Returns the tensors of the loss scale by name, `None` unless in float16."""
        return self._scale and {name: variable.value for name, variable in self._scale.items()}

    @staticmethod
    def _loss_factor(scale):
        """What the loss is multiplied by before it is differentiated, of a dict of tensors; 1 unless in float16."""
        return scale["scale"] / scale["divisor"] if scale else 1.0

    @property
    def state(self):
        """dict that JSON can hold: what a resumed run needs beside the variables of model and optimizer.

        In float16 the loss is multiplied by the scale over `loss_divisor`, which is `None` before the first
        micro-batch.
        """
        seeds = [ops.convert_to_numpy(state).tolist() for state in self.seed_states]
        return {"seeds": seeds, "loss_scale": self.scale_state, "loss_divisor": self.loss_divisor}

    def load(self, state):
        """Takes over a `state`, and what was written into the variables of model and optimizer.

        A state of an earlier version has no `loss_divisor`: the next micro-batch fixes it, as it did there.
        """
        for variable, value in zip(self.seed_states, state["seeds"], strict=True):
            variable.assign(value)
        self.scale_state = state["loss_scale"]
        self._divide_losses_by(state.get("loss_divisor"))
        self.reload()

    def reset_step(self):
        """Sets the optimizer's step counter and the loss scale back to where they started; the moments stay."""
        self.synchronize()
        self.optimizer.iterations.assign(0)
        if self._scale is not None:
            self.scale_state = {"scale": loss_scale.INITIAL, "good_steps": 0}
        self.reload()

    def train_only(self, is_trained):
        """From now on `apply` changes some variables alone, and the norm of the gradient is of theirs.

        Args:
            is_trained: function of a `keras.Variable` that returns a bool.
        """
        trained = [bool(is_trained(variable)) for variable in self.variables]
        if trained != self.trained:
            self.trained = trained
            self._compile_apply()

    def _compile_apply(self):
        """Makes `apply` anew, where a backend compiles it."""

    def _of_trained(self, values):
        """Returns those of a list of values, one for each variable, whose variable is trained."""
        return [value for value, trained in zip(values, self.trained, strict=True) if trained]

    def clip_factor(self, norm, minimum):
        """What the gradient is multiplied by, given its global norm; `minimum` is the backend's function."""
        return 1.0 if self.clip_norm is None else minimum(1.0, self.clip_norm / (norm + 1e-6))

    def compiled_memory(self, batches):
        """Returns the bytes that training holds at its peak, by the compiler's account, without running anything.

        Args:
            batches: stacked micro-batches, as for `accumulate`.

        Returns:
            int, or `None` where there is no such account: on TensorFlow and torch.
        """
        return None

    def reset_optimizer(self):
        """Sets the optimizer's slots and counters, the loss scale and its divisor, back to where they started.

        All Keras optimizers start theirs at zero.
        """
        for variable in self.optimizer.variables:
            if variable is not self.optimizer.learning_rate:
                variable.assign(ops.zeros(variable.shape, variable.dtype))
        if self._scale is not None:
            self.scale_state = {"scale": loss_scale.INITIAL, "good_steps": 0}
        self._divide_losses_by(None)
        self.reload()
