"""Warm-up requests, which TensorFlow Serving replays before it lets traffic to a model. Needs TensorFlow.

The messages are `tensorflow_serving.apis.PredictionLog`. Four fields of them are needed, and are written here in
Protocol Buffers' wire format, so that an export does not need the package `tensorflow-serving-api`; a test reads them
with it.
"""

import os

import tensorflow as tf

# A server replays the requests of a version's folder to that version, whatever the name that they are addressed to.
_MODEL_NAME = b"model"


def write_warmup_requests(directory, requests):
    """Writes `directory/tf_serving_warmup_requests`.

    Args:
        directory: string. `assets.extra` of the version.
        requests: dict of signature name to a dict of input name to a list of strings.
    """
    os.makedirs(directory)
    with tf.io.TFRecordWriter(os.path.join(directory, "tf_serving_warmup_requests")) as writer:
        for signature, inputs in requests.items():
            writer.write(_prediction_log(signature, inputs))


def _prediction_log(signature, inputs):
    model_spec = _field(1, _MODEL_NAME) + _field(3, signature.encode())
    request = _field(1, model_spec)
    for name, strings in inputs.items():
        tensor = tf.make_tensor_proto(strings, tf.string).SerializeToString()
        # This is an entry of a map.
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    # The path of these fields is PredictionLog.predict_log.request.
    return _field(6, _field(1, request))


def _field(number, payload):
    """Returns a length-delimited field of a message."""
    length, size = b"", len(payload)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + payload
