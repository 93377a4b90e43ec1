"""One call per export: check, load, write, describe."""

import importlib.util
import os

from budgetbert.errors import InputError
from budgetbert.export import folder
from budgetbert.export.formats import FORMATS


def check_request(export_format, directory, weights):
    """Raises an `InputError` for what can be refused before Keras is imported; arguments as `export_model`."""
    packages, extra, possible = FORMATS[export_format][1:4]
    if weights not in possible:
        raise InputError(
            f"--weights {weights} is not possible with --format {export_format}: give {' or '.join(possible)}."
        )
    missing = [name for module, name in packages.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(
            f"--format {export_format} needs {' and '.join(missing)}, which is not installed: pip install '{extra}'."
        )
    folder.check(directory, export_format)


def export_model(model_path, export_format, directory, weights="float32"):
    """Writes a trained model for another program, with its tokenizer, a model card and `export.json`.

    Args:
        model_path: string. A `.keras` file of a masked-LM or text classifier, trained on any backend.
        export_format: `"serving"`, `"transformers"`, `"onnx"` or `"litert"`. `"serving"` and `"litert"` ask for the
            TensorFlow backend.
        directory: string. New, empty, or an earlier export of the same format, to which `"serving"` adds a version and
            which the others replace.
        weights: `"float32"` (default), `"float16"` or `"int8"`, as far as the format has them.

    Returns:
        The path of what was written (string).

    Raises:
        InputError: on bad input, with nothing changed in `directory`.
    """
    check_request(export_format, directory, weights)
    # These modules import Keras, so they are imported once the request is checked.
    from budgetbert.export.card import write_card
    from budgetbert.models.loading import load_trained

    model = load_trained(model_path)
    name = os.path.basename(os.path.abspath(directory))
    if export_format == "serving":
        from budgetbert.export.serving import export_serving

        version = export_serving(model, directory, weights)
        for place in (directory, os.path.join(version, "assets.extra")):
            write_card(place, model, model_path, export_format, name)
        return version
    write = _writer(export_format)
    with folder.replacing(directory, export_format) as written:
        facts = write(model, written, weights)
        folder.write_record(written, export_format, **facts)
        write_card(written, model, model_path, export_format, name)
    return directory


def _writer(export_format):
    if export_format == "transformers":
        from budgetbert.export.transformers_folder import write_transformers as write
    elif export_format == "onnx":
        from budgetbert.export.onnx import write_onnx as write
    else:
        from budgetbert.export.litert import write_litert as write
    return write
