"""A training step of a PyTorch model."""

import contextlib

import torch


def device():
    """Returns the name of the device that PyTorch computes on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def make_step(model, batch, setup, learning_rate, precision, mode=None):
    """Returns a function that runs one optimizer step.

    Args:
        model: `torch.nn.Module` of the arrays of `batch` that returns the loss.
        batch: dict of arrays, see `budgetbert.batches.Masking`.
        setup: `harness.Setup`.
        learning_rate: float.
        precision: `"float32"` or `"bfloat16"`, the latter by autocast.
        mode: str, that of `torch.compile`. Defaults to `None`: not compiled.
    """
    torch.manual_seed(0)
    if device() == "cuda":
        torch.set_float32_matmul_precision("high")  # what float32 is left runs as TF32
    model = model.to(device()).train()
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim != 1], "weight_decay": 0.01},
        {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
    ]
    betas = (0.9, setup.beta_2)
    optimizer = torch.optim.AdamW(groups, learning_rate, betas=betas, eps=setup.epsilon, fused=True)
    loss_of = torch.compile(model, mode=mode) if mode else model
    batch = {name: torch.as_tensor(array, device=device()) for name, array in batch.items()}
    for name in ("token_ids", "mask_positions", "labels"):
        batch[name] = batch[name].long()

    def autocast():
        return torch.autocast(device(), torch.bfloat16) if precision == "bfloat16" else contextlib.nullcontext()

    def step():
        optimizer.zero_grad()
        with autocast():
            loss = loss_of(**batch)
        loss.backward()
        if setup.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, setup.clip_norm)
        optimizer.step()
        return loss.detach()

    return step
