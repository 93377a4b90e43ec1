"""Several devices on TensorFlow: `MirroredStrategy` in one process, `MultiWorkerMirroredStrategy` in several.

Only their public parts are used: gradients are added up inside `strategy.run`, then summed over the replicas, checked,
clipped and applied in the cross-replica context. Keras's own way clips before the sum and applies what overflowed.
"""

import os

import numpy as np
import tensorflow as tf

from budgetbert.training import replicas, update_tensorflow
from budgetbert.training.update import BaseUpdate

_strategies = []  # one a process: the second would collide with the first


def connect(place, wanted):
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


def _names():  # once processes are connected, those of all
    return [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]


class Replicas(replicas.Replicas):
    __doc__ = replicas.Replicas.__doc__

    def __init__(self, local_count, place=None):
        super().__init__()
        if place is None:
            _strategies[:] = _strategies or [tf.distribute.MirroredStrategy(_names()[:local_count])]
        self.strategy = _strategies[0]
        self.count = self.strategy.num_replicas_in_sync
        self.local_count = local_count

    def scope(self):
        return self.strategy.scope()

    def broadcast(self, numbers):
        """Returns the numbers of process 0."""
        is_first = self.strategy.cluster_resolver.task_id == 0
        numbers = tf.constant(numbers if is_first else [0] * len(numbers), tf.int64)

        @tf.function
        def total():
            return self.strategy.reduce("SUM", self.strategy.run(lambda: tf.identity(numbers)), axis=None)

        return (total() // self.local_count).numpy().tolist()  # each device of process 0 has added them

    def make_update(self, model, optimizer, objective, clip_norm):
        return Update(model, optimizer, objective, clip_norm, self)


class Update(update_tensorflow.Update):
    __doc__ = update_tensorflow.Update.__doc__

    def __init__(self, model, optimizer, objective, clip_norm, replicas):
        self._replicas, self._strategy = replicas, replicas.strategy
        with self._strategy.scope():
            BaseUpdate.__init__(self, model, optimizer, objective, clip_norm)
        self._sums_of = [self._make_sums(device) for device in self._strategy.extended.worker_devices]
        self._sums = [total for sums in self._sums_of for total in sums]
        self._compile()

    def _make_sums(self, device):
        with tf.device(device):  # plain variables: what a strategy would make of them cannot be scattered into
            return super()._make_sums()

    def accumulate(self, batches, count, first):
        self._fix_scale_divisor(batches)
        return self._accumulate(self._split(batches, axis=1), tf.constant(count), tf.constant(first, tf.int64))

    def evaluate(self, batch):
        return self._evaluate(self._split(batch, axis=0))

    def _split(self, batch, axis):
        """Gives each replica of this process its share of the rows, from a dict of this process's rows."""

        def share_of(array):
            shares = np.split(array, self._replicas.local_count, axis)
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(shares[context.replica_id_in_sync_group % len(shares)])
            )

        return {name: share_of(array) for name, array in batch.items()}

    def _replica(self):
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    def _sums_here(self):
        return self._sums_of[tf.get_static_value(self._replica()) % self._replicas.local_count]

    def _dropout_number(self, number):
        return number * self._replicas.count + tf.cast(self._replica(), number.dtype)

    def _accumulate_in_graph(self, batches, count, first):
        def on_one(batches, count, first):
            return self._add_up(self._sums_here(), batches, count, first)

        tickets = self._strategy.run(on_one, args=(batches, count, first))
        return self._strategy.experimental_local_results(tickets)[0]

    def _apply_in_graph(self, learning_rate):
        sums = self._strategy.run(lambda: [tf.identity(total) for total in self._sums_here()])
        scalars = self._step([self._total(value) for value in sums], learning_rate)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        return scalars

    def _evaluate_in_graph(self, batch):
        scalars = self._strategy.run(super()._evaluate_in_graph, args=(batch,))
        return {name: self._total(value) for name, value in scalars.items()}

    def _total(self, value):
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None)
