"""A model as a SavedModel for TensorFlow Serving: strings go in, labels or embeddings come out. Needs TensorFlow."""

import os

import keras
import numpy as np
import tensorflow as tf

from budgetbert.export import folder, signatures
from budgetbert.export.loading import check_vocabulary
from budgetbert.export.warmup import write_warmup_requests

WEIGHTS = ("float32", "float16", "int8")


def export_serving(model, directory, weights="float32", model_name="model"):
    """Writes `directory/<version>/`, one above the highest version there, which TensorFlow Serving loads as it is.

    Args:
        model: `BertBudgetTextClassifier` or `BertBudgetMaskedLM` with a preprocessor, on the TensorFlow backend. With
            `weights="int8"` it is quantized in place.
        directory: string. New, empty, or an earlier export for serving.
        weights: `"float32"` (default); `"float16"`: kernels and tables are stored in half precision and computed with
            in float32; or `"int8"`: dense kernels in 8 bits (Keras's `quantize`), tables in float16.
        model_name: string. The name in the warm-up requests. Defaults to `"model"`.

    Returns:
        The path of the version (string).

    Raises:
        InputError: if the model has no vocabulary, or `directory` holds something else.
        ValueError: on another backend than TensorFlow.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"A SavedModel is a TensorFlow graph, Keras runs on {keras.backend.backend()}: save the model and load it "
            "where KERAS_BACKEND=tensorflow."
        )
    if weights not in WEIGHTS:
        raise ValueError(f"`weights` must be one of {WEIGHTS}. Received: weights={weights!r}")
    check_vocabulary(model)
    with folder.next_version(directory) as (path, version):
        module = tf.Module()
        module.stored, in_scope = _store(model, weights)
        endpoints = signatures.endpoints(model, in_scope)
        tf.saved_model.save(module, path, signatures=endpoints)
        write_warmup_requests(os.path.join(path, "assets.extra"), signatures.examples(model), model_name)
    folder.write_record(
        directory,
        "serving",
        version=version,
        weights=weights,
        labels=signatures.label_names(model),
        signatures={name: [spec.name for spec in f.input_signature] for name, f in endpoints.items()},
    )
    return os.path.join(directory, str(version))


def _store(model, weights):
    """The weights as they are stored.

    Returns:
        `(variables, in_scope)`: the `tf.Variable`s to save, and a context in which the model computes with them.
    """
    if weights == "int8":
        model.quantize("int8", filters=lambda layer: isinstance(layer, keras.layers.Dense))
    pairs = []
    for variable in model.variables:
        value = keras.ops.convert_to_numpy(variable.value)
        if weights != "float32" and value.ndim > 1 and value.dtype == np.float32:
            value = value.astype("float16")
        pairs.append((variable, tf.Variable(value, trainable=False, name=variable.name)))

    def in_scope():
        # A half-precision table is gathered as it is stored, and only what was gathered is cast: `add_update` sets
        # the value as given, where the scope's own argument would cast the whole table at each call.
        scope = keras.StatelessScope()
        for variable, stored in pairs:
            scope.add_update((variable, tf.convert_to_tensor(stored)))
        return scope

    return [stored for _, stored in pairs], in_scope
