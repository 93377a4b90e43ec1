"""Labelled files that a small model can learn: of cats and dogs."""

import csv
import random
import types

from tests.finetuning.folder import sentence

FLAGS = (
    *("train", "dev", "test", "text", "text_pair", "label", "learning_rate", "epochs", "batch_size"),
    *("sequence_length", "max_train_examples", "seeds", "negative", "sizes", "temperature", "pooling", "columns"),
)


def given(**flags):
    """The flags of `recipes/finetune.py`, those that are not given as they are by default."""
    values = dict.fromkeys(FLAGS) | {
        "task": "auto",
        "pairs": "auto",
        "precision": "float32",
        "remat": False,
        "search": False,
        "model": "runs/none/model.keras",
    }
    return types.SimpleNamespace(**values | {key: value and str(value) for key, value in flags.items()})


def write(path, header, rows):
    """Writes a table and returns its path."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t" if str(path).endswith(".tsv") else ",").writerows([header, *rows])
    return path


def texts(count, seed=0):
    """Sentences, two of three of them of cats, and whether each is of a cat."""
    generator = random.Random(seed)
    return [(sentence(generator, number % 3 != 0), number % 3 != 0) for number in range(count)]
