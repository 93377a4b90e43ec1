"""`Update` on TensorFlow: variables are changed in place."""

import logging

import tensorflow as tf

from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.update import BaseUpdate

# it warns of graphs that are traced anew for each length of rows, as is meant here (see `_compile`)
logging.getLogger("tensorflow").addFilter(lambda record: "triggered tf.function retracing" not in record.getMessage())


class Update(BaseUpdate):
    __doc__ = BaseUpdate.__doc__

    def __init__(self, model, optimizer, objective, clip_norm):
        super().__init__(model, optimizer, objective, clip_norm)
        self._sums = self._make_sums()
        self._compile()

    def _make_sums(self):
        """Returns the variables that the gradients, the loss and the weight are added to, as a list in this order."""
        return [tf.Variable(tf.zeros(shape), trainable=False) for shape in (*(v.shape for v in self.variables), (), ())]

    def _compile(self):
        # A graph for each shape of rows (of each phase, of each number of prediction slots): one graph for several, as
        # of reduce_retracing, adds in another order, and a resumed run that sees only the last shape in another again.
        self._accumulate = tf.function(self._accumulate_in_graph, autograph=False)
        self._apply = tf.function(self._apply_in_graph, autograph=False)
        self._evaluate = tf.function(self._evaluate_in_graph, autograph=False)

    def accumulate(self, batches, count, first):
        self._fix_scale_divisor(batches)
        batches = {name: tf.convert_to_tensor(array) for name, array in batches.items()}
        return self._accumulate(batches, tf.constant(count), tf.constant(first, tf.int64))

    def apply(self, learning_rate):
        return self._apply(tf.constant(learning_rate, tf.float32))

    def drop(self):
        for total in self._sums:
            total.assign(tf.zeros_like(total))

    def evaluate(self, batch):
        return self._evaluate({name: tf.convert_to_tensor(array) for name, array in batch.items()})

    def reload(self):
        self.drop()

    def synchronize(self):
        pass

    def _accumulate_in_graph(self, batches, count, first):
        return self._add_up(self._sums, batches, count, first)

    def _add_up(self, sums, batches, count, first):
        *gradient_sums, loss_sum, weight_sum = sums

        def add_one(i):
            for state in self.seed_states:
                seed = tf.convert_to_tensor(state)[0]
                number = self._dropout_number(first + tf.cast(i, tf.int64))
                state.assign(tf.stack([seed, tf.cast(number, seed.dtype)]))
            batch = {name: array[i] for name, array in batches.items()}
            with tf.GradientTape() as tape:
                loss, weight, _ = self.objective(self.model, batch, training=True)
                target = loss if self._scale is None else loss * self._loss_factor(self._scale["scale"].value)
            gradients = tape.gradient(target, [v.value for v in self.variables])
            for total, gradient in zip(gradient_sums, gradients, strict=True):
                if isinstance(gradient, tf.IndexedSlices):  # of a gathered table, whose other rows need no write
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
        scalars = self._step(self._sums, learning_rate)
        for total in self._sums:
            total.assign(tf.zeros_like(total))
        return scalars

    def _step(self, sums, learning_rate):
        *gradient_sums, loss, weight = sums
        scalars = {"loss": tf.identity(loss), "weight": tf.identity(weight)}
        denominator = scalars["weight"]
        if self._scale is not None:
            scalars["loss_scale"] = tf.identity(self._scale["scale"].value)
            denominator *= self._loss_factor(scalars["loss_scale"])
        norm = scalars["gradient_norm"] = _global_norm(gradient_sums) / denominator
        scalars["parameter_norm"] = _global_norm([v.value for v in self.variables])
        factor = self.clip_factor(norm, tf.minimum) / denominator
        finite = tf.math.is_finite(norm) & tf.math.is_finite(scalars["loss"])

        def step():
            self.optimizer.learning_rate.assign(learning_rate)
            self.optimizer.apply([total * factor for total in gradient_sums], self.variables)
            return tf.constant(True)

        tf.cond(finite, step, lambda: tf.constant(False))
        if self._scale is not None:
            scale, good_steps = next_scale(scalars["loss_scale"], self._scale["good_steps"].value, finite)
            self._scale["scale"].assign(scale)
            self._scale["good_steps"].assign(good_steps)
        return scalars

    def _evaluate_in_graph(self, batch):
        loss, weight, metrics = self.objective(self.model, batch, training=False)
        return {"loss": loss, "weight": weight, **metrics}


def _global_norm(values):
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(value)) for value in values]))
