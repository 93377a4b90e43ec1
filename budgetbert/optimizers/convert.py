"""One optimizer in place of another: `--optimizer`, `--betas` and `--weight_decay` of the recipes."""

import keras

from budgetbert.optimizers.lamb import Lamb
from budgetbert.optimizers.muon import Muon


def optimizer_name(optimizer):
    """Returns how `--optimizer` calls an optimizer: `"adamw"`, `"lamb"` or `"muon"`."""
    return type(optimizer).__name__.lower()


def convert_optimizer(optimizer, name):
    """Returns an optimizer of another kind with what the two have in common: Adam's betas and epsilon, and the decay.

    Args:
        optimizer: `keras.optimizers.AdamW`, `Lamb` or `Muon`, not built yet.
        name: `"adamw"`, `"lamb"` or `"muon"`. Muon keeps the betas and the epsilon for what is no hidden matrix.

    Returns:
        `keras.optimizers.Optimizer`: `optimizer` itself where it is of that kind.
    """
    if name == optimizer_name(optimizer):
        return optimizer
    prefix = "adam_" if isinstance(optimizer, Muon) else ""
    beta_1, beta_2, epsilon = (getattr(optimizer, prefix + setting) for setting in ("beta_1", "beta_2", "epsilon"))
    rate, decay = float(optimizer.learning_rate), optimizer.weight_decay
    if name == "muon":
        adam = {"adam_beta_1": beta_1, "adam_beta_2": beta_2, "adam_epsilon": epsilon}
        return Muon(rate, weight_decay=decay, **adam)
    kind = {"adamw": keras.optimizers.AdamW, "lamb": Lamb}[name]
    return kind(rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, weight_decay=decay)


def change_optimizer(optimizer, *, weight_decay=None, betas=None):
    """Returns an optimizer of the same kind with another decay, or other betas of Adam.

    Args:
        optimizer: `keras.optimizers.Optimizer`, not built yet.
        weight_decay: float. Defaults to `None`: as it is.
        betas: tuple of two float. Of Muon, those for what is no hidden matrix. Defaults to `None`: as they are.
    """
    prefix = "adam_" if isinstance(optimizer, Muon) else ""
    changed = {} if weight_decay is None else {"weight_decay": weight_decay}
    changed |= {} if betas is None else dict(zip((f"{prefix}beta_1", f"{prefix}beta_2"), betas, strict=True))
    return type(optimizer).from_config({**optimizer.get_config(), **changed}) if changed else optimizer


def settings_of(optimizer):
    """Returns what `change_optimizer` can change of an optimizer: a tuple of the decay, and a tuple of the betas."""
    prefix = "adam_" if isinstance(optimizer, Muon) else ""
    return optimizer.weight_decay, tuple(getattr(optimizer, f"{prefix}{name}") for name in ("beta_1", "beta_2"))
