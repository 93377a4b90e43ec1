"""A model in float32 for files, whatever the model computes in."""

import keras
import numpy as np
from keras import ops


class Float32Copy:
    """A copy of a model, in the host's memory, whose layers compute in float32, whatever the model computes in.

    The variables are float32 anyway; whoever loads the file need not have the hardware that trained it.

    Args:
        model: built `keras.Model`.
    """

    def __init__(self, model):
        config = _with_float32(keras.saving.serialize_keras_object(model))
        if config["config"].get("preprocessor"):
            config["config"]["preprocessor"] = None  # its vocabulary is no part of a config
        with on_host():
            self._copy = keras.saving.deserialize_keras_object(config)
        self._copy.preprocessor = model.preprocessor
        self._model = model

    def update(self):
        """Takes over the model's present weights, and what else it has learned."""
        for name in getattr(self._model, "learned_settings", ()):
            setattr(self._copy, name, getattr(self._model, name))
        with on_host():
            self._copy.set_weights([np.array(ops.convert_to_numpy(weight)) for weight in self._model.weights])

    def save(self, path):
        """Writes a `.keras` file; the model itself may change meanwhile."""
        self._copy.save(path)


def on_host():
    """Returns the context in which what is made lies in the host's memory."""
    # JAX wants an index; on torch one makes Keras move, and so lose, its parameters
    return keras.device("cpu" if keras.backend.backend() == "torch" else "cpu:0")


def _with_float32(node):
    if isinstance(node, list):
        return [_with_float32(item) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("class_name") == "DTypePolicy" and node["config"]["name"].startswith("mixed_"):
        return keras.saving.serialize_keras_object(keras.DTypePolicy("float32"))
    return {key: _with_float32(value) for key, value in node.items()}
