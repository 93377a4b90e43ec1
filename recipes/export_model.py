"""A trained model leaves the house: for TensorFlow Serving, Hugging Face Transformers, ONNX or LiteRT.

Hardware  any CPU
Time      half a minute for a small model, some minutes for BERT-large
Expected  a folder with the model, its tokenizer and a model card that says how to load it, outputs equal to 1e-4
Run       python recipes/export_model.py --model runs/demo/model.keras --format serving --output_dir exports/serving
Source    docs/EXPORT.md
"""

import os

from absl import flags

from budgetbert import command_line
from budgetbert.export.export import check_request, export_model
from budgetbert.export.formats import FORMATS

flags.DEFINE_string("model", None, "The model.keras of a run, or a finetuned classifier.")
flags.DEFINE_enum("format", None, list(FORMATS), "What is to load it.")
flags.DEFINE_string("output_dir", None, "Where the export appears; serving adds a version to an earlier one.")
flags.DEFINE_enum("weights", "float32", ["float32", "float16", "int8"], "How the weights are stored.")


def main():
    given = flags.FLAGS
    command_line.require("model", "format", "output_dir")
    command_line.check_exists("model")
    command_line.check_output_dir(given.output_dir)
    check_request(given.format, given.output_dir, given.weights)
    # A SavedModel is TensorFlow's and a folder for Transformers PyTorch's, whatever the model was trained on.
    os.environ["KERAS_BACKEND"] = FORMATS[given.format].backend
    command_line.start_keras()

    path = export_model(given.model, given.format, given.output_dir, given.weights)
    print(f"{given.model} is exported to {path}; README.md in {given.output_dir} says how to load it.")


if __name__ == "__main__":
    command_line.run(main)
