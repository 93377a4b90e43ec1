"""Several devices on torch: a process for each, as torchrun starts them; gradients are summed once a step."""

import torch
import torch.distributed

from budgetbert.training import replicas, update_torch


def connect(place, wanted):
    """Brings the processes together; `wanted` devices are chosen among all by `Replicas`."""
    on_gpu = torch.cuda.is_available()
    if on_gpu:  # several processes of a machine either see one device each, or take them in turn
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


class Replicas(replicas.Replicas):
    __doc__ = replicas.Replicas.__doc__

    def __init__(self, local_count, place):
        super().__init__()
        self.count = place.count
        self.rank = place.rank

    def broadcast(self, numbers):
        """Returns the numbers of process 0."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        tensor = torch.tensor(numbers, dtype=torch.int64, device=device)
        torch.distributed.broadcast(tensor, 0)
        return tensor.tolist()

    def make_update(self, model, optimizer, objective, clip_norm):
        return Update(model, optimizer, objective, clip_norm, self)


class Update(update_torch.Update):
    __doc__ = update_torch.Update.__doc__

    def __init__(self, model, optimizer, objective, clip_norm, replicas):
        super().__init__(model, optimizer, objective, clip_norm)
        self._replicas = replicas

    @torch.no_grad()
    def apply(self, learning_rate):
        for variable in self.variables:
            torch.distributed.all_reduce(variable.value.grad)
        torch.distributed.all_reduce(self._loss)
        torch.distributed.all_reduce(self._weight)
        return super().apply(learning_rate)

    @torch.no_grad()
    def evaluate(self, batch):
        scalars = super().evaluate(batch)
        for value in scalars.values():
            torch.distributed.all_reduce(value)
        return scalars

    def _dropout_number(self, number):
        return number * self._replicas.count + self._replicas.rank
