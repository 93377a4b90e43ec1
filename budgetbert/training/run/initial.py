"""A finished run whose weights and moments another one begins with, as LAMB's second phase does with its first.

Nothing here imports Keras, so that a wrong directory is told at once.
"""

import json
import os

from budgetbert.errors import InputError, one_line
from budgetbert.training.run.checkpoint_directory import STATE, path_of
from budgetbert.training.run.record import read_json, read_lines

# What both runs must have alike, for the arrays to be those of the same variables.
_ALIKE = ("recipe", "variant", "preset", "vocabulary", "optimizer", "objective", "architecture")


class InitialRun:
    """A finished run of `--phases 1`. Its directory is only read.

    Args:
        directory: str.
        phases: str. What the run that begins with it trains, as given at `--phases`.

    Attributes:
        checkpoint: str, the path of its last checkpoint.
        told: str, what `recipe.json` says of the run that begins with it: the phases, and a sum of the arrays.

    Raises:
        InputError: if `phases` is not `"2"`, or the directory holds no such run.
    """

    def __init__(self, directory, phases):
        if phases != "2":
            raise InputError(f"--initial_run is what --phases 2 begins with: give --phases 2, not {phases}.")
        self._directory = directory
        recorded = _of_initial_run(read_json, os.path.join(directory, "recipe.json"))
        if not isinstance(recorded, dict) or not isinstance(recorded.get("recipe"), dict):
            raise InputError(f"--initial_run {directory} holds no run: name the directory of one of --phases 1.")
        self._recipe = recorded["recipe"]
        if (trained := self._recipe.get("phases_trained")) != "1":
            raise InputError(f"--initial_run {directory} has trained phases {trained}: name a run of --phases 1.")
        lines = _of_initial_run(read_lines, os.path.join(directory, "log.jsonl"))
        final = next((line for line in lines if line.get("final")), None)
        if final is None:
            raise InputError(
                f"--initial_run {directory} has not finished: let the command that started it go on first."
            )
        self.checkpoint = path_of(os.path.join(directory, "checkpoints"), final["step"])
        try:
            with open(os.path.join(self.checkpoint, STATE), encoding="utf-8") as file:
                sums = json.load(file)["sha256"]
            self.told = f"{phases} after {sums['model.keras'][:16]}{sums['optimizer.npz'][:16]}"
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged(error) from error

    def check(self, recipe):
        """Raises an `InputError` where a run with this recipe (dict, as in `recipe.json`) cannot begin with it."""
        recipe = json.loads(json.dumps(recipe))
        for name in _ALIKE:
            if self._recipe.get(name) != recipe.get(name):
                raise InputError(
                    f"--initial_run {self._directory} has the {name} {self._recipe.get(name)!r}, asked for is "
                    f"{recipe.get(name)!r}: give what it was trained with, or another run."
                )

    def load(self, checkpoints):
        """Loads its weights and its optimizer's state into those of `Checkpoints`.

        Returns:
            dict, the state of its last step, as `TrainState.to_json` gives it.

        Raises:
            InputError: if the checkpoint is not what was written.
        """
        try:
            return checkpoints.load_other(self.checkpoint)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error):
        return InputError(
            f"--initial_run {self._directory} has a damaged checkpoint, {self.checkpoint} ({one_line(error)}): put it "
            "back from a copy."
        )


def _of_initial_run(read, path):
    """Reads a file of the run that another one begins with; the error of a damaged one names the flag to change."""
    try:
        return read(path)
    except InputError as error:
        raise InputError(str(error).replace("--output_dir", "--initial_run")) from error
