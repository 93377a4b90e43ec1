"""Kills a training run with SIGKILL at random moments and holds its final weights against those of an undisturbed one.

Run       python tools/soak_resume.py --output_dir runs/soak      (2 x 4 minutes on 2 cores; KERAS_BACKEND as usual)
Result    a table of the kills and resumptions, and whether every weight is equal to the last bit; code 1 if not
"""

import io
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path

os.environ.setdefault("BUDGETBERT_WITHOUT_KERAS", "1")

import h5py
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

from budgetbert import command_line

RECIPE = Path(__file__).parent.parent / "recipes" / "academic_24h.py"

flags.DEFINE_string("output_dir", None, "Where both runs go; a directory that is not there yet.")
flags.DEFINE_string("corpus", "demo", "As for the recipe; prepared once.")
flags.DEFINE_integer("steps", 600, "Optimizer steps of 16 rows.", 50)
flags.DEFINE_integer("kills", 10, "How often to kill.", 1)
flags.DEFINE_string("checkpoint_every", "20steps", "As for the recipe.")
flags.DEFINE_string("precision", "float32", "As for the recipe.")
flags.DEFINE_integer("seed", 0, "Of the moments.")
flags.DEFINE_string("json", None, "A file for the figures.")


def main():
    values = flags.FLAGS
    if not values.output_dir or os.path.exists(values.output_dir):
        raise command_line.InputError("--output_dir names no new directory: give one that is not there yet.")
    root, console, moments = Path(values.output_dir), Console(soft_wrap=True), random.Random(values.seed)
    root.mkdir(parents=True)
    started = time.monotonic()
    finish(start(root / "undisturbed", root, values.corpus))
    undisturbed = time.monotonic() - started
    corpus = root / "undisturbed" / "corpus" if values.corpus == "demo" else values.corpus
    console.print(f"undisturbed: {values.steps:,} steps in {undisturbed:.0f} s")

    seconds_per_step = json.loads((root / "undisturbed" / "log.jsonl").read_text().splitlines()[-1])["seconds"]["step"]
    seconds_per_step /= values.steps
    kills, killed = [], root / "killed"
    started = time.monotonic()
    while len(kills) < values.kills:
        process = start(killed, root, corpus)
        until = wait_for_resumption(process, killed, len(kills))
        left = values.steps - until
        time.sleep(moments.uniform(0, 2 * left * seconds_per_step / (values.kills - len(kills) + 1)))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills.append({"step": last_step(killed), "seconds": time.monotonic() - started})
    finish(start(killed, root, corpus))

    resumed = [line["resumed_from_step"] for line in lines(killed) if "resumed_from_step" in line]
    table = Table("kill", "after", "log at step", "went on after step", box=None)
    for number, (kill, step) in enumerate(zip(kills, resumed, strict=True), 1):
        table.add_row(str(number), f"{kill['seconds']:.0f} s", f"{kill['step']:,}", f"{step:,}")
    console.print(table)
    ours, theirs = weights(killed), weights(root / "undisturbed")
    differing = [name for name in theirs if not np.array_equal(ours[name], theirs[name])]
    good = not differing and len(resumed) == values.kills and min(resumed) > 0
    console.print(
        f"{len(theirs)} weight arrays, {len(differing)} differ; {sum(step > 0 for step in resumed)} resumptions past "
        f"step 0 of {values.kills} asked for: {'exact' if good else 'NOT as it should be'}"
    )
    if values.json:
        figures = {
            "kills": kills,
            "resumed_from": resumed,
            "arrays": len(theirs),
            "differing": differing,
            "exact": good,
        }
        Path(values.json).write_text(json.dumps(figures, indent=1))
    sys.exit(0 if good else 1)


def start(run, root, corpus):
    """Starts the recipe on a run directory; its output goes to a file beside it."""
    values = flags.FLAGS
    command = [
        *(sys.executable, str(RECIPE), "--output_dir", str(run), "--corpus", str(corpus), "--preset", "tiny"),
        *("--budget", f"{values.steps}steps", "--batch_size", "16", "--micro_batch_size", "8"),
        *("--precision", values.precision, "--checkpoint_every", values.checkpoint_every),
    ]
    with open(root / f"{run.name}.txt", "a") as output:
        environment = {name: value for name, value in os.environ.items() if name != "BUDGETBERT_WITHOUT_KERAS"}
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)


def finish(process):
    """Waits for a run to end well."""
    if process.wait():
        sys.exit(f"a run ended with code {process.returncode}: see the .txt files in {flags.FLAGS.output_dir}")


def wait_for_resumption(process, run, kills):
    """Returns the step that training goes on from, when it does; for the first kill, the first checkpoint's."""
    while process.poll() is None:
        resumed = [line["resumed_from_step"] for line in lines(run) if "resumed_from_step" in line]
        if kills and len(resumed) == kills:
            return resumed[-1]
        if not kills and (steps := [int(path.name[5:]) for path in run.glob("checkpoints/step-*[0-9]")]) and max(steps):
            return max(steps)
        time.sleep(0.1)
    sys.exit(f"the run ended with code {process.returncode} before it could be killed: raise --steps")


def last_step(run):
    return max((line["step"] for line in lines(run) if "step" in line), default=0)


def lines(run):
    """The lines of a log that may be in the middle of being written."""
    path = run / "log.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def weights(run):
    """All arrays of a run's model file, by name."""
    arrays = {}
    with zipfile.ZipFile(run / "model.keras") as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        file.visititems(lambda name, node: arrays.update({name: node[()]} if isinstance(node, h5py.Dataset) else {}))
    return arrays


if __name__ == "__main__":
    command_line.run(main)
