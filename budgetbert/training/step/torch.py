"""`Step` on torch: a process for each device, as torchrun starts them; gradients gather in the parameters' own `.grad`.

They are summed over the devices once a step.
"""

import torch
import torch.distributed
from keras import ops

from budgetbert.optimizers.loss_scale import next_scale
from budgetbert.training.step.base import BaseDevices, BaseStep


def connect(place, wanted, patience):
    """Brings the processes together."""
    on_gpu = torch.cuda.is_available()
    # Several processes of a machine either see one device each, or take them in turn.
    if on_gpu:
        torch.cuda.set_device(place.rank % torch.cuda.device_count())
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        init_method=f"tcp://{place.host}:{place.port}",
        rank=place.rank,
        world_size=place.count,
    )


def local_devices():
    """Returns the number of devices of this process: one, as everywhere with torch."""
    return 1


class Devices(BaseDevices):
    """The device of each process.

    Attributes:
        rank: int. Number of this process's device among all.
    """

    def __init__(self, local_count=1, place=None):
        super().__init__()
        self.rank, self.count = (place.rank, place.count) if place else (0, 1)

    def broadcast(self, numbers):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tensor = torch.tensor(numbers, dtype=torch.int64, device=device)
        torch.distributed.broadcast(tensor, 0)
        return tensor.tolist()

    def sum(self, tensors):
        """Sums each tensor over all devices, in place."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)


class Step(BaseStep):
    """See `BaseStep`. Variables are changed in place."""

    def __init__(self, model, optimizer, objective, clip_norm, devices):
        super().__init__(model, optimizer, objective, clip_norm)
        self._devices = devices
        self.drop()

    def accumulate(self, batches, count, first):
        self._fix_loss_divisor(batches)
        batches = {name: ops.convert_to_tensor(array) for name, array in batches.items()}
        for i in range(count):
            self._seed_dropout((first + i) * self._devices.count + self._devices.rank)
            batch = {name: array[i] for name, array in batches.items()}
            loss, weight, _ = self.objective(self.model, batch, training=True)
            target = loss if self._scale is None else loss * self._loss_factor(self._scale_values())
            target.backward()
            self._loss += loss.detach()
            self._weight += weight
            # The graph holds an array as large as the logits, which must not live beside the next one's.
            del loss, target
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
        variables = self._of_trained(self.variables)
        gradients = [v.value.grad for v in variables]
        self._devices.sum([*gradients, self._loss, self._weight])
        scalars = {"loss": self._loss.clone(), "weight": self._weight.clone()}
        denominator = scalars["weight"]
        if self._scale is not None:
            scalars["loss_scale"] = self._scale["scale"].value.clone()
            denominator = denominator * self._loss_factor(self._scale_values())
        norm = scalars["gradient_norm"] = _global_norm(gradients) / denominator
        scalars["parameter_norm"] = _global_norm([v.value for v in self.variables])
        finite = torch.isfinite(norm) & torch.isfinite(self._loss)
        # The host waits for the device here, once a step, as in torch's own GradScaler.
        if finite:
            factor = self.clip_factor(norm, lambda one, ratio: torch.clamp(ratio, max=one)) / denominator
            self.optimizer.learning_rate.assign(learning_rate)
            torch._foreach_mul_(gradients, factor)
            self.optimizer.apply(gradients, variables)
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
        scalars = {"loss": loss, "weight": weight, **metrics}
        self._devices.sum(scalars.values())
        return scalars

    def reload(self):
        self.drop()

    def synchronize(self):
        """The variables of model and optimizer are up to date."""


def _global_norm(values):
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values]))
