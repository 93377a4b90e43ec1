"""A model as ONNX, for ONNX Runtime. Needs TensorFlow, `onnx` and `tf2onnx`."""

import os

import tf2onnx

from budgetbert.export.signatures import label_names
from budgetbert.export.token_function import token_function, write_tokenizer

# All operations of the model exist from opset 13 on; of those, ONNX Runtime has optimised 18 the longest.
OPSET = 18


def write_onnx(model, directory, weights):
    """Writes `model.onnx` and `tokenizer.json`; arguments and inputs as `token_function`, batch and length dynamic.

    Returns:
        Dict of facts for `export.json`.
    """
    function = token_function(model)
    tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        output_path=os.path.join(directory, "model.onnx"),
    )
    write_tokenizer(model, directory)
    inputs = [spec.name for spec in function.input_signature]
    return {"opset": OPSET, "weights": weights, "inputs": inputs, "labels": label_names(model)}
