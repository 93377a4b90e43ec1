"""Damaged inputs of every kind, each read as training, finetuning and exporting read it.

Run       python -m tests.faults.fuzz KIND SEED NUMBER FOLDER FILE

Writes a line of JSON for each input: what was done to it and how it ended. `clean`: as the sound one. `sentence`: an
error that the command line tells in one line. `traceback`, `hang` (over 180 seconds) and `silent`, a result that
differs from that of the sound input without a word, are what must not be. The same seed gives the same inputs.
"""

import contextlib
import importlib
import io
import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

KINDS = ("corpus", "run", "state", "keras_file", "preset", "hugging_face", "glue", "flags")
SECONDS = 180


class Waited(BaseException):
    """A case took too long."""


class Silent(Exception):
    """A damaged input was taken for a sound one."""


def outcome(case):
    """Returns how a function without arguments ended, and what it said."""
    from budgetbert.errors import InputError, TrainingError

    signalled = []

    def ring(*_):
        signalled.append(True)
        raise Waited

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    quiet = io.StringIO()
    try:
        with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case()
        found = "clean", ""
    except Silent as error:
        found = "silent", str(error)
    except (InputError, TrainingError) as error:
        text = str(error).strip()
        found = ("sentence" if "\n" not in text and len(text) < 2000 else "traceback"), text[:300]
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in where if f"{os.sep}budgetbert{os.sep}" in frame.filename] or where
        place = f"{os.path.basename(ours[-1].filename)}:{ours[-1].lineno}"
        found = "traceback", f"{type(error).__name__}: {str(error)[:200]} at {place}"
    finally:
        signal.alarm(0)
    return ("hang", "") if signalled else found


def main(kind, seed, number, folder, file):
    """Runs a kind's cases; those that a killed process did before are not done again."""
    done = Path(file).read_text(encoding="utf-8").count("\n") if os.path.exists(file) else 0
    if done >= number:
        return
    cases = importlib.import_module(f"tests.faults.{kind}_cases").Cases(Path(folder))
    with open(file, "a", encoding="utf-8") as told:
        for i in range(done, number):
            case, what = cases.make(random.Random(f"{kind} {seed} {i}"), i)
            print(f"{kind} {i} {what}", file=sys.stderr, flush=True)
            started = time.monotonic()
            ended, said = outcome(case)
            line = {"kind": kind, "number": i, "what": what[:200], "ended": ended, "said": said}
            told.write(json.dumps({**line, "seconds": round(time.monotonic() - started, 2)}) + "\n")
            told.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:6])
