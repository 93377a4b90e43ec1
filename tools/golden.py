"""Measures to the bit what the library computes, in two trees of its files: a refactoring has to leave all of it equal.

Measured is what a user can see: files that the recipes write, and rows in the order in which training reads them.

Run       python tools/golden.py --before COMMIT [--backends jax] [--parts rows,ids] [--cache DIR] [--output FILE]
          python tools/golden.py --write tests/golden.json
Exit      0 where all is equal to the commit's, 1 where something differs or fails
Time      about 6 minutes of a core for a tree, with all backends
"""

import argparse
import concurrent.futures
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
BACKENDS, PARTS = ("tensorflow", "jax", "torch"), ("runs", "rows", "finetuning", "ids")
PACKAGES = "numpy keras keras-hub tensorflow tensorflow-text jax torch tokenizers datasets transformers grain"
# A GPU adds in an order of its own, what JAX compiled before may be of another machine, and threads of torch in two
# processes spin for the same cores.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
ENVIRONMENT |= {"TF_CPP_MIN_LOG_LEVEL": "3", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

PREPARATION = "--sequence_length 48 --validation_fraction 0.02 --workers 2"
PREPARATIONS = {
    "packed": "--vocabulary_size 512 --rows packed",
    "sentences": "--vocabulary_size 512 --rows sentences --dedup none --nolowercase --nostrip_accents",
    "pairs": "--vocabulary_size 512 --rows pairs --dedup near",
    "pairs_long": "--vocabulary {pairs} --rows pairs --dedup near --order frequent_first --sequence_length 96",
    "frequent_first": "--vocabulary_size 512 --order frequent_first --nostrip_accents --min_characters 300",
    "cramming": "--vocabulary_size 512 --order short_sentences_first --normalizer cramming --filter t=0.5 --dedup none",
    "wiki": "--vocabulary_size 512 --rows sentences --order short_sentences_first --nolowercase",
    "substring": "--vocabulary_size 512 --row_start cls --dedup substring:60 --drop_repeated_lines",
}
# A given micro-batch and float32 leave nothing to the speed of the machine. The log has a line for each checkpoint;
# without one at every step the intervals of its losses would follow the clock.
TRAINING = "--preset tiny --budget 12steps --precision float32 --seed 0 --micro_batch_size 4 --devices 1"
TRAINING += " --checkpoint_every 1steps --keep_checkpoints 1"
RUNS = {  # the corpora and the flags of each recipe; the first is finetuned, the tokenizers of the first two are tried
    "academic_24h": ("sentences", "--batch_size 8"),
    "cramming_24h": ("cramming", "--batch_size 16"),
    "lamb_76min": ("pairs,pairs_long", "--batch_size 16 --phases both --objective mlm_nsp"),
    "frontier": ("frequent_first", "--batch_size 8"),
}


def groups_of(backends, parts):
    """Returns the names of what is measured and kept together: the rows, and of each other part that of a backend."""
    own = [f"{part}/{backend}" for backend in backends for part in PARTS if part in parts and part != "rows"]
    return [*(["rows"] if "rows" in parts else []), *own, *(["ids/export"] if "ids" in parts else [])]


def call(root, program, *arguments, backend="tensorflow"):
    """Runs a program on the library of a tree, on CPU."""
    start, told = time.monotonic(), f"{Path(program).stem} {Path(arguments[-1]).name}, {backend}"
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(root), "KERAS_BACKEND": backend}
    command = [sys.executable, program, *map(str, arguments)]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{told} failed in {root}:\n{done.stderr[-3000:]}")
    print(f"{time.monotonic() - start:5.0f} s  {told}", file=sys.stderr, flush=True)


def measure(root, groups, folder):
    """Measures a tree.

    Args:
        root: `Path` of the tree.
        groups: list of str, some of those of `groups_of`.
        folder: `Path` of an empty folder for all that is made meanwhile.

    Returns:
        Dict of dicts: for each group, of the name of a quantity to its hash, number or list of numbers.
    """
    call(root, TOOLS / "golden_sources.py", folder)
    corpora = {name: folder / "corpora" / name for name in PREPARATIONS}
    trained = [backend for backend in BACKENDS if any(group.endswith(f"/{backend}") for group in groups)]
    trained = trained or (["tensorflow"] if "ids/export" in groups else [])
    recipes = {backend: list(RUNS) if f"runs/{backend}" in groups else list(RUNS)[:2] for backend in trained}
    needed = {name for names in recipes.values() for recipe in names for name in RUNS[recipe][0].split(",")}
    for name, flags in PREPARATIONS.items():
        if "rows" in groups or name in needed:
            flags = f"{PREPARATION} {flags.format(pairs=corpora['pairs'] / 'vocabulary.txt')}".split()
            source = folder / ("wiki.xml" if name == "wiki" else "text")
            call(root, "recipes/prepare_corpus.py", *flags, "--corpus", source, "--output_dir", corpora[name])

    def train(backend, recipe):
        names, flags = RUNS[recipe]
        flags = [*TRAINING.split(), *flags.split(), "--corpus", ",".join(str(corpora[n]) for n in names.split(","))]
        call(root, f"recipes/{recipe}.py", *flags, "--output_dir", folder / backend / recipe, backend=backend)

    def finetune(backend):
        flags = ["--protocol", "quick", "--tasks", "rte", "--precision", "float32", "--glue_dir", folder / "glue"]
        flags += ["--model", folder / backend / "academic_24h" / "model.keras"]
        call(root, "recipes/finetune_glue.py", *flags, "--output_dir", folder / backend / "glue", backend=backend)

    def export(recipe):
        flags = ["--model", folder / trained[0] / recipe / "model.keras", "--format", "transformers"]
        call(root, "recipes/export_model.py", *flags, "--output_dir", folder / "exports" / recipe)

    def inspect_with(name, backend="tensorflow"):
        path = folder / f"{name}-{backend}.json"
        call(root, TOOLS / "golden_inspect.py", name, folder, path, backend=backend)
        return json.loads(path.read_text())

    found = {group: {} for group in groups}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:  # each has the memory of Keras, and a core
        list(pool.map(train, *zip(*((b, recipe) for b in trained for recipe in recipes[b]), strict=True)))
        jobs = [pool.submit(finetune, backend) for backend in trained if f"finetuning/{backend}" in groups]
        jobs += [pool.submit(export, recipe) for recipe in list(RUNS)[:2] if "ids/export" in groups]
        for job in jobs:
            job.result()
        models = dict(zip(trained, pool.map(inspect_with, ["models"] * len(trained), trained), strict=True))
    for group, name in (("rows", "rows"), ("ids/export", "exports")):
        if group in groups:
            found[group] = inspect_with(name)
    for backend, values in models.items():
        for recipe in recipes[backend]:
            log = _lines(folder / backend / recipe / "log.jsonl")
            for key in ("loss", "learning_rate", "validation_loss"):
                values[f"{recipe}: {key}"] = [line[key] for line in log if key in line]
        if f"finetuning/{backend}" in groups:
            glue = folder / backend / "glue"
            metrics = json.loads((glue / "glue.json").read_text())["tasks"]["rte"]["metrics"]
            values |= {f"glue: {name}": metric["values"] for name, metric in metrics.items()}
            log = [line for path in sorted(glue.glob("rte/**/log.jsonl")) for line in _lines(path)]
            # Its training losses are of intervals that follow the clock.
            values["glue: validation_loss"] = [line["validation_loss"] for line in log if "validation_loss" in line]
        for name, value in values.items():
            subject, part = name.split(": ")[0], "ids" if ": ids" in name else "runs"
            part = "finetuning" if subject == "glue" else part
            if part != "ids" or subject in list(RUNS)[:2]:  # the others are there only where `runs` is asked for
                found.get(f"{part}/{backend}", {})[name] = value
    return found


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def fingerprint():
    """Returns what the bits depend on besides the library, as dict of str."""
    cpu = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else platform.processor()
    flags = sorted(set(re.findall(r"\b(?:avx2|avx512\w*|amx\w*)", cpu)))
    found = {"cpu": " ".join([*re.findall(r"vendor_id\s*: (\w+)", cpu)[:1], *flags]), "cores": str(os.cpu_count())}
    found["python"] = platform.python_version()
    for package in PACKAGES.split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def compare(before, after):
    """Returns a list of tuples of str: a group, the name of a quantity, and what differs, empty where it is equal."""
    compared = []
    for group in before | after:
        ones, twos = before.get(group, {}), after.get(group, {})
        for name in ones | twos:
            one, two = ones.get(name), twos.get(name)
            told = "" if one == two else f"{one!s:.12} before, {two!s:.12} now"
            if told and isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
                number, a, b = next((i, a, b) for i, (a, b) in enumerate(zip(one, two, strict=True), 1) if a != b)
                told = f"{a:.9g} before, {b:.9g} now (number {number}, the first that differs)"
            compared.append((group, name, told))
    return compared


def show(compared):
    """Prints a table of what is equal and what differs."""
    from rich.console import Console
    from rich.table import Table

    table, rows = Table("part", "of", "equal", "different"), {}
    for group, name, told in compared:
        subject, quantity = name.split(": ")
        rows.setdefault((group, subject), ([], []))[bool(told)].append(f"{quantity}: {told}" if told else quantity)
    for names, (equal, different) in rows.items():
        table.add_row(*names, ", ".join(equal) if different else f"all {len(equal)}", "\n".join(different))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def measure_commit(commit, groups, cache):
    """Returns what `measure` finds in a commit; what the folder `cache` (or `None`) has of it is not measured again."""
    git = ["git", "-C", TOOLS]
    commit = subprocess.check_output([*git, "rev-parse", "--verify", f"{commit}^{{commit}}"], text=True).strip()
    programs = b"".join(path.read_bytes() for path in sorted(TOOLS.glob("golden*.py")))  # others measure other things
    key = hashlib.sha256(programs + json.dumps([commit, fingerprint()]).encode()).hexdigest()
    path = Path(cache, f"{commit[:12]}-{key[:12]}.json") if cache else None
    found = json.loads(path.read_text()) if path and path.exists() else {}
    if missing := [group for group in groups if group not in found]:
        with tempfile.TemporaryDirectory() as folder:
            tree, made = Path(folder).resolve() / "tree", Path(folder).resolve() / "made"
            made.mkdir()
            subprocess.run([*git, "worktree", "add", "--quiet", "--detach", tree, commit], check=True)
            try:
                found |= measure(tree, missing, made)
            finally:
                subprocess.run([*git, "worktree", "remove", "--force", tree], check=True)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found, indent=1))
    return {group: found[group] for group in groups}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="COMMIT", help="what the present tree is compared with")
    parser.add_argument("--write", metavar="FILE", help="where what the present tree computes is stored")
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--cache", metavar="DIR", help="keeps what was measured of a commit")
    parser.add_argument("--output", metavar="FILE", help="where both results are written as JSON")
    given = parser.parse_args()
    backends, parts = given.backends.split(","), given.parts.split(",")
    if not (given.before or given.write) or {*backends} - {*BACKENDS} or {*parts} - {*PARTS}:
        parser.error(f"give --before or --write, and of {', '.join(BACKENDS)} and of {', '.join(PARTS)}.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the worktree goes
    before = measure_commit(given.before, groups_of(backends, parts), given.cache) if given.before else None
    with tempfile.TemporaryDirectory() as folder:
        now = measure(TOOLS.parent, groups_of(backends, parts), Path(folder).resolve())
    if given.write:
        Path(given.write).write_text(json.dumps({"fingerprint": fingerprint(), "groups": now}, indent=1) + "\n")
    if given.before:
        if given.output:
            Path(given.output).write_text(json.dumps({"before": before, "now": now}, indent=1) + "\n")
        show(compared := compare(before, now))
        different = sum(bool(told) for _, _, told in compared)
        print(f"{len(compared) - different} quantities are equal, {different} differ.")
        sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
