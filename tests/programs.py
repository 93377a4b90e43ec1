"""Recipes and tools as a user starts them: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def call(program, *arguments, first_on_path=REPOSITORY):
    """The finished process of a program (`recipes/frontier.py`) or a module (`budgetbert.report`), with its output."""
    program = [REPOSITORY / program] if program.endswith(".py") else ["-m", program]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{first_on_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
    )
