"""Predict: each row of a file gets its label from a finetuned model, however large the file is.

Hardware  any CPU for a small model, one GPU for a large one; memory does not grow with the file
Time      10,003 questions to a bank, a model 128 wide: 16 s of CPU time, the start of Keras included
Killed?   The same command goes on where it was.
Expected  one row of output for each row of input, in the same order; rows that cannot be read have none and say why
Run       python recipes/predict.py --model runs/mine-labels/model.keras --input new.csv --output labelled.jsonl
Source    batches of texts of similar length: budgetbert/finetuning/batches.py
"""

from absl import flags

from budgetbert import command_line
from budgetbert.corpus.sources.records import USABLE, Records
from budgetbert.errors import InputError
from budgetbert.finetuning.kinds import labeller_of
from budgetbert.finetuning.labelled.columns import choose_columns
from budgetbert.finetuning.labelled.output import check_output

flags.DEFINE_string("model", None, "The model.keras of a finetuning, or a folder with a classifier.")
flags.DEFINE_string("input", None, f"The file with the texts: {USABLE.removesuffix(', or hf:NAME:CONFIG')}.")
flags.DEFINE_string("output", None, "A new file: .jsonl, .csv or .parquet, of vectors also .npy.")
flags.DEFINE_string("text", None, "The column with the text; by default the header says it.")
flags.DEFINE_string("text_pair", None, "The column with the second of two texts.")
flags.DEFINE_string("columns", None, "The names of the columns of a table without a header, as text,label.")
flags.DEFINE_integer("batch_size", None, "Texts that are computed at once; by default 64.", 1, 65_536)


def main():
    given = flags.FLAGS
    command_line.require("model", "input", "output")
    command_line.check_exists("model")
    if given.input.startswith("hf:"):
        raise InputError(f"--input {given.input} is no file: download it, so that a killed run can go on.")
    check_output(given.output)
    names = Records(given.input, "input", given.columns).names
    if given.text or given.text_pair:
        choose_columns(f"--input {given.input}", names, given.text, given.text_pair, with_label=False)
    command_line.start_keras()

    from budgetbert.finetuning.labelled.predict import predict, report

    print(report(predict(given, labeller_of), given))


if __name__ == "__main__":
    command_line.run(main)
