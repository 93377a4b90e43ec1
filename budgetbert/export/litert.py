"""A model as LiteRT (TensorFlow Lite), for phones and small devices. Needs TensorFlow."""

import os

import tensorflow as tf

from budgetbert.errors import InputError
from budgetbert.export.token_function import token_function
from budgetbert.export.tokenizer_file import write_tokenizer
from budgetbert.models.logits import label_names, problem_type
from budgetbert.models.quantization import check_not_quantized


def write_litert(model, directory, weights):
    """Writes `model.tflite` and `tokenizer.json`.

    Inputs as `token_function`, one row of the preprocessor's `sequence_length`, padded: LiteRT has no kernel for the
    slices that a dynamic length takes.

    Args:
        model: one of our tasks, as `BertBudgetMaskedLM`.
        directory: string. An existing folder.
        weights: `"float32"`, `"float16"` (half-precision weights) or `"int8"` (weights in 8 bits, activations quantized
            at run time).

    Returns:
        Dict of facts for `export.json`.
    """
    check_not_quantized(model)
    if getattr(model, "apart", False):
        raise InputError(
            "LiteRT models take one row, and this classifier reads two texts apart: export it with --format serving, "
            "or finetune with --pairs together."
        )
    length = min(model.preprocessor.sequence_length, model.backbone.max_sequence_length)
    function = token_function(model, batch=1, length=length)
    module = tf.Module()
    module.variables_of_model = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)
    if weights != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    with open(os.path.join(directory, "model.tflite"), "wb") as file:
        file.write(converter.convert())
    write_tokenizer(model, directory)
    inputs = [spec.name for spec in function.input_signature]
    facts = {"labels": label_names(model), "problem_type": problem_type(model), "pair": getattr(model, "pair", False)}
    return {"sequence_length": length, "weights": weights, "inputs": inputs, **facts}
