"""`Step` on JAX: a mesh of devices, each of which adds up its own gradients until a step needs their total."""

import sys

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from budgetbert.errors import is_out_of_memory, one_line
from budgetbert.layers import gpu
from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.step.base import BaseDevices, BaseStep

_AXIS = "devices"
_EVERYWHERE, _SPLIT, _ROWS = PartitionSpec(), PartitionSpec(_AXIS), PartitionSpec(None, _AXIS)


def connect(place, wanted, patience):
    """Brings the processes together; `Devices` chooses the `wanted` devices among all."""
    # The preemption service would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        f"{place.host}:{place.port}",
        place.count,
        place.rank,
        # Under Slurm the detection would take only one device of the process.
        cluster_detection_method="deactivate",
        initialization_timeout=2 * patience,
        shutdown_timeout_seconds=60,
    )


def local_devices():
    """Returns the number of devices of this process."""
    return jax.local_device_count()


class Devices(BaseDevices):
    """The first `local_count` devices of each process, as a mesh.

    Attributes:
        mesh: `jax.sharding.Mesh` of one axis.
    """

    def __init__(self, local_count=1, place=None):
        super().__init__()
        by_process = {}
        for device in jax.devices():
            by_process.setdefault(device.process_index, []).append(device)
        chosen = [device for rank in sorted(by_process) for device in by_process[rank][:local_count]]
        self.count = len(chosen)
        self.mesh = Mesh(np.array(chosen), (_AXIS,))

    def broadcast(self, numbers):
        return np.asarray(multihost_utils.broadcast_one_to_all(np.array(numbers, np.int32))).tolist()


class Step(BaseStep):
    """See `BaseStep`. The variables live in this object, donated from call to call, until `synchronize`.

    It has more than ten fields: the compiled functions, and each group of arrays that goes through them.
    """

    def __init__(self, model, optimizer, objective, clip_norm, devices):
        super().__init__(model, optimizer, objective, clip_norm)
        self._mesh = devices.mesh
        self._is_accelerated = self._mesh.devices.flat[0].platform != "cpu"
        self._compile()
        self._compile_apply()
        self._open_sums = jax.jit(self._open_sums_traced, out_shardings=self._sharding(_SPLIT))
        self.reload()

    def _compile(self):
        # Without and with `remat`, which is read while a program is traced.
        self._accumulates = [self._accumulate_on(self._mesh) for _ in (False, True)]
        evaluate = self._on_each(self._evaluate_traced, (_EVERYWHERE, _EVERYWHERE, _SPLIT), _EVERYWHERE, self._mesh)
        self._evaluate = jax.jit(evaluate)

    def _compile_apply(self):
        self._apply = self._apply_on(self._mesh)

    def _accumulate_on(self, mesh):
        inputs = (_EVERYWHERE, _SPLIT, _EVERYWHERE, _EVERYWHERE, _ROWS, _EVERYWHERE, _EVERYWHERE)
        accumulate = self._on_each(self._accumulate_traced, inputs, (_SPLIT, _EVERYWHERE), mesh)
        return jax.jit(accumulate, donate_argnums=1)

    def _apply_on(self, mesh):
        everywhere, split = NamedSharding(mesh, _EVERYWHERE), NamedSharding(mesh, _SPLIT)
        outputs = (everywhere, everywhere, split, everywhere, everywhere)
        return jax.jit(self._apply_traced, donate_argnums=(0, 1, 2), out_shardings=outputs)

    def _on_each(self, function, inputs, outputs, mesh):
        return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)

    def reload(self):
        """Takes the values of the variables of model and optimizer, as after a checkpoint was loaded into them.

        An accelerator holds them once: there the variables themselves move to the host's memory.
        """
        # What was held goes first, since after memory ran out there is no room for both.
        self._values = self._optimizer_values = self._seeds = self._sums = None
        self._values, self._optimizer_values, self._seeds = (
            [self._take(variable) for variable in variables]
            for variables in (self.variables, self.optimizer.variables, self.seed_states)
        )
        self.drop()

    def _take(self, variable):
        value = self._everywhere(jnp.array(variable.value, copy=True))
        if self._is_accelerated:
            variable.assign(_on_host(variable.value))
        return value

    def accumulate(self, batches, count, first):
        arguments = self._accumulate_arguments(batches, count, first)
        self._sums, ticket = self._without_kernels_that_fail(lambda: self._accumulates[self.remat](*arguments))
        return ticket.addressable_data(0)

    def apply(self, learning_rate):
        self._values, self._optimizer_values, self._sums, scale, scalars = self._apply(
            *self._apply_arguments(learning_rate)
        )
        for name, value in (scale or {}).items():
            self._scale[name].assign(value.addressable_data(0))
        return scalars

    def drop(self):
        self._sums = self._open_sums()

    def evaluate(self, batch):
        rows = self._rows(batch, _SPLIT)
        return self._without_kernels_that_fail(lambda: self._evaluate(self._values, self._seeds, rows))

    def _without_kernels_that_fail(self, call):
        """Calls a function; where it cannot be compiled with fused attention, once more, and from then on, without.

        cuDNN and the compiler of kernels say only then whether they work with the libraries and the card that are here.
        """
        try:
            return call()
        except Exception as error:
            if is_out_of_memory(error) or not gpu.uses("attention"):
                raise
            self._compile()
            with gpu.without("attention"):
                try:
                    result = call()
                except Exception:
                    raise error from None
            gpu.turn_off("attention")
            why = one_line(error)
            print(f"Fused attention does not work here, so training is slower than it could be: {why}", file=sys.stderr)
            return result

    def synchronize(self):
        pairs = [
            *zip(self.variables, self._values, strict=True),
            *zip(self.optimizer.variables, self._optimizer_values, strict=True),
        ]
        for variable, value in pairs:
            # A copy, because the next call gives the value's memory away.
            here = value.addressable_data(0)
            variable.assign(_on_host(here) if self._is_accelerated else jnp.array(here, copy=True))

    def compile_accumulate(self, batches, mesh=None):
        """Returns the `jax.stages.Compiled` program of `accumulate` for such micro-batches, and runs nothing.

        Args:
            batches: dict of arrays `[micro-batches, rows, ...]`.
            mesh: `jax.sharding.Mesh` to compile for, of the size and the axis of `Devices.mesh`. Its devices need not
                exist (`jax.experimental.topologies`). Defaults to the step's own.
        """
        arguments = self._accumulate_arguments(batches, 1, 0)
        if mesh is None:
            return self._accumulates[self.remat].lower(*arguments).compile()
        return self._accumulate_on(mesh).lower(*_shapes_on(mesh, arguments)).compile()

    def compile_apply(self, mesh=None):
        """Returns the `jax.stages.Compiled` program of `apply`, and runs nothing; `mesh` as for `accumulate`."""
        arguments = self._apply_arguments(0.0)
        if mesh is None:
            return self._apply.lower(*arguments).compile()
        return self._apply_on(mesh).lower(*_shapes_on(mesh, arguments)).compile()

    def compiled_memory(self, batches):
        # The call itself would compile again, and on a CPU that is not worth it.
        if jax.default_backend() == "cpu" and not jax.config.jax_compilation_cache_dir:
            return None
        account = self.compile_accumulate(batches).memory_analysis()
        if account is None:
            return None
        held = account.argument_size_in_bytes + account.output_size_in_bytes - account.alias_size_in_bytes
        parameters, slots = (sum(value.nbytes for value in values) for values in (self._values, self._optimizer_values))
        # The optimizer's step holds weights, slots, sums, and with its conditional two more of the weights' size
        # (docs/LOG.md, 2026-11-24).
        copies = 2 if gpu.is_there() else 4
        return max(held + account.temp_size_in_bytes + slots, copies * parameters + slots)

    def _accumulate_arguments(self, batches, count, first):
        self._fix_loss_divisor(batches)
        rows, number = self._rows(batches, _ROWS), np.uint32(first % 2**32)
        return self._values, self._sums, self._seeds, self._scale_values(), rows, np.int32(count), number

    def _apply_arguments(self, learning_rate):
        return self._values, self._optimizer_values, self._sums, self._scale_values(), np.float32(learning_rate)

    def _sharding(self, spec):
        return NamedSharding(self._mesh, spec)

    def _everywhere(self, value):
        """Returns a global array that each device has all of, from one that each process has."""
        here = [jax.device_put(value, device) for device in self._mesh.local_devices]
        return jax.make_array_from_single_device_arrays(value.shape, self._sharding(_EVERYWHERE), here)

    def _rows(self, batch, spec):
        """Returns global arrays, each device having its share of the rows, from a dict of this process's rows."""
        return {
            name: jax.make_array_from_process_local_data(self._sharding(spec), array) for name, array in batch.items()
        }

    def _scale_values(self):
        scale = super()._scale_values()
        return scale and {name: self._everywhere(value) for name, value in scale.items()}

    def _open_sums_traced(self):
        """Returns the sums of each device, along a first axis."""
        gradients = [jnp.zeros((self._mesh.size, *value.shape), "float32") for value in self._values]
        return {"gradients": gradients, "loss": jnp.zeros(self._mesh.size), "weight": jnp.zeros(self._mesh.size)}

    def _objective(self, values, seeds, batch, training):
        state = [*zip(self.variables, values, strict=True), *zip(self.seed_states, seeds, strict=True)]
        with keras.StatelessScope(state_mapping=state):
            return self.objective(self.model, batch, training=training)

    def _accumulate_traced(self, values, sums, seeds, scale, batches, count, first):
        """What each device does with its rows and its sums, which have a first axis of 1 here."""
        factor = self._loss_factor(scale)
        device = jax.lax.axis_index(_AXIS).astype("uint32")

        def loss_of(values, seeds, batch):
            loss, weight, _ = self._objective(values, seeds, batch, training=True)
            return loss * factor, (loss, weight)

        def add_one(i, sums):
            batch = {name: jax.lax.dynamic_index_in_dim(array, i, 0, False) for name, array in batches.items()}
            number = (first + i.astype("uint32")) * jnp.uint32(self._mesh.size) + device
            numbered = [state.at[1].set(number.astype(state.dtype)) for state in seeds]
            gradients, (loss, weight) = jax.grad(loss_of, has_aux=True)(values, numbered, batch)
            return jax.tree.map(jnp.add, sums, {"gradients": gradients, "loss": loss, "weight": weight})

        sums = jax.lax.fori_loop(0, count, add_one, jax.tree.map(lambda total: total[0], sums))
        # The ticket is an array of its own: the sums are given away with the next call.
        return jax.tree.map(lambda total: total[None], sums), sums["weight"] + 0.0

    def _apply_traced(self, values, optimizer_values, sums, scale, learning_rate):
        totals = jax.tree.map(lambda total: total.sum(0), sums)
        scalars = {"loss": totals["loss"], "weight": totals["weight"]}
        denominator = totals["weight"]
        if scale:
            scalars["loss_scale"] = scale["scale"]
            denominator *= self._loss_factor(scale)
        norm = scalars["gradient_norm"] = _global_norm(self._of_trained(totals["gradients"])) / denominator
        scalars["parameter_norm"] = _global_norm(values)
        factor = self.clip_factor(norm, jnp.minimum) / denominator
        finite = jnp.isfinite(norm) & jnp.isfinite(totals["loss"])

        def step(values, optimizer_values):
            slots = zip(self.optimizer.variables, optimizer_values, strict=True)
            rate = self.optimizer.learning_rate
            optimizer_values = [learning_rate if variable is rate else value for variable, value in slots]
            gradients = [
                total * factor if trained else jnp.zeros_like(total)
                for total, trained in zip(totals["gradients"], self.trained, strict=True)
            ]
            stepped, slots = self.optimizer.stateless_apply(optimizer_values, gradients, values)
            # Of those that stay the weight decay is left out, too.
            kept = zip(values, stepped, self.trained, strict=True)
            return [new if trained else old for old, new, trained in kept], slots

        def skip(values, optimizer_values):
            return values, list(optimizer_values)

        if gpu.is_there():
            # A choice is part of the kernel that makes the values; a conditional copies all of them, in and out.
            stepped, skipped = step(values, optimizer_values), skip(values, optimizer_values)
            values, optimizer_values = jax.tree.map(lambda new, old: jnp.where(finite, new, old), stepped, skipped)
        else:
            values, optimizer_values = jax.lax.cond(finite, step, skip, values, optimizer_values)
        if scale:
            after = next_scale(scale["scale"], scale["good_steps"], finite)
            scale = dict(zip(("scale", "good_steps"), after, strict=True))
        return values, optimizer_values, jax.tree.map(jnp.zeros_like, sums), scale, scalars

    def _evaluate_traced(self, values, seeds, batch):
        loss, weight, metrics = self._objective(values, seeds, batch, training=False)
        return jax.lax.psum({"loss": loss, "weight": weight, **metrics}, _AXIS)


def _on_host(value):
    """Returns a copy in the memory of the host that is tied to no device: what computes with it runs where it would."""
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        return jnp.array(np.asarray(value))


def _global_norm(values):
    return jnp.sqrt(sum(jnp.vdot(value, value) for value in values))


def _shapes_on(mesh, arguments):
    """Returns the shapes of arrays as they would lie on the devices of another mesh."""

    def shape_of(array):
        sharding = NamedSharding(mesh, array.sharding.spec) if isinstance(array, jax.Array) else None
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    return jax.tree.map(shape_of, arguments)
