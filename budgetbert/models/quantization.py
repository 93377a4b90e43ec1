"""What a quantized model cannot do."""

from budgetbert.errors import InputError


def check_not_quantized(model):
    """Raises an `InputError` if a model holds kernels of 8 or 4 bits, which another program would read as they are."""
    modes = {layer.quantization_mode for layer in model._flatten_layers()} - {None}
    if modes:
        raise InputError(
            f"The model is quantized ({', '.join(sorted(modes))}), which this format does not hold: export the model "
            "from before quantize(), with --weights int8 where the format has it."
        )
