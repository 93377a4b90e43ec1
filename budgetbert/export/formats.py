"""What each export is, what its writer imports, and how it can store weights. Imports no Keras."""

import typing


class Format(typing.NamedTuple):
    """One format of an export.

    Args:
        description: str. For the model card.
        packages: dict of an imported module to the package that has it.
        extra: str. What to install for these packages.
        weights: tuple of str. How the weights can be stored.
        backend: str. What Keras runs on while it writes: the package whose graph or module is the product.
    """

    description: str
    packages: dict
    extra: str
    weights: tuple
    backend: str


_TENSORFLOW = {"tensorflow": "tensorflow"}
_TORCH = {"torch": "torch", "transformers": "transformers"}
FORMATS = {
    "serving": Format(
        "a SavedModel for TensorFlow Serving",
        {**_TENSORFLOW, "tensorflow_text": "tensorflow-text"},
        "budgetbert[tensorflow]",
        ("float32", "float16", "int8"),
        "tensorflow",
    ),
    "transformers": Format(
        "a folder for Hugging Face Transformers",
        _TORCH,
        "budgetbert[transformers]",
        ("float32", "float16"),
        "torch",
    ),
    "onnx": Format(
        "an ONNX model",
        {**_TORCH, "onnx": "onnx", "onnxscript": "onnxscript", "onnxruntime": "onnxruntime"},
        "budgetbert[onnx]",
        ("float32", "int8"),
        "torch",
    ),
    "litert": Format(
        "a LiteRT model",
        _TENSORFLOW,
        "budgetbert[tensorflow]",
        ("float32", "float16", "int8"),
        "tensorflow",
    ),
}
