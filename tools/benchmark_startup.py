"""Start-up: seconds from the command to the end of the first optimizer step, to a sentence on a mistake, of imports.

The recipe runs as a user runs it, in a process of its own, on a directory planned before by --plan_only, so that
calibration is not counted; it is stopped by SIGTERM as soon as its log has a line of training. In turn are timed the
imports of `budgetbert`, of KerasHub and of `budgetbert.models`, which imports it too, and the recipe with a preset that
does not exist. Medians are printed. JAX finds its compiled functions in its persistent cache from the second start on:
the first is printed apart, as cold.

Run       python tools/benchmark_startup.py --corpus corpora/mine --preset mini --rounds 3 --json startup.json
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import harness
from absl import app, flags

flags.DEFINE_string("corpus", None, "A prepared corpus.", required=True)
flags.DEFINE_string("recipe", "academic_24h", "Which recipe starts.")
flags.DEFINE_integer("rounds", 3, "Starts, and imports of each.", 1)
harness.define_flags(preset="mini")
FLAGS = flags.FLAGS

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POLL_SECONDS, MOST_SECONDS = 0.02, 1_800


def environment(cache):
    """A process's surroundings: this checkout, the backend, and compiled functions kept in the folder `cache`."""
    path = os.pathsep.join(filter(None, [REPOSITORY, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": FLAGS.backend, "XDG_CACHE_HOME": cache}


def command(directory, *more):
    recipe = os.path.join(REPOSITORY, "recipes", f"{FLAGS.recipe}.py")
    given = {"corpus": FLAGS.corpus, "preset": FLAGS.preset, "budget": "30m", "output_dir": directory}
    given["precision"] = FLAGS.precision
    return [sys.executable, recipe, *(f"--{name}={value}" for name, value in given.items()), *more]


def first_trained(path):
    """The first line of a log that tells of optimizer steps, or `None`."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n") and (entry := json.loads(line))["step"]:
                    return entry
    return None


def start(directory, cache):
    """Starts the recipe on a planned directory. Returns the seconds to the end of its first step, and of its parts."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command(directory), env=environment(cache), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while (entry := first_trained(os.path.join(directory, "log.jsonl"))) is None:
            if process.poll() is not None or time.perf_counter() - began > MOST_SECONDS:
                sys.exit(f"No step was logged; see what this says: {' '.join(process.args)}")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait()
    # the line tells of several steps: all but the first of them are taken off
    later = entry["seconds"]["step"] * (entry["step"] - 1) / entry["step"]
    parts = {name: entry["seconds"][name] for name in ("compile", "validation", "checkpoint")}
    return seconds - later, parts


def seconds_of(words, cache):
    """Seconds of a process from its start to its end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *words], env=environment(cache), capture_output=True)
    return time.perf_counter() - began


def main(argv):
    FLAGS.corpus = os.path.abspath(FLAGS.corpus)
    with tempfile.TemporaryDirectory() as folder:
        cache, planned = os.path.join(folder, "cache"), os.path.join(folder, "planned")
        finished = subprocess.run(
            command(planned, "--plan_only"),
            env=environment(os.path.join(folder, "other")),
            capture_output=True,
            text=True,
        )
        if finished.returncode:
            sys.exit(finished.stderr or finished.stdout)
        programs = {module: ["-c", f"import {module}"] for module in ("budgetbert", "keras_hub", "budgetbert.models")}
        programs["mistake"] = command(os.path.join(folder, "none"), "--preset=mni")[1:]
        taken = {name: [] for name in programs}
        for _ in range(FLAGS.rounds):  # The first may read files that no one has read yet: the median leaves it out.
            for name, words in programs.items():
                taken[name].append(seconds_of(words, cache))
        imports = {name: statistics.median(seconds) for name, seconds in taken.items()}
        mistake = imports.pop("mistake")
        starts = []
        for i in range(FLAGS.rounds + 1):
            directory = shutil.copytree(planned, os.path.join(folder, str(i)))
            starts.append(start(directory, cache))
            shutil.rmtree(directory)
        (cold, _), warm = starts[0], sorted(starts[1:])
        seconds, parts = statistics.median(s for s, _ in warm), warm[len(warm) // 2][1]
        with open(os.path.join(planned, "plan.json"), encoding="utf-8") as file:
            device = json.load(file)["device"]
    print(f"{FLAGS.recipe}, {FLAGS.preset}, {device}, {FLAGS.backend}: from the command to the end of the first step")
    print(f"  cold   {cold:6.1f} s")
    print(f"  warm   {seconds:6.1f} s, of it " + ", ".join(f"{name} {value:.1f} s" for name, value in parts.items()))
    print(f"  wrong  {mistake:6.2f} s to the sentence on a preset that does not exist")
    print("  import " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in imports.items()))
    result = {"device": device, "recipe": FLAGS.recipe, "preset": FLAGS.preset, "backend": FLAGS.backend}
    result |= {
        "cold_seconds": cold,
        "warm_seconds": seconds,
        "parts": parts,
        "import_seconds": imports,
        "mistake_seconds": mistake,
    }
    harness.write_json(result, FLAGS.json)


if __name__ == "__main__":
    app.run(main)
