"""Finetune: a file with labels becomes a model that reads raw strings, with its scores beside what costs nothing.

Hardware  any CPU for a small model, one GPU for a large one
Time      1,500 texts of 77 classes, 17 epochs, a model 128 wide: 8 min a seed on two cores that others shared
Killed?   The same command goes on where it was.
Expected  banking77 so, after 60 TFLOP: accuracy 77.2 (test), TF-IDF and a linear model 74.3; entities of WNUT-17:
          F1 24 to 25, the usual tags 9; answers of XQuAD: F1 10, a similar sentence 18: docs/LOG.md
Run       python recipes/finetune.py --model runs/mine/model.keras --train train.csv --output_dir runs/mine-labels
Source    settings: budgetbert/finetuning_rule.py (Devlin et al. 2018; Mosbach et al. 2021; our own runs)
"""

import math

from absl import flags

from budgetbert import command_line
from budgetbert.corpus.sources.records import USABLE
from budgetbert.errors import InputError
from budgetbert.finetuning.kinds import TASKS, read

flags.DEFINE_string("model", None, "The model.keras of a run, a preset's folder, or a BERT checkpoint of Hugging Face.")
flags.DEFINE_string("train", None, f"The labelled file: {USABLE}; of tag also CoNLL.")
flags.DEFINE_string("dev", None, "Labelled texts to judge with; by default a tenth of --train is held out.")
flags.DEFINE_string("test", None, "Labelled texts to judge the finished model with, once.")
flags.DEFINE_enum("task", "auto", TASKS, "What the labels are; auto decides by them, and says why.")
flags.DEFINE_string("text", None, "The column with the text; by default the header says it.")
flags.DEFINE_string("text_pair", None, "The column with the second of two texts.")
flags.DEFINE_enum(
    "pairs",
    "auto",
    ["auto", "together", "apart"],
    "Two texts in one row, or each encoded by itself; auto goes by the encoder's width.",
)
flags.DEFINE_string("label", None, "The column with the label; by default the header says it.")
flags.DEFINE_string("negative", None, "Of embed: the column with a text that does not belong to the two.")
flags.DEFINE_string("sizes", None, "Of embed: sizes at which the first numbers of a vector serve too, as 64,32.")
flags.DEFINE_float("temperature", None, "Of embed: by which cosines are divided; by default 0.05.", 1e-3, 10.0)
flags.DEFINE_enum("pooling", None, ["mean", "first"], "Of embed: mean over the tokens, as by default, or first one.")
flags.DEFINE_string("columns", None, "The names of the columns of tables without a header, as text,label.")
flags.DEFINE_string("output_dir", None, "For model.keras, metrics.json and page; the same command on it goes on.")
flags.DEFINE_float("learning_rate", None, "The peak; by default from the encoder's width.", 1e-9, 1.0)
flags.DEFINE_bool("search", False, "Try four rates on a part of --train first, and take the best.")
flags.DEFINE_integer("epochs", None, "By default from the number of examples.", 1, 10_000)
flags.DEFINE_integer("batch_size", None, "Examples of an update; by default 16, of embed 64.", 1, 65_536)
flags.DEFINE_integer("sequence_length", None, "Tokens of a row; by default 128, of answer 384.", 8, 65_536)
flags.DEFINE_integer("max_train_examples", None, "Train on so many at most, the labels in their shares.", 1, 2**31)
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16", "mixed_float16"], "What to compute in.")
flags.DEFINE_bool("remat", False, "Compute each block again in the backward pass: less memory, a third more time.")
flags.DEFINE_integer("seeds", None, "Finetunings, of which the median is kept; by default 3.", 1, 1000)


def main():
    given = flags.FLAGS
    command_line.require("model", "train", "output_dir")
    command_line.check_exists("model")
    command_line.check_output_dir(given.output_dir)
    if given.learning_rate is not None and math.isnan(given.learning_rate):
        raise InputError("--learning_rate nan is no number: give one such as 3e-4.")
    if given.search and given.learning_rate is not None:
        raise InputError("--search tries rates, and --learning_rate gives one: leave one of them out.")

    for name in ("negative", "sizes", "temperature", "pooling"):
        if getattr(given, name) is not None and given.task != "embed":
            raise InputError(f"--{name} belongs to --task embed, and --task is {given.task}: leave it out.")

    labelled = read(given)
    command_line.start_keras()

    from budgetbert.finetuning.labelled.harness import finetune

    finetune(given, labelled)


if __name__ == "__main__":
    command_line.run(main)
