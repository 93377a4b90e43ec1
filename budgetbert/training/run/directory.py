"""A run is a directory: enough to resume it, reproduce it and believe it."""

import contextlib
import errno
import json
import math
import os
import platform
import warnings

import keras

from budgetbert import files
from budgetbert.command_line import check_output_dir
from budgetbert.errors import InputError, TrainingError, is_disk_full, one_line
from budgetbert.reporting.versions import package_versions
from budgetbert.training.run.record import read_json, read_lines

_PACKAGES = ("budgetbert", "keras", "keras-hub", "tensorflow", "jax", "torch", "tokenizers", "numpy")


class Run:
    """The directory of one training run; from `start` to `release` no other process can start one in it.

    Args:
        directory: str.
        writes: bool. Whether this process writes: the first of those of a run, which the others only read. Defaults to
            `True`.

    Raises:
        InputError: if the directory holds something that is not a run.

    Attributes:
        started: bool. Whether it was more than planned.
        final: dict, the last log line of a finished run, or `None`.
    """

    def __init__(self, directory, writes=True):
        self.directory, self.writes = directory, writes
        check_output_dir(directory)
        self._written = self.read_json("recipe.json")
        if self._written is not None and "recipe" not in self._written:
            raise InputError(f"{self.path('recipe.json')} is not that of a run: give another --output_dir.")
        # NVIDIA's LAMB was written with `jump=1` while there was another curve too; its runs go on all the same.
        self._recipe = self._written and json.loads(json.dumps(self._written["recipe"]).replace(", jump=1)", ")"))
        self._lock = self._changed = None
        # A corpus that is prepared for the run stands in it before its recipe does; so may what a killed start left.
        left = {"corpus", "corpus.preparing", ".lock", "recipe.tmp.json"}
        if not self._written and os.path.isdir(directory) and not set(os.listdir(directory)) <= left:
            raise InputError(f"--output_dir {directory} is not empty and holds no run: give a new or empty directory.")
        self.started = os.path.exists(self.path("log.jsonl"))
        self._log_size = self._size_of_log()
        self.final = next((line for line in self.lines() if line.get("final")), None)

    def make_directory(self):
        """Makes the directory, with those above it.

        Raises:
            InputError: if it cannot be made.
        """
        try:
            os.makedirs(self.directory, exist_ok=True)
        except OSError as error:
            if is_disk_full(error):
                raise
            raise InputError(f"--output_dir {self.directory} cannot be made: {error.strerror}.") from error

    def check(self, recipe):
        """Raises an `InputError` where the directory holds a run that differs in one of the keys of `recipe`.

        A run that was planned and never started gives way, and its plan goes.
        """
        if not self.writes:
            return
        for key, new in json.loads(json.dumps(recipe)).items():  # as it was written: tuples are lists
            if self.final and key not in self._recipe:  # by a version that did not have it: the result stays as it is
                continue
            if self.started and self._recipe and key not in self._recipe:
                raise InputError(
                    f"--output_dir {self.directory} holds a run of an earlier version, which had no {key}: finish it "
                    "with that version, or give another directory."
                )
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

        Raises:
            InputError: if it is another run, or another process is at work in it; in a process that does not write, if
                the first one has not started the run here.
        """
        if not self.writes:
            self._check_started(recipe)
            return
        self.check(recipe)
        self.make_directory()
        try:
            self._lock = files.Lock(self.path(".lock"))
        except BlockingIOError as error:
            raise InputError(f"another process is at work in {self.directory}: wait for it, or stop it.") from error
        if self._size_of_log() != self._log_size:
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

    def _check_started(self, recipe):
        """The recipe has to be found here, whichever corpus this process reads: the directory is a shared one."""
        found = self._recipe or {}
        mine = {name: value for name, value in recipe.items() if name not in ("vocabulary", "corpus")}
        if json.loads(json.dumps(mine)) != {name: found.get(name) for name in mine}:
            raise InputError(
                f"--output_dir {self.directory} of a further process is not where process 0 has started the run: give "
                "all the same directory, on a file system that they share."
            )

    def _size_of_log(self):
        return os.path.getsize(self.path("log.jsonl")) if os.path.exists(self.path("log.jsonl")) else None

    def release(self):
        """Lets another process, or another call in this one, work in the directory."""
        if self._lock:
            self._lock.release()
            self._lock = None

    def path(self, name):
        """Returns the path of a file of the run."""
        return os.path.join(self.directory, name)

    def write_json(self, name, value, checksum=True):
        """Writes a dict as a JSON file of the run, whole or not at all, with a checksum unless it is for others."""
        if not self.writes:
            return
        files.write(self.path(name), json.dumps(files.with_sum(value) if checksum else value, indent=1) + "\n")

    def read_json(self, name):
        """Reads a JSON file of the run; `None` if there is none."""
        return read_json(self.path(name))

    def log(self, line):
        """Appends a dict to `log.jsonl`, at once; what is not finite is written as null, since JSON has no NaN.

        Raises:
            OSError: if it cannot be written, or the directory is no longer the one that the run started in.
        """
        if not self.writes:
            return
        # A log made anew in a directory of the same name would hide that all before it is lost.
        if self._lock and not self._lock.is_at(self.path(".lock")):
            raise FileNotFoundError(errno.ENOENT, "it was deleted, moved or replaced", os.path.abspath(self.directory))
        text = (json.dumps(finite(line), allow_nan=False) + "\n").encode()
        with open(self.path("log.jsonl"), "ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while text:
                    text = text[file.write(text) :]
            except OSError:
                file.truncate(before)  # half a line would make the log unreadable once another follows it
                raise

    def lines(self):
        """Reads `log.jsonl` as a list of dicts; an unfinished last line is left out."""
        return read_lines(self.path("log.jsonl"))

    def resume_log(self, step):
        """Drops an unfinished last line of the log and notes that the run goes on after `step`.

        Args:
            step: int, or `None` where the run starts anew: then the log of a start without a checkpoint goes.
        """
        if not self.writes:
            return
        lines = [] if step is None else [*self.lines(), {"resumed_from_step": step}]
        lines += [self._changed] if self._changed else []
        files.write(self.path("log.jsonl"), "".join(json.dumps(line) + "\n" for line in lines))


def finite(value):
    """Returns a value that JSON can hold, `None` in place of each number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextlib.contextmanager
def one_sentence(output_dir):
    """Tells what the output directory cannot hold or give any more in one sentence that says how the run goes on."""
    try:
        yield
    except OSError as error:
        place, file = os.path.abspath(output_dir), error.filename and os.path.abspath(str(error.filename))
        if not is_disk_full(error) and not (file and file.startswith(place)):
            raise
        why = error.strerror or one_line(error)
        raise TrainingError(
            f"{file or place} can no longer be written or read ({why}): mend that, and the same command goes on "
            "from the newest checkpoint."
        ) from error
