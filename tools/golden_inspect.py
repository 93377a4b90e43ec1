"""Measures what lies in a folder of `tools/golden.py`: the part of it that runs on the library of a tree.

Run       python tools/golden_inspect.py rows|models|exports FOLDER FILE
"""

import hashlib
import inspect
import json
import sys
from pathlib import Path

import numpy as np


def sha256(*parts):
    """Returns the sha256 (str) of bytes, of arrays with their types and shapes, or of what JSON makes of the rest."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            part = np.ascontiguousarray(part).tobytes()
        digest.update(part if isinstance(part, bytes) else json.dumps(part).encode())
    return digest.hexdigest()


def training_loader(corpus, split):
    """Returns the `Loader` with which training reads a split of a corpus.

    This is the one place that knows how a loader is made, in either tree: what a tree's does not take is left out. A
    sorted corpus stores its rows in order, or beside them their order.
    """
    from budgetbert.batches import Loader, Masking

    options = {
        "shuffle": split == "train",
        "kind": corpus.rows_kind,
        "labels": corpus.labels(split) if corpus.rows_kind == "pairs" else None,
        "first_epoch_in_order": corpus.order != "shuffled",
        "order": getattr(corpus, "training_order", None) if split == "train" else None,
    }
    taken = inspect.signature(Loader).parameters
    masking = Masking(0.15, corpus.vocabulary, corpus.special_ids, 0)
    return Loader(corpus.rows(split), masking, 0, **{key: options[key] for key in options if key in taken})


def inspect_rows(folder):
    """Measures prepared corpora: epochs as they are read, and the whole masked batches."""
    from budgetbert.corpus.store import open_corpus

    found = {}
    for path in sorted((folder / "corpora").iterdir()):
        name, corpus = path.name, open_corpus(path)
        found[f"{name}: vocabulary"] = sha256((path / "vocabulary.txt").read_bytes())
        for split, epochs in (("train", 2), ("validation", 1)):
            loader, count = training_loader(corpus, split), len(corpus.rows(split))
            found[f"{name}: number of {split} rows"] = count
            for epoch in range(epochs):
                batch = loader.micro_batch(epoch * count, count)
                rows, used = np.array(batch["token_ids"]), batch["weights"] > 0
                rows[np.nonzero(used)[0], batch["mask_positions"][used]] = batch["labels"][used]  # as before the masks
                labels = [batch["next_sentence_labels"]] if "next_sentence_labels" in batch else []
                found[f"{name}: {split} rows of epoch {epoch + 1}"] = sha256(rows, *labels)
                found[f"{name}: {split} batches of epoch {epoch + 1}"] = sha256(*(batch[key] for key in sorted(batch)))
    return found


def inspect_models(folder):
    """Measures each saved model of the current backend: its weights, and the ids of its tokenizer."""
    import keras
    import tensorflow as tf

    import budgetbert.models  # by this line the classes that a model file names are registered

    assert Path.cwd() in Path(budgetbert.models.__file__).parents, budgetbert.models.__file__
    found, lines = {}, json.loads((folder / "lines.json").read_text())
    folder = folder / keras.backend.backend()
    for path in [*folder.glob("*/model.keras"), *folder.glob("*/rte/model.keras")]:
        name, model = path.relative_to(folder).parts[0], keras.models.load_model(path)
        # Without the states of dropout's generators: each loaded model draws these anew.
        variables = sorted(model.weights, key=lambda variable: variable.path)
        found[f"{name}: weights"] = sha256(*map(keras.ops.convert_to_numpy, variables))
        tokenizer = model.preprocessor.tokenizer
        in_graph = tf.function(tokenizer, input_signature=[tf.TensorSpec([None], tf.string)])
        found[f"{name}: ids"] = sha256([[int(token) for token in line] for line in tokenizer(lines)])
        found[f"{name}: ids in a graph"] = sha256(in_graph(tf.constant(lines)).to_list())
    return found


def inspect_exports(folder):
    """Measures the ids of the exported tokenizers."""
    import transformers

    lines = json.loads((folder / "lines.json").read_text())
    return {
        f"{path.name}: ids": sha256(transformers.AutoTokenizer.from_pretrained(path)(lines)["input_ids"])
        for path in sorted((folder / "exports").iterdir())
    }


if __name__ == "__main__":
    what, folder, file = sys.argv[1:]
    functions = {"rows": inspect_rows, "models": inspect_models, "exports": inspect_exports}
    Path(file).write_text(json.dumps(functions[what](Path(folder))))
