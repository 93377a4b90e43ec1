"""Which loggers there are besides `log.jsonl`, and what each needs. Imports no Keras."""

import importlib.util

from budgetbert.errors import InputError

# The packages that each logger needs. W&B's Keras callback imports TensorFlow, whatever the backend.
_PACKAGES = {"tensorboard": ("tensorboard",), "wandb": ("wandb", "tensorflow")}


def parse_loggers(text):
    """Reads `--loggers`, before any time is spent.

    Args:
        text: str. Names separated by commas (`tensorboard`, `wandb`), or nothing.

    Returns:
        Tuple of names, each once.

    Raises:
        InputError: if a name is unknown, its package is not installed, or W&B has neither a key nor an offline mode.
    """
    names = tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
    for name in names:
        if name not in _PACKAGES:
            raise InputError(f"--loggers {name!r} is unknown: give tensorboard, wandb, or both with a comma between.")
        missing = [package for package in _PACKAGES[name] if not importlib.util.find_spec(package)]
        if missing:
            raise InputError(f"--loggers {name} needs what is not installed: pip install {' '.join(missing)}")
    if "wandb" in names:
        _check_wandb()
    return names


def _check_wandb():
    import wandb

    if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False):
        raise InputError("--loggers wandb finds no API key: run wandb login, or set WANDB_MODE=offline.")
