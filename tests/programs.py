"""Recipes and tools as a user starts them: in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]


def call(program, *arguments):
    """The finished process of a program, as `tools/compare_runs.py`, with its output as text."""
    return subprocess.run(
        [sys.executable, REPOSITORY / program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
