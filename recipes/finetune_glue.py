"""GLUE: finetunes a pretrained encoder on each task by a named protocol, with several seeds, and says exactly how.

Hardware  one GPU, or a CPU for a small model
Time      mini_crammed, 7 tasks, 1 or 3 seeds: 76 min on a CPU core (docs/GLUE.md); crammed-BERT, a GPU: not measured
Expected  Cramming's day: mean of nine columns 80.7 (dev, best of 5 pretrainings); without pretraining 45.5
Run       python recipes/finetune_glue.py --model runs/mine/model.keras --glue_dir GLUE --protocol cramming
              --output_dir runs/mine-glue
Data      GLUE in the official layout (gluebenchmark.com/tasks: GLUE/CoLA/train.tsv, also .tsv.xz), or hub
Source    Wang et al. 2019 (GLUE); Geiping & Goldstein 2022, section 5; Izsak, Berchansky & Levy 2021, section 4
"""

from absl import flags

from budgetbert import command_line
from budgetbert.finetuning.data import choose_tasks, open_source
from budgetbert.finetuning.protocols import PROTOCOLS, protocol_of

flags.DEFINE_string("model", None, "The model.keras of a run, a preset's folder, or a BERT checkpoint of Hugging Face.")
flags.DEFINE_string("glue_dir", None, "A folder in GLUE's official layout, or hub.")
flags.DEFINE_string("tasks", "all", "cola,sst2,mrpc,stsb,qqp,mnli,qnli,rte,wnli,ax, or all: those found.")
flags.DEFINE_enum("protocol", "cramming", list(PROTOCOLS), "How it is finetuned and judged; docs/GLUE.md.")
flags.DEFINE_bool("cola_warmup", False, "All tasks warm up for CoLA's steps, 267, as in Cramming's published runs.")
flags.DEFINE_integer("seeds", None, "Finetunings of each task; default: as the protocol has it.", 1, 1000)
flags.DEFINE_string("output_dir", None, "Where results and models go; the same command on it goes on where it stopped.")
flags.DEFINE_integer("max_train_examples", None, "At most so many of each task, the labels in their shares.", 1, 2**31)
flags.DEFINE_bool("random_weights", False, "The baseline: the model's architecture and vocabulary, weights drawn anew.")
flags.DEFINE_enum("precision", "auto", ["auto", "float32", "mixed_bfloat16", "mixed_float16"], "What to compute in.")
flags.DEFINE_bool("remat", False, "Compute each block again in the backward pass: less memory, a third more time.")
flags.DEFINE_bool("submit", False, "Also write the zip that gluebenchmark.com takes, from the test sets.")


def main():
    given = flags.FLAGS
    command_line.require("model", "glue_dir", "output_dir")
    command_line.check_exists("model")
    command_line.check_output_dir(given.output_dir)
    protocol_of(given.protocol, given.cola_warmup)
    choose_tasks(given.tasks, open_source(given.glue_dir))
    command_line.start_keras()

    from budgetbert.finetuning.harness import finetune

    finetune(given)


if __name__ == "__main__":
    command_line.run(main)
