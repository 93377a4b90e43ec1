"""`Update` on JAX: the variables live in this object, donated from call to call, until `synchronize`."""

import jax
import jax.numpy as jnp
import keras

from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.update import BaseUpdate


class Update(BaseUpdate):
    __doc__ = BaseUpdate.__doc__

    def __init__(self, model, optimizer, objective, clip_norm):
        super().__init__(model, optimizer, objective, clip_norm)
        rate = optimizer.learning_rate
        self._rate_index = next(i for i, variable in enumerate(optimizer.variables) if variable is rate)
        self._accumulate = jax.jit(self._accumulate_traced, donate_argnums=1)
        self._apply = jax.jit(self._apply_traced, donate_argnums=(0, 1, 2))
        self._evaluate = jax.jit(self._evaluate_traced)
        self.reload()

    def reload(self):
        """Takes the values of the variables of model and optimizer, as after a checkpoint was loaded into them."""
        self._values = [jnp.array(v.value, copy=True) for v in self.variables]
        self._optimizer_values = [jnp.array(v.value, copy=True) for v in self.optimizer.variables]
        self._seeds = [jnp.array(v.value, copy=True) for v in self.seed_states]
        self.drop()

    def accumulate(self, batches, count, first):
        self._sums, ticket = self._accumulate(*self._accumulate_arguments(batches, count, first))
        return ticket

    def _accumulate_arguments(self, batches, count, first):
        self._fix_scale_divisor(batches)
        number = jnp.uint32(first % 2**32)
        return self._values, self._sums, self._seeds, self._scale_values(), batches, jnp.int32(count), number

    def apply(self, learning_rate):
        self._values, self._optimizer_values, self._sums, scale, scalars = self._apply(
            self._values, self._optimizer_values, self._sums, self._scale_values(), jnp.float32(learning_rate)
        )
        for name, value in (scale or {}).items():
            self._scale[name].assign(value)
        return scalars

    def drop(self):
        zero = jnp.zeros((), "float32")  # two arrays: each is donated; a weak type would be traced anew
        self._sums = {"gradients": [jnp.zeros_like(value) for value in self._values], "loss": zero, "weight": zero + 0}

    def compiled_memory(self, batches):
        if jax.default_backend() == "cpu" and not jax.config.jax_compilation_cache_dir:
            return None  # the call itself would compile again, and on a CPU that is not worth it
        compiled = self._accumulate.lower(*self._accumulate_arguments(batches, 1, 0)).compile()
        account = compiled.memory_analysis()
        if account is None:
            return None
        held = account.argument_size_in_bytes + account.output_size_in_bytes - account.alias_size_in_bytes
        parameters, slots = (sum(value.nbytes for value in values) for values in (self._values, self._optimizer_values))
        # the optimizer's step: weights, slots and sums, and two more of the weights' size (docs/LOG.md, 2026-11-24)
        return max(held + account.temp_size_in_bytes + slots, 4 * parameters + slots)

    def evaluate(self, batch):
        return self._evaluate(self._values, self._seeds, batch)

    def synchronize(self):
        pairs = [
            *zip(self.variables, self._values, strict=True),
            *zip(self.optimizer.variables, self._optimizer_values, strict=True),
        ]
        for variable, value in pairs:
            variable.assign(jnp.array(value, copy=True))  # the next call gives the value's memory away

    def _scale_values(self):
        return self._scale and {name: variable.value for name, variable in self._scale.items()}

    def _objective(self, values, seeds, batch, training):
        state = [*zip(self.variables, values, strict=True), *zip(self.seed_states, seeds, strict=True)]
        with keras.StatelessScope(state_mapping=state):
            return self.objective(self.model, batch, training=training)

    def _accumulate_traced(self, values, sums, seeds, scale, batches, count, first):
        factor = self._loss_factor(scale["scale"]) if scale else 1.0

        def loss_of(values, seeds, batch):
            loss, weight, _ = self._objective(values, seeds, batch, training=True)
            return loss * factor, (loss, weight)

        def add_one(i, sums):
            batch = {name: jax.lax.dynamic_index_in_dim(array, i, 0, False) for name, array in batches.items()}
            number = self._dropout_number(first + i.astype("uint32"))
            numbered = [state.at[1].set(number.astype(state.dtype)) for state in seeds]
            gradients, (loss, weight) = jax.grad(loss_of, has_aux=True)(values, numbered, batch)
            return jax.tree.map(jnp.add, sums, {"gradients": gradients, "loss": loss, "weight": weight})

        sums = jax.lax.fori_loop(0, count, add_one, sums)
        return sums, sums["weight"] + 0.0

    def _apply_traced(self, values, optimizer_values, sums, scale, learning_rate):
        scalars = {"loss": sums["loss"] + 0.0, "weight": sums["weight"] + 0.0}
        denominator = sums["weight"]
        if scale:
            scalars["loss_scale"] = scale["scale"]
            denominator *= self._loss_factor(scale["scale"])
        norm = scalars["gradient_norm"] = _global_norm(sums["gradients"]) / denominator
        scalars["parameter_norm"] = _global_norm(values)
        factor = self.clip_factor(norm, jnp.minimum) / denominator
        finite = jnp.isfinite(norm) & jnp.isfinite(sums["loss"])

        def step(values, optimizer_values):
            optimizer_values = list(optimizer_values)
            optimizer_values[self._rate_index] = learning_rate
            gradients = [total * factor for total in sums["gradients"]]
            return self.optimizer.stateless_apply(optimizer_values, gradients, values)

        def skip(values, optimizer_values):
            return values, list(optimizer_values)

        values, optimizer_values = jax.lax.cond(finite, step, skip, values, optimizer_values)
        if scale:
            scale = dict(zip(("scale", "good_steps"), next_scale(**scale, finite=finite), strict=True))
        return values, optimizer_values, jax.tree.map(jnp.zeros_like, sums), scale, scalars

    def _evaluate_traced(self, values, seeds, batch):
        loss, weight, metrics = self._objective(values, seeds, batch, training=False)
        return {"loss": loss, "weight": weight, **metrics}


def _global_norm(values):
    return jnp.sqrt(sum(jnp.vdot(value, value) for value in values))
