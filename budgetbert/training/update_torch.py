"""`Update` on torch: gradients gather in the parameters' own `.grad`."""

import torch
from keras import ops

from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.update import BaseUpdate


class Update(BaseUpdate):
    __doc__ = BaseUpdate.__doc__

    def __init__(self, model, optimizer, objective, clip_norm):
        super().__init__(model, optimizer, objective, clip_norm)
        self.drop()

    def accumulate(self, batches, count, first):
        self._fix_scale_divisor(batches)
        batches = {name: ops.convert_to_tensor(array) for name, array in batches.items()}
        for i in range(count):
            self._seed_dropout(self._dropout_number(first + i))
            batch = {name: array[i] for name, array in batches.items()}
            loss, weight, _ = self.objective(self.model, batch, training=True)
            target = loss if self._scale is None else loss * self._loss_factor(self._scale["scale"].value)
            target.backward()
            self._loss += loss.detach()
            self._weight += weight
        return self._weight.clone()

    def _seed_dropout(self, number):
        """Keras's dropout draws from torch's own generator here, unless the layer was given a seed."""
        for position, state in enumerate(self.seed_states):
            seed = int(ops.convert_to_numpy(state.value)[0])
            state.assign(ops.convert_to_tensor([seed, number % 2**32], dtype=state.dtype))
            if position == 0:
                torch.manual_seed(seed + number)

    @torch.no_grad()
    def apply(self, learning_rate):
        gradients = [v.value.grad for v in self.variables]
        scalars = {"loss": self._loss.clone(), "weight": self._weight.clone()}
        denominator = scalars["weight"]
        if self._scale is not None:
            scalars["loss_scale"] = self._scale["scale"].value.clone()
            denominator = denominator * self._loss_factor(scalars["loss_scale"])
        norm = scalars["gradient_norm"] = _global_norm(gradients) / denominator
        scalars["parameter_norm"] = _global_norm([v.value for v in self.variables])
        finite = torch.isfinite(norm) & torch.isfinite(self._loss)
        if finite:  # waits for the device, once a step, as torch's own GradScaler does
            factor = self.clip_factor(norm, lambda one, ratio: torch.clamp(ratio, max=one)) / denominator
            self.optimizer.learning_rate.assign(learning_rate)
            torch._foreach_mul_(gradients, factor)
            self.optimizer.apply(gradients, self.variables)
        if self._scale is not None:
            scale, good_steps = next_scale(scalars["loss_scale"], self._scale["good_steps"].value, finite)
            self._scale["scale"].assign(scale)
            self._scale["good_steps"].assign(good_steps)
        self.drop()
        return scalars

    def drop(self):
        for variable in self.variables:
            variable.value.grad = None
        self._loss = ops.convert_to_tensor(0.0)
        self._weight = ops.convert_to_tensor(0.0)

    @torch.no_grad()
    def evaluate(self, batch):
        loss, weight, metrics = self.objective(
            self.model, {name: ops.convert_to_tensor(array) for name, array in batch.items()}, training=False
        )
        return {"loss": loss, "weight": weight, **metrics}

    def reload(self):
        self.drop()

    def synchronize(self):
        pass


def _global_norm(values):
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values]))
