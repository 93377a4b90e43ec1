"""budgetbert: pretrain the best BERT-like encoder that a fixed budget buys.

budgetbert demo                 the first run: a small model in four minutes on a laptop
budgetbert RECIPE --flag ...    a recipe; budgetbert RECIPE --help has its flags
budgetbert report RUN ...       the page of a run, a corpus or a result; several are compared
"""

import importlib.util
import os
import runpy
import sys
from pathlib import Path

from budgetbert import __version__
from budgetbert.terminal import LastingConsole
from budgetbert.training.run.display import print_phrases

_DEMO = ("--demo", "--output_dir", "runs/demo")


def recipes():
    """Returns the recipes as dict of names to `Path`: in a wheel a package, in a clone a folder beside it."""
    packed = importlib.util.find_spec("budgetbert.recipes")
    folder = packed.submodule_search_locations[0] if packed else Path(__file__).parents[1] / "recipes"
    return {path.stem: path for path in sorted(Path(folder).glob("[a-z]*.py"))}


def first_sentence(path):
    """Returns what the docstring of a recipe opens with: what it is."""
    with open(path, encoding="utf-8") as file:
        return file.readline().strip().strip('"')


def command_of(arguments):
    """Returns the program of a command line, and its own command line.

    Args:
        arguments: list of str, what stands behind `budgetbert`.

    Returns:
        Tuple of `Path` of the program and list of str, or `None` where nothing of that name is there.
    """
    name, *rest = arguments
    name = name.replace("-", "_")
    found = {**recipes(), "report": Path(__file__).with_name("report.py")}
    if name == "demo":
        return found["frontier"], [*_DEMO, *rest]
    return (found[name], rest) if name in found else None


def main():
    """Runs the recipe that the command line names."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "--version":
        print(__version__)
        return
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(__doc__)
        print_phrases([(name, first_sentence(path)) for name, path in recipes().items()], "Recipes", LastingConsole())
        return
    command = command_of(arguments)
    if command is None:
        print(f"budgetbert: {arguments[0]!r} is no recipe: see budgetbert --help.", file=sys.stderr)
        sys.exit(2)
    program, sys.argv[1:] = command
    sys.argv[0] = os.fspath(program)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
