"""A wheel holds all that the package needs: installed elsewhere, it draws the pages of a run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import check_page

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[1]


def pip(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no package index is reachable, from which a wheel takes its setuptools")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as its wheel holds it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for name in ("budgetbert", "recipes"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source)
    (wheel,) = folder.glob("*.whl")
    pip("install", "--quiet", "--no-deps", "--target", folder / "site", wheel)
    return folder / "site"


def test_every_file_of_the_package_is_in_it(installed):
    def files(folder):
        found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return {path for path in found if "__pycache__" not in path.parts}

    recipes = {Path("recipes") / path for path in files(REPOSITORY / "recipes")}
    assert files(installed / "budgetbert") == files(REPOSITORY / "budgetbert") | recipes


def test_its_command_names_and_runs_the_recipes_that_it_holds(installed, tmp_path):
    def budgetbert(*arguments):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        program = [sys.executable, installed / "bin" / "budgetbert"]
        return subprocess.run(
            [*program, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        ).stdout

    named = budgetbert("--help")
    for recipe in (REPOSITORY / "recipes").glob("*.py"):
        assert f"  {recipe.stem} " in named
    assert "--budget" in budgetbert("demo", "--help")


def test_it_draws_the_page_of_a_run_and_of_a_corpus(installed, finished_run, small_corpus, tmp_path):
    run, corpus = tmp_path / "run", tmp_path / "corpus"
    shutil.copytree(finished_run, run)
    shutil.copytree(small_corpus.directory, corpus)
    for directory in (run, corpus):
        (directory / "report.html").unlink(missing_ok=True)
        subprocess.run(
            [sys.executable, "-m", "budgetbert.report", str(directory)],
            env={**os.environ, "PYTHONPATH": str(installed)},
            cwd=tmp_path,
            check=True,
        )
        check_page((directory / "report.html").read_text(encoding="utf-8"))
