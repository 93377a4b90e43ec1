"""A recipe that trains nothing: it writes the files of a run as far as a search reads them, with losses of a formula.

It takes the flags that a search gives. Each arm is its --learning_rate: up to 1 the loss falls the faster the higher it
is; 2 and 3 are as 0.75, but that 2 diverges in its fifth step, and 3 is given up after its third. A file `lives` beside
it has the number of writes after which the process kills itself.
"""

import json
import math
import os
import signal
import sys
from pathlib import Path

given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
run, rate = Path(given["output_dir"]), float(given["learning_rate"])
steps, stop_at = int(given["budget"].removesuffix("steps")), float(given["stop_at"])
lives = Path(__file__).with_name("lives")


def survive():
    if lives.exists():
        left = int(lives.read_text()) - 1
        lives.write_text(str(left))
        if left == 0:
            lives.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def write(**line):
    with open(run / "log.jsonl", "a") as log:
        log.write(json.dumps(line) + "\n")
    survive()


(run / "checkpoints").mkdir(parents=True, exist_ok=True)
(run / "recipe.json").write_text(json.dumps({"recipe": {"recipe": "stand_in"}}))
saved = max((int(path.name[5:]) for path in (run / "checkpoints").iterdir()), default=None)
if saved is None:
    (run / "log.jsonl").unlink(missing_ok=True)
else:
    write(resumed_from_step=saved)
step = saved or 0
while step < stop_at * steps:
    step += 1
    if rate == 2 and step == 5:
        write(incident="diverged", step=step, message="the loss rose to 9.00 from 6.00, after 3 rollbacks")
        sys.exit("stand_in_recipe.py: the loss diverged 4 times")
    where = {"step": step, "budget_spent": step / steps}
    write(**where, loss=1.0, learning_rate=rate)
    if step >= stop_at * steps or step % (steps // 8) == 0:
        write(**where, validation_loss=8 - (rate if rate <= 1 else 0.75) * math.log1p(step) + int(given["seed"]) / 8)
    if rate == 3 and step == 3:
        write(incident="early_stop", step=step, message="validation loss 7.00 is above 6 after 3 steps")
        break
    if step % 3 == 0 or step >= stop_at * steps:
        (run / "checkpoints" / f"step-{step:08d}").mkdir()
        survive()
