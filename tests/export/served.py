"""Serves exports as TensorFlow Serving documents its APIs, in a process that has TensorFlow and TensorFlow Text alone.

    python served.py NAME=BASE_PATH...

It takes the place of `tensorflow_model_server`, which no package index carries: the newest version of each model, REST
(`:predict` with `instances` or `inputs`, `/metadata`, status) and, where `tensorflow-serving-api` is installed, gRPC.
It prints the two ports as JSON (gRPC `null` without the package) and serves until its standard input closes.
"""

import base64
import http.server
import json
import os
import sys
import threading

sys.modules["budgetbert"] = sys.modules["keras_hub"] = None  # an import of them fails

import tensorflow as tf  # noqa: E402
import tensorflow_text  # noqa: E402, F401 (registers the ops that TensorFlow Serving's binary has)


class Invalid(ValueError):
    """INVALID_ARGUMENT."""


def decode(value):
    if isinstance(value, dict) and set(value) == {"b64"}:
        return base64.b64decode(value["b64"])
    if isinstance(value, dict):
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


def encode(value):
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return [encode(item) for item in value] if isinstance(value, list) else value


def call(signature, inputs):
    """Calls a signature with tensors by name; what does not fit is `Invalid`, as in the server."""
    specs = signature.structured_input_signature[1]
    if set(inputs) != set(specs):
        raise Invalid(f"input names {sorted(inputs)} are not {sorted(specs)}")
    for key, tensor in inputs.items():
        if tensor.dtype != specs[key].dtype:
            raise Invalid(f"{key} expects {specs[key].dtype.name}, was given {tensor.dtype.name}")
        if not tensor.shape.is_compatible_with(specs[key].shape):
            raise Invalid(f"{key} expects the shape {specs[key].shape}, was given {tensor.shape}")
    try:
        return signature(**inputs)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError) as error:
        raise Invalid(error.message) from error


def predict(model, request):
    """A REST predict request (dict) and its response (dict)."""
    name = request.get("signature_name", "serving_default")
    if name not in model.signatures:
        raise Invalid(f"Serving signature name {name!r} not found")
    signature = model.signatures[name]
    specs = signature.structured_input_signature[1]
    rows = "instances" in request
    if rows:
        instances = decode(request["instances"])
        if not all(isinstance(row, dict) for row in instances):
            instances = [{next(iter(specs)): row} for row in instances]
        columns = {key: [row[key] for row in instances] for key in (instances[0] if instances else specs)}
    else:
        columns = decode(request["inputs"])
        columns = columns if isinstance(columns, dict) else {next(iter(specs)): columns}
    try:
        tensors = {key: tf.constant(value, specs[key].dtype) for key, value in columns.items() if key in specs}
    except (TypeError, ValueError) as error:
        raise Invalid(f"JSON value cannot be read as a string: {error}") from error
    if set(tensors) != set(columns):
        raise Invalid(f"unknown inputs {sorted(set(columns) - set(tensors))}")
    outputs = {key: encode(tensor.numpy().tolist()) for key, tensor in call(signature, tensors).items()}
    if not rows:
        return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}
    listed = [dict(zip(outputs, row, strict=True)) for row in zip(*outputs.values(), strict=True)]
    return {"predictions": listed if len(outputs) > 1 else [next(iter(row.values())) for row in listed]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.removeprefix("/v1/models/").removesuffix("/metadata")
        version = {"version": str(versions[name])}
        if not self.path.endswith("/metadata"):
            status = {"error_code": "OK", "error_message": ""}
            return self.answer(200, {"model_version_status": [{**version, "state": "AVAILABLE", "status": status}]})
        return self.answer(200, {"model_spec": {"name": name, **version}, "metadata": sorted(models[name].signatures)})

    def do_POST(self):
        name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self.answer(200, predict(models[name], json.loads(body)))
        except (Invalid, json.JSONDecodeError, KeyError) as error:
            self.answer(400, {"error": str(error)})

    def answer(self, code, content):
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def serve_grpc():
    """Starts the gRPC service; returns its port."""
    try:
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError:
        return None
    from concurrent import futures

    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            signature = models[request.model_spec.name].signatures[request.model_spec.signature_name]
            try:
                outputs = call(
                    signature, {key: tf.constant(tf.make_ndarray(proto)) for key, proto in request.inputs.items()}
                )
            except Invalid as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            response = predict_pb2.PredictResponse()
            for key, tensor in outputs.items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(tensor.numpy()))
            return response

    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    serve_grpc.server = server  # it stops when it is collected
    return port


models, versions = {}, {}
for argument in sys.argv[1:]:
    name, base_path = argument.split("=", 1)
    versions[name] = max(int(entry) for entry in os.listdir(base_path) if entry.isdecimal())
    models[name] = tf.saved_model.load(os.path.join(base_path, str(versions[name])))

if __name__ == "__main__":
    rest = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print(json.dumps({"rest": rest.server_port, "grpc": serve_grpc()}), flush=True)
    sys.stdin.read()
