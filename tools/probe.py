"""A frozen probe of encoders: ridge regression on the mean over the tokens of a middle block. No finetuning.

Of two texts, each encoded by itself, it reads u, v, |u - v| and u * v. The spread is the standard deviation over five
draws of half of the training examples; that of random weights is over drawn weights.

Hardware  any CPU
Time      seconds for 4 x 128
Expected  docs/LOG.md has random weights, encoders of some budgets, and a sentence encoder of others
Run       python tools/probe.py runs/a/model.keras runs/b/model.keras --glue_dir GLUE
          (tools/lay_out_glue.py lays out a folder that has samples in place of some files)
"""

import json
import time

import numpy as np
from absl import flags
from rich.table import Table

from budgetbert import command_line, files
from budgetbert.errors import InputError
from budgetbert.reporting.numbers import number, score
from budgetbert.terminal import LastingConsole

flags.DEFINE_string("glue_dir", None, "A folder with GLUE in its official layout, or hub.")
flags.DEFINE_list("tasks", ["stsb", "qnli", "sst2"], "Of GLUE's.")
flags.DEFINE_integer("block", None, "The block whose output is read, from 1; by default the one in the middle.", 1)
flags.DEFINE_integer("random_seeds", 3, "Encoders of random weights in the first model's sizes, to compare with.", 0)
flags.DEFINE_string("json", None, "File for the figures.")


def main(*paths):
    given = flags.FLAGS
    if not paths:
        raise InputError("no model is given: python tools/probe.py runs/mine/model.keras --glue_dir GLUE.")
    command_line.require("glue_dir")
    from budgetbert.finetuning.data import choose_tasks, open_source

    source = open_source(given.glue_dir)
    choose_tasks(",".join(given.tasks), source)
    command_line.start_keras()
    from budgetbert.finetuning.pretrained import Pretrained
    from budgetbert.finetuning.probe import probe_encoder, read_parts
    from budgetbert.models import BertBudget
    from budgetbert.models.loading import load_any

    parts, rows = read_parts(source, tuple(given.tasks)), []

    def judge(name, encoder, tokenizer):
        started = time.perf_counter()
        found = probe_encoder(encoder, tokenizer, parts, given.block)
        return {"name": name, "scores": found, "seconds": time.perf_counter() - started}

    for place, path in enumerate(paths):
        model = load_any(path)
        if given.block and given.block > model.backbone.num_layers:
            raise InputError(f"--block {given.block}: {path} has {model.backbone.num_layers} blocks.")
        if not place:
            random = Pretrained(model, random=True)
            encoder, drawn = BertBudget(**random.config), []
            for seed in range(given.random_seeds):
                for variable, value in zip(encoder.trainable_variables, random.weights_of(seed), strict=True):
                    variable.assign(value)
                drawn.append(judge(None, encoder, random.tokenizer))
            rows += [_together(drawn)] if drawn else []
        rows.append(judge(path, model.backbone, model.preprocessor.tokenizer))
    _print(rows, parts, LastingConsole(highlight=False))
    if given.json:
        told = [{**row, "scores": {name: list(values) for name, values in row["scores"].items()}} for row in rows]
        files.write(given.json, json.dumps(told, indent=1))


def _together(drawn):
    """Returns the row of several encoders of random weights: of each the mean over the draws of examples."""
    names = drawn[0]["scores"]
    return {
        "name": f"random weights, {len(drawn)} drawn",
        "scores": {name: np.array([one["scores"][name].mean() for one in drawn]) for name in names},
        "seconds": np.mean([one["seconds"] for one in drawn]),
    }


def _print(rows, parts, console):
    table = Table("encoder", box=None, header_style="bold")
    for part in parts:
        table.add_column(f"{part.task.title}, {part.task.metric}", justify="right")
    for name in ("mean", "seconds"):
        table.add_column(name, justify="right")
    table.columns[0].overflow = "fold"
    for row in rows:
        values = [row["scores"][part.task.name] for part in parts]
        table.add_row(row["name"], *map(_spread, values), _spread(np.mean(values, axis=0)), number(row["seconds"]))
    console.print(table)


def _spread(values):
    return f"{score(values.mean())} ± {score(values.std(ddof=1) if len(values) > 1 else 0.0)}"


if __name__ == "__main__":
    command_line.run(main, arguments=True)
