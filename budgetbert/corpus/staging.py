"""The directory of a preparation that is not finished: `<output_dir>.preparing`, from which a killed one goes on."""

import contextlib
import json
import shutil
import sys
from pathlib import Path

from budgetbert import files
from budgetbert.corpus import manifest
from budgetbert.corpus.sources import hub
from budgetbert.corpus.stages.parts import read_json, record_path, write_json
from budgetbert.corpus.stages.pool import WorkerKilled
from budgetbert.errors import InputError

_FORMAT = 6  # Counts up when what the stages leave changes.
_PLAN = "plan.json"
_LARGE_TEXT = 2**28  # Characters. A process that has worked on so many holds some 500 MB.


class Staging:
    """Where the stages leave files for each other, the processes that do their work, and the bars that show it.

    Args:
        directory: `Path`.
        workers: `pool.Workers`, or `datatrove.DatatroveWorkers`.
        progress: `console.Progress`.
    """

    def __init__(self, directory, workers, progress):
        self.directory, self.workers, self.progress = directory, workers, progress

    def folder(self, name):
        """Returns the `Path` of a folder for what a stage leaves."""
        folder = self.directory / name
        folder.mkdir(exist_ok=True)
        return folder

    def each(self, description, name, make, arguments, documents, groups=None):
        """Applies the worker of a stage to the parts that have no record yet.

        Args:
            description: str, for the progress.
            name: str, of the folder for what the worker leaves.
            make: class of the worker. It is made of the documents, the folder and `arguments`, and called with a task:
                a list of numbers of parts, the first of which its record bears.
            arguments: tuple.
            documents: `parts.Documents`.
            groups: list of such lists. Defaults to `None`: every part is a task.

        Returns:
            `Path` of the folder.
        """
        folder = self.folder(name)
        groups = documents.singles() if groups is None else groups
        left = [group for group in groups if not record_path(folder, group[0]).exists()]
        if left:
            sizes = [(record["documents"], record["characters"]) for record in documents.records]
            number, done = 0, documents.characters - sum(sizes[part][1] for group in left for part in group)
            skipped = done
            with self.progress.stage(description, documents.characters) as show:
                results = self.workers.map(make, (documents, folder, *arguments), left)
                for group, _ in zip(left, results, strict=True):
                    number += sum(sizes[part][0] for part in group)
                    done += sum(sizes[part][1] for part in group)
                    show(done, number, done - skipped)
        return folder

    def release_memory(self, documents):
        """Ends the worker processes, if what they hold is worth the second that it takes to start others."""
        if documents.characters > _LARGE_TEXT:
            self.workers.release()


def _path(output_dir):
    return Path(f"{output_dir}.preparing")


@contextlib.contextmanager
def opened(output_dir, options, identify):
    """The directory with what a killed preparation finished, locked; it is deleted when all is done.

    Args:
        output_dir: `Path`.
        options: dict. What decides the result beside the text: what other options left is deleted first.
        identify: function that returns what identifies the text, a list of dict: what was left of other text is deleted
            first. It is called when the options have been compared, as it may take hours.

    Yields:
        Tuple of the directory, a `Path`, and what `identify` returned.

    Raises:
        InputError: if it cannot be made, or another process has it.
    """
    directory = _path(output_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = files.Lock(directory)
    except BlockingIOError as error:
        raise InputError(f"{output_dir} is being prepared by another process: wait for it.") from error
    except OSError as error:
        raise InputError(f"{output_dir} cannot be made: {error.strerror}.") from error
    finished = False
    with lock:
        try:
            plan = {"format": _FORMAT, "boot": _boot(), "options": options, "packages": manifest.packages()}
            _start_over_unless(directory, json.loads(json.dumps(plan)))
            plan["sources"] = identify()
            _start_over_unless(directory, json.loads(json.dumps(plan)))
            if _is_begun(directory):
                print(f"Going on with {directory}.", file=sys.stderr)
            write_json(directory / _PLAN, plan)
            yield directory, plan["sources"]
            finished = True
        except InputError as error:
            # The same text and options end like this again, unless the trouble was outside: of a disk or a network,
            # not of the text. (The errno of a damaged file is None.)
            unreadable = isinstance(error.__cause__, OSError) and error.__cause__.errno is not None
            finished = not (unreadable or isinstance(error, hub.Unreachable | WorkerKilled))
            raise
        finally:
            if finished or not _is_begun(directory):
                shutil.rmtree(directory, ignore_errors=True)


def remove_left_over(output_dir):
    """Removes what a preparation leaves that is killed when the corpus is in place already."""
    directory = _path(output_dir)
    if not directory.is_dir():  # A lock would make a file of that name, in the way of the next preparation.
        return
    with contextlib.suppress(OSError), files.Lock(directory):  # It is just being removed.
        shutil.rmtree(directory, ignore_errors=True)


def _is_begun(directory):
    """Returns whether a stage has left a file."""
    return any(path.is_file() for path in directory.rglob("*") if path != directory / _PLAN)


def _start_over_unless(directory, plan):
    """Empties the directory, and says so, unless it was begun by a plan that is the same in all that this one has."""
    path = directory / _PLAN
    known = read_json(path) if path.exists() else {}
    if all(known.get(name) == value for name, value in plan.items()):
        return
    if _is_begun(directory):
        told = f"Other text, options or packages than in {directory}, or another boot: starting over."
        print(told, file=sys.stderr)
    path.unlink(missing_ok=True)  # This goes first: what is half deleted belongs to no plan.
    for entry in directory.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _boot():
    """What differs after a restart of the machine, which may lose files that were not synced."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
