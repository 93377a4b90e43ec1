"""A model as a SavedModel for TensorFlow Serving: strings go in, labels or embeddings come out. Needs TensorFlow."""

import os

import keras
import numpy as np
import tensorflow as tf

from budgetbert.export import folder, signatures
from budgetbert.export.formats import FORMATS
from budgetbert.export.warmup import write_warmup_requests
from budgetbert.models.loading import check_vocabulary
from budgetbert.models.logits import label_names, problem_type


def export_serving(model, directory, weights="float32"):
    """Writes `directory/<version>/`, one above the highest version there, which TensorFlow Serving loads as it is.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`, with a preprocessor, on the TensorFlow backend.
        directory: string. New, empty, or an earlier export for serving.
        weights: how they are stored; computed with they are in float32. `"float32"` (default); `"float16"`: kernels
            and tables in half precision; or `"int8"`: kernels in 8 bits with a scale per output, tables in float16.
            Products of 8-bit integers, as Keras's `quantize` makes them, take up to 5 times as long in TensorFlow on a
            CPU as those of float32.

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
    if weights not in FORMATS["serving"].weights:
        raise ValueError(f"`weights` must be one of {FORMATS['serving'].weights}. Received: weights={weights!r}")
    check_vocabulary(model)
    with folder.next_version(directory) as (path, version):
        module = tf.Module()
        module.stored, in_scope = _store(model, weights)
        endpoints = signatures.endpoints(model, in_scope)
        # A server has no use for gradients, parts of which are XLA's.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, path, signatures=endpoints, options=options)
        write_warmup_requests(os.path.join(path, "assets.extra"), signatures.examples(model))
    folder.write_record(
        directory,
        "serving",
        version=version,
        weights=weights,
        labels=label_names(model),
        problem_type=problem_type(model),
        signatures={name: [spec.name for spec in f.input_signature] for name, f in endpoints.items()},
    )
    return os.path.join(directory, str(version))


def _store(model, weights):
    """Makes the variables that store the weights.

    Returns:
        `(variables, in_scope)`: the `tf.Variable`s to save, and a context in which the model computes with them.
    """
    variables, reads = [], []

    def store(value):
        variables.append(tf.Variable(value, trainable=False))
        return variables[-1]

    for variable in model.variables:
        value = keras.ops.convert_to_numpy(variable.value)
        as_is = weights == "float32" or value.ndim < 2 or value.dtype != np.float32
        if weights == "int8" and not as_is and variable.path.endswith("/kernel"):
            scale = np.maximum(np.abs(value).max(axis=0), np.finfo("float32").tiny) / 127
            read = _scaled(store(np.round(value / scale).astype("int8")), store(scale))
        else:
            read = store(value if as_is else value.astype("float16")).read_value
        reads.append((variable, read))

    def in_scope():
        # A half-precision table is gathered as it is stored, and only what was gathered is cast: `add_update` sets
        # the value as given, where the scope's own argument would cast the whole table at each call.
        scope = keras.StatelessScope()
        for variable, read in reads:
            scope.add_update((variable, read()))
        return scope

    return variables, in_scope


def _scaled(integers, scale):
    return lambda: tf.cast(integers, scale.dtype) * scale
