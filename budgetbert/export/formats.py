"""What each export is, what its writer imports, and how it can store weights. Imports no Keras."""

import typing


class Format(typing.NamedTuple):
    """One format of an export.

    Args:
        description: str. For the model card.
        packages: dict of an imported module to the package that has it.
        extra: str. What to install for these packages.
        weights: tuple of str. How the weights can be stored.
    """

    description: str
    packages: dict
    extra: str
    weights: tuple


_TENSORFLOW = {"tensorflow": "tensorflow"}
FORMATS = {
    "serving": Format(
        "a SavedModel for TensorFlow Serving",
        {**_TENSORFLOW, "tensorflow_text": "tensorflow-text"},
        "budgetbert",
        ("float32", "float16", "int8"),
    ),
    "transformers": Format(
        "a folder for Hugging Face Transformers",
        {"torch": "torch", "transformers": "transformers"},
        "budgetbert[transformers]",
        ("float32", "float16"),
    ),
    "onnx": Format(
        "an ONNX model",
        {**_TENSORFLOW, "onnx": "onnx", "tf2onnx": "tf2onnx"},
        "budgetbert[onnx]",
        ("float32",),
    ),
    "litert": Format("a LiteRT model", _TENSORFLOW, "budgetbert", ("float32", "float16", "int8")),
}
