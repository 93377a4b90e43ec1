"""The floors of the house: who may import whom."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[1]


def test_a_file_imports_from_lower_floors_and_without_circles():
    pytest.importorskip("importlinter")
    program = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[done.stdout.index("Contracts") :]


def test_nothing_imports_the_insides_of_keras():
    inside = re.compile(r"\bkeras(?:_hub)?[.]src\b")
    rooms = ("budgetbert", "recipes", "tests", "tools")
    files = [
        file for room in rooms for file in (REPOSITORY / room).rglob("*") if file.suffix in (".py", ".md", ".html")
    ]
    assert len(files) > 200
    assert [str(file) for file in files if inside.search(file.read_text(encoding="utf-8"))] == []
