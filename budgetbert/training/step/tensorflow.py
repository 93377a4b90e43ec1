"""`Step` on TensorFlow: `MirroredStrategy` for the devices of a process, `MultiWorkerMirroredStrategy` for several.

Only the public parts of the strategies are used: gradients are added up inside `strategy.run`, then summed over the
devices, checked, clipped and applied in the cross-replica context. Keras's own way clips before the sum and applies
what overflowed. One device has TensorFlow's default strategy, for which all of this is nothing.
"""

import logging
import os

import numpy as np
import tensorflow as tf

from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.step.base import BaseDevices, BaseStep

# TensorFlow warns of graphs that are traced anew for each length of rows, as is meant here (see `Step.__init__`).
logging.getLogger("tensorflow").addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())

# A process has one strategy of several devices: the second would collide with the first.
_strategies = []


def connect(place, wanted, patience):
    """Brings the processes together, of each the first `wanted` accelerators if that is not `None`.

    Must come before any other use of TensorFlow's devices.
    """
    if wanted:
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:wanted], "GPU")
    resolver = None
    if "TF_CONFIG" not in os.environ:
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(port_base=place.port, auto_set_gpu=False)
    _strategies.append(tf.distribute.MultiWorkerMirroredStrategy(resolver))


def local_devices():
    """Returns the number of devices of this process."""
    return len(_strategies[0].extended.worker_devices if _strategies else _names())


def _names():
    """Returns the names of the devices, of all processes once they are connected."""
    return [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


class Devices(BaseDevices):
    """The devices of a strategy.

    Attributes:
        strategy: `tf.distribute.Strategy`.
        local_count: int. Devices of this process.
    """

    def __init__(self, local_count=1, place=None):
        super().__init__()
        if place is None and local_count > 1:
            _strategies[:] = _strategies or [tf.distribute.MirroredStrategy(_names()[:local_count])]
        alone = place is None and local_count == 1
        self.strategy = tf.distribute.get_strategy() if alone else _strategies[0]
        self.count = self.strategy.num_replicas_in_sync
        self.local_count = local_count

    def scope(self):
        return self.strategy.scope()

    def broadcast(self, numbers):
        is_first = self.strategy.cluster_resolver.task_id == 0
        numbers = tf.constant(numbers if is_first else [0] * len(numbers), tf.int64)

        @tf.function
        def total():
            return self.strategy.reduce("SUM", self.strategy.run(lambda: tf.identity(numbers)), axis=None)

        # Each device of process 0 has added the numbers.
        return (total() // self.local_count).numpy().tolist()


class Step(BaseStep):
    """See `BaseStep`. Variables are changed in place."""

    def __init__(self, model, optimizer, objective, clip_norm, devices):
        self._devices, self._strategy = devices, devices.strategy
        with devices.scope():
            super().__init__(model, optimizer, objective, clip_norm)
        names = self._strategy.extended.worker_devices if devices.count > 1 else [None]
        self._sums_of = [self._make_sums(name) for name in names]
        # A graph for each shape of rows (of each phase, of each number of prediction slots): one graph for several, as
        # of reduce_retracing, adds in another order, and a resumed run that sees only the last shape in another again.
        # Without and with `remat`, which is read while a graph is traced.
        self._accumulates = [tf.function(self._accumulate_in_graph, autograph=False) for _ in (False, True)]
        self._compile_apply()
        self._evaluate = tf.function(self._evaluate_in_graph, autograph=False)

    def _compile_apply(self):
        self._apply = tf.function(self._apply_in_graph, autograph=False)

    def _make_sums(self, device):
        """Returns the variables that the gradients, the loss and the weight are added to, as a list in this order.

        They are plain ones: the variables that a strategy makes cannot be scattered into.
        """
        with tf.device(device):
            shapes = (*(variable.shape for variable in self.variables), (), ())
            return [tf.Variable(tf.zeros(shape), trainable=False) for shape in shapes]

    def accumulate(self, batches, count, first):
        self._fix_loss_divisor(batches)
        accumulate = self._accumulates[self.remat]
        return accumulate(self._split(batches, axis=1), tf.constant(count), tf.constant(first, tf.int64))

    def apply(self, learning_rate):
        return self._apply(tf.constant(learning_rate, tf.float32))

    def drop(self):
        for sums in self._sums_of:
            for total in sums:
                total.assign(tf.zeros_like(total))

    def evaluate(self, batch):
        return self._evaluate(self._split(batch, axis=0))

    def reload(self):
        self.drop()

    def synchronize(self):
        """The variables of model and optimizer are up to date."""

    def _split(self, batch, axis):
        """Gives each device of this process its share of the rows, from a dict of this process's rows."""

        def share_of(array):
            shares = np.split(array, self._devices.local_count, axis)
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(shares[context.replica_id_in_sync_group % len(shares)])
            )

        return {name: share_of(array) for name, array in batch.items()}

    def _device(self):
        """Returns the number of the device among all, inside `strategy.run`."""
        return tf.convert_to_tensor(tf.distribute.get_replica_context().replica_id_in_sync_group)

    def _sums_here(self):
        return self._sums_of[tf.get_static_value(self._device()) % self._devices.local_count]

    def _accumulate_in_graph(self, batches, count, first):
        tickets = self._strategy.run(self._accumulate_on_one, args=(batches, count, first))
        return self._strategy.experimental_local_results(tickets)[0]

    def _accumulate_on_one(self, batches, count, first):
        *gradient_sums, loss_sum, weight_sum = self._sums_here()
        device = tf.cast(self._device(), tf.int64)

        def add_one(i):
            number = (first + tf.cast(i, tf.int64)) * self._devices.count + device
            for state in self.seed_states:
                seed = tf.convert_to_tensor(state)[0]
                state.assign(tf.stack([seed, tf.cast(number, seed.dtype)]))
            batch = {name: array[i] for name, array in batches.items()}
            with tf.GradientTape() as tape:
                loss, weight, _ = self.objective(self.model, batch, training=True)
                target = loss if self._scale is None else loss * self._loss_factor(self._scale_values())
            gradients = tape.gradient(target, [v.value for v in self.variables])
            for total, gradient in zip(gradient_sums, gradients, strict=True):
                # The slices are of a gathered table, whose other rows need no write.
                if isinstance(gradient, tf.IndexedSlices):
                    total.scatter_add(gradient)
                elif gradient is not None:
                    total.assign_add(gradient)
            loss_sum.assign_add(loss)
            weight_sum.assign_add(weight)
            return i + 1

        with tf.control_dependencies(
            tf.nest.flatten(tf.while_loop(lambda i: i < count, add_one, [tf.constant(0)], parallel_iterations=1))
        ):
            return tf.identity(weight_sum)

    def _apply_in_graph(self, learning_rate):
        sums = self._strategy.run(lambda: [tf.identity(total) for total in self._sums_here()])
        *gradient_sums, loss, weight = (self._total(value) for value in sums)
        gradient_sums, variables = self._of_trained(gradient_sums), self._of_trained(self.variables)
        scalars = {"loss": loss, "weight": weight}
        denominator = weight
        if self._scale is not None:
            scalars["loss_scale"] = tf.identity(self._scale["scale"].value)
            denominator *= self._loss_factor(self._scale_values())
        norm = scalars["gradient_norm"] = _global_norm(gradient_sums) / denominator
        scalars["parameter_norm"] = _global_norm([v.value for v in self.variables])
        factor = self.clip_factor(norm, tf.minimum) / denominator
        finite = tf.math.is_finite(norm) & tf.math.is_finite(loss)

        def step():
            self.optimizer.learning_rate.assign(learning_rate)
            self.optimizer.apply([total * factor for total in gradient_sums], variables)
            return tf.constant(True)

        tf.cond(finite, step, lambda: tf.constant(False))
        if self._scale is not None:
            scale, good_steps = next_scale(scalars["loss_scale"], self._scale["good_steps"].value, finite)
            self._scale["scale"].assign(scale)
            self._scale["good_steps"].assign(good_steps)
        self.drop()
        return scalars

    def _evaluate_in_graph(self, batch):
        scalars = self._strategy.run(self._evaluate_on_one, args=(batch,))
        return {name: self._total(value) for name, value in scalars.items()}

    def _evaluate_on_one(self, batch):
        loss, weight, metrics = self.objective(self.model, batch, training=False)
        return {"loss": loss, "weight": weight, **metrics}

    def _total(self, value):
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)


def _global_norm(values):
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(value)) for value in values]))
