"""Several devices on JAX: a mesh over all processes, gradients summed per device until a step needs their total."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from budgetbert.training import replicas, update_jax

_AXIS = "devices"
_EVERYWHERE, _SPLIT, _ROWS = PartitionSpec(), PartitionSpec(_AXIS), PartitionSpec(None, _AXIS)


def connect(place, wanted):
    """Brings the processes together; `wanted` devices are chosen among all by `Replicas`."""
    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM for itself
    jax.distributed.initialize(
        f"{place.host}:{place.port}",
        place.count,
        place.rank,
        cluster_detection_method="deactivate",  # under Slurm it would take one device of the process only
        initialization_timeout=2 * replicas.PATIENCE,
        shutdown_timeout_seconds=60,
    )


def local_devices():
    """Returns the number of devices of this process."""
    return jax.local_device_count()


class Replicas(replicas.Replicas):
    __doc__ = replicas.Replicas.__doc__

    def __init__(self, local_count, place=None):
        super().__init__()
        by_process = {}
        for device in jax.devices():
            by_process.setdefault(device.process_index, []).append(device)
        chosen = [device for rank in sorted(by_process) for device in by_process[rank][:local_count]]
        self.count = len(chosen)
        self.mesh = Mesh(np.array(chosen), (_AXIS,))

    def broadcast(self, numbers):
        """Returns the numbers of process 0."""
        return np.asarray(multihost_utils.broadcast_one_to_all(np.array(numbers, np.int32))).tolist()

    def make_update(self, model, optimizer, objective, clip_norm):
        return Update(model, optimizer, objective, clip_norm, self.mesh)


class Update(update_jax.Update):
    __doc__ = update_jax.Update.__doc__

    def __init__(self, model, optimizer, objective, clip_norm, mesh):
        self._mesh = mesh
        self._sharding = {spec: NamedSharding(mesh, spec) for spec in (_EVERYWHERE, _SPLIT, _ROWS)}
        super().__init__(model, optimizer, objective, clip_norm)

        def on_each(function, inputs, outputs):
            return jax.shard_map(function, mesh=mesh, in_specs=inputs, out_specs=outputs, check_vma=False)

        accumulate = on_each(
            self._accumulate_on_one,
            (_EVERYWHERE, _SPLIT, _EVERYWHERE, _EVERYWHERE, _ROWS, _EVERYWHERE, _EVERYWHERE),
            (_SPLIT, _EVERYWHERE),
        )
        evaluate = on_each(self._evaluate_on_one, (_EVERYWHERE, _EVERYWHERE, _SPLIT), _EVERYWHERE)
        everywhere, split = self._sharding[_EVERYWHERE], self._sharding[_SPLIT]
        self._accumulate = jax.jit(accumulate, donate_argnums=1)
        self._apply = jax.jit(
            self._apply_traced,
            donate_argnums=(0, 1, 2),
            out_shardings=(everywhere, everywhere, split, everywhere, everywhere),
        )
        self._evaluate = jax.jit(evaluate)

    def reload(self):
        self._values = [self._everywhere(v.value) for v in self.variables]
        self._optimizer_values = [self._everywhere(v.value) for v in self.optimizer.variables]
        self._seeds = [self._everywhere(v.value) for v in self.seed_states]
        self.drop()

    def accumulate(self, batches, count, first):
        return super().accumulate(batches, count, first).addressable_data(0)

    def _accumulate_arguments(self, batches, count, first):
        self._fix_scale_divisor(batches)
        rows, number = self._rows(batches, _ROWS), np.uint32(first % 2**32)
        return self._values, self._sums, self._seeds, self._scale_values(), rows, np.int32(count), number

    def apply(self, learning_rate):
        self._values, self._optimizer_values, self._sums, scale, scalars = self._apply(
            self._values, self._optimizer_values, self._sums, self._scale_values(), np.float32(learning_rate)
        )
        for name, value in (scale or {}).items():
            self._scale[name].assign(value.addressable_data(0))
        return scalars

    def drop(self):
        shapes = {"gradients": [value.shape for value in self._values], "loss": (), "weight": ()}
        self._sums = jax.tree.map(self._zeros, shapes, is_leaf=lambda node: isinstance(node, tuple))

    def evaluate(self, batch):
        return self._evaluate(self._values, self._seeds, self._rows(batch, _SPLIT))

    def synchronize(self):
        pairs = [
            *zip(self.variables, self._values, strict=True),
            *zip(self.optimizer.variables, self._optimizer_values, strict=True),
        ]
        for variable, value in pairs:
            variable.assign(jnp.array(value.addressable_data(0), copy=True))

    def _everywhere(self, value):
        """A global array that each device has all of, from one that each process has; JAX copies it."""
        value = np.array(value)
        return jax.make_array_from_callback(value.shape, self._sharding[_EVERYWHERE], lambda index: value[index])

    def _rows(self, batch, spec):
        """Global arrays, each device having its share of the rows, from a dict of this process's rows."""
        return {
            name: jax.make_array_from_process_local_data(self._sharding[spec], array) for name, array in batch.items()
        }

    def _zeros(self, shape):
        """A sum for each device, along a new first axis."""
        shape = (self._mesh.size, *shape)
        return jax.jit(jnp.zeros, static_argnums=(0, 1), out_shardings=self._sharding[_SPLIT])(shape, "float32")

    def _scale_values(self):
        values = super()._scale_values()
        return values and {name: self._everywhere(value) for name, value in values.items()}

    def _dropout_number(self, number):
        return number * jnp.uint32(self._mesh.size) + jax.lax.axis_index(_AXIS).astype("uint32")

    def _accumulate_on_one(self, values, sums, seeds, scale, batches, count, first):
        sums = jax.tree.map(lambda total: total[0], sums)
        sums, ticket = self._accumulate_traced(values, sums, seeds, scale, batches, count, first)
        return jax.tree.map(lambda total: total[None], sums), ticket

    def _apply_traced(self, values, optimizer_values, sums, scale, learning_rate):
        totals = jax.tree.map(lambda total: total.sum(0), sums)
        values, optimizer_values, _, scale, scalars = super()._apply_traced(
            values, optimizer_values, totals, scale, learning_rate
        )
        return values, optimizer_values, jax.tree.map(jnp.zeros_like, sums), scale, scalars

    def _evaluate_on_one(self, values, seeds, batch):
        return jax.lax.psum(self._evaluate_traced(values, seeds, batch), _AXIS)
