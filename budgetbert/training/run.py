"""A run is a directory: enough to resume it, reproduce it and believe it."""

import fcntl
import json
import math
import os
import platform
import shutil
import warnings

import keras

from budgetbert.command_line import InputError
from budgetbert.corpus.store import sync_directory
from budgetbert.reporting.versions import package_versions
from budgetbert.training.record import read_json, read_lines

_PACKAGES = ("budgetbert", "keras", "keras-hub", "tensorflow", "jax", "torch", "tokenizers", "numpy")


class Run:
    """The directory of one training run; from `start` to `release` no other process can start one in it.

    Args:
        directory: str.

    Raises:
        InputError: if the directory holds something that is not a run.

    Attributes:
        started: bool. Whether it was more than planned.
        final: dict, the last log line of a finished run, or `None`.
    """

    def __init__(self, directory):
        self.directory = directory
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise InputError(f"--output_dir {directory} cannot be made: {error.strerror}.") from error
        if not os.access(directory, os.W_OK):
            raise InputError(f"--output_dir {directory} cannot be written to: give another directory.")
        written = self.read_json("recipe.json")
        if written is not None and "recipe" not in written:
            raise InputError(f"{self.path('recipe.json')} is not that of a run: give another --output_dir.")
        self._written = written
        self._lock = None
        self._recipe = written and written["recipe"]
        self._changed = None
        # a corpus that is prepared for the run stands in it before its recipe does; so may what a killed start left
        if not written and not set(os.listdir(directory)) <= {"corpus", "corpus.preparing", ".lock", "recipe.tmp.json"}:
            raise InputError(f"--output_dir {directory} is not empty and holds no run: give a new or empty directory.")
        self.started = os.path.exists(self.path("log.jsonl"))
        self._lines = self.lines()
        self.final = next((line for line in self._lines if line.get("final")), None)

    def check(self, recipe):
        """Raises an `InputError` where the directory holds a run that differs in one of the keys of `recipe`.

        A run that was planned and never started gives way, and its plan goes.
        """
        for key, new in json.loads(json.dumps(recipe)).items():  # as it was written: tuples are lists
            old = self._recipe.get(key) if self._recipe else new
            if old != new and not self.started:
                self._recipe = None
                if os.path.exists(self.path("plan.json")):
                    os.remove(self.path("plan.json"))
            elif old != new:
                raise InputError(
                    f"--output_dir {self.directory} holds another run: its {key} is {old!r}, asked for was {new!r}; "
                    "give another directory, or the old value to go on with that run."
                )

    def start(self, recipe, circumstances):
        """Writes `recipe.json`, or checks that it is the same run.

        Args:
            recipe: dict. Every number that decides the result, after all defaults and flags.
            circumstances: dict. What may differ between two starts of the same run (paths, cadences); versions,
                backend and platform are added.
        """
        self.check(recipe)
        self._lock = open(self.path(".lock"), "w")  # noqa: SIM115 (held until the process ends)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"another process is at work in {self.directory}: wait for it, or stop it.") from error
        if self.lines() != self._lines:
            raise InputError(f"another process was at work in {self.directory}: the same command goes on from there.")
        versions = package_versions(_PACKAGES)
        machine = {"backend": keras.backend.backend(), "platform": platform.platform(), "packages": versions}
        if not self._recipe or not self.started:
            self.write_json("recipe.json", {"recipe": recipe, "circumstances": {**circumstances, **machine}})
            return
        before = self._written["circumstances"]
        changed = {key: [before.get(key), value] for key, value in machine.items() if before.get(key) != value}
        if changed and not self.final:
            warnings.warn(f"this run started with other {', '.join(changed)}: equal within rounding only", stacklevel=2)
            self._changed = {"changed": changed}

    def release(self):
        """Lets another process, or another call in this one, work in the directory."""
        if self._lock:
            self._lock.close()
            self._lock = None

    def path(self, name):
        """Returns the path of a file of the run."""
        return os.path.join(self.directory, name)

    def write_json(self, name, value):
        """Writes a JSON file of the run, whole or not at all."""
        with replacing(self.path(name)) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.write("\n")

    def read_json(self, name):
        """Reads a JSON file of the run; `None` if there is none."""
        return read_json(self.path(name))

    def log(self, line):
        """Appends a dict to `log.jsonl`, at once; what is not finite is written as null, since JSON has no NaN."""
        with open(self.path("log.jsonl"), "a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(line), allow_nan=False) + "\n")

    def lines(self):
        """Reads `log.jsonl` as a list of dicts; an unfinished last line is left out."""
        return read_lines(self.path("log.jsonl"))

    def resume_log(self, step):
        """Drops an unfinished last line of the log and notes that the run goes on after `step`.

        Args:
            step: int, or `None` where the run starts anew: then the log of a start without a checkpoint goes.
        """
        lines = [] if step is None else [*self.lines(), {"resumed_from_step": step}]
        lines += [self._changed] if self._changed else []
        with replacing(self.path("log.jsonl")) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _finite(value):
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class replacing:
    """Context that gives a temporary name to write to and puts the file or directory in place at its end."""

    def __init__(self, path):
        self._path = path
        root, extension = os.path.splitext(path)
        self._temporary = f"{root}.tmp{extension}"  # Keras insists on the extension .keras

    def __enter__(self):
        if os.path.isdir(self._temporary):
            shutil.rmtree(self._temporary)
        return self._temporary

    def __exit__(self, kind, error, trace):
        if kind is not None:
            return
        files = [self._temporary]
        if os.path.isdir(self._temporary):
            files = [os.path.join(self._temporary, name) for name in os.listdir(self._temporary)]
        for name in files:
            with open(name, "rb") as file:
                os.fsync(file.fileno())
        if os.path.isdir(self._temporary):
            sync_directory(self._temporary)
        aside = f"{self._path}.old"
        if os.path.isdir(self._path):  # a directory that is not empty cannot be replaced in one go
            shutil.rmtree(aside, ignore_errors=True)
            os.replace(self._path, aside)
        os.replace(self._temporary, self._path)
        sync_directory(os.path.dirname(self._path))
        shutil.rmtree(aside, ignore_errors=True)
