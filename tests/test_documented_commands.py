"""What README and the pages tell a user to type: flags that exist and values that are read, Python that runs.

`.ci/run` runs README's first two blocks whole.
"""

import ast
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import budgetbert
from budgetbert import __main__ as command

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# Experiments of the past were run with the flags of their day.
PAGES.remove(REPOSITORY / "docs" / "LOG.md")
PROGRAM = re.compile(r"(?:^|[\s;(`])(?:python (?:-m )?)(recipes/\w+\.py|budgetbert\.report)(?=\s|$)(.*)")
READS_FLAGS = """
import importlib, json, sys
from absl import flags
name, lines = sys.argv[1], json.loads(sys.argv[2])
sys.argv = ["program"]
sys.path.insert(0, "recipes")
importlib.import_module(name)
wrong = []
for line in lines:
    flags.FLAGS.unparse_flags()
    try:
        flags.FLAGS(["program", *line])
    except flags.Error as error:
        wrong.append(f"{line}: {error}")
print(json.dumps(wrong))
"""


def text_of(page):
    return page.read_text(encoding="utf-8")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def commands(page):
    """The programs that a page has in blocks and between backticks, each with its words."""
    inside = [*blocks(page, "bash"), *blocks(page, "text"), *re.findall(r"(?<!`)`(python [^`]+)`", text_of(page))]
    for block in inside:
        for line in re.sub(r"\\\n\s*", " ", block).replace("\n", "\n").splitlines():
            line = re.sub(r"\s+#.*", "", line)
            if found := PROGRAM.search(line):
                words = shlex.split(re.split(r"\s(?:[|;&>]|2>)", found[2])[0].strip().rstrip("`"))
                yield found[1], words


def documented():
    told = {}
    for page in PAGES:
        for program, words in commands(page):
            told.setdefault(program, []).append(words)
    return told


@pytest.fixture(scope="module")
def refused():
    """Of each program, what its flags refuse of the documented commands; all programs at once."""
    told = documented()
    started = {}
    for program, lines in told.items():
        name = program if program == "budgetbert.report" else Path(program).stem
        arguments = [sys.executable, "-c", READS_FLAGS, name, json.dumps(lines)]
        started[program] = subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    return {program: json.loads(process.communicate()[0]) for program, process in started.items()}


def test_every_documented_command_has_flags_that_exist_and_values_that_are_read(refused):
    assert sum(map(len, documented().values())) > 60
    assert set(refused) == {*(f"recipes/{name}.py" for name in command.recipes()), "budgetbert.report"}
    assert not [line for lines in refused.values() for line in lines]


def test_every_file_that_readme_links_to_is_there():
    links = re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", text_of(REPOSITORY / "README.md"))
    assert len(links) > 20
    for path, anchor in links:
        assert (REPOSITORY / path).is_file(), path
        if anchor:
            titles = re.findall(r"^#+ (.+)$", text_of(REPOSITORY / path), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, anchor


def test_readme_fits_a_screen_and_a_half_with_its_two_blocks_first():
    readme = text_of(REPOSITORY / "README.md")
    assert len(readme.splitlines()) < 110
    first, second = blocks(REPOSITORY / "README.md", "bash")
    assert "recipes/frontier.py --demo" in first
    assert "pytest" in second
    assert re.search(r"^for backend", second, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_on_a_page_is_python_and_names_what_there_is(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "budgetbert":
                assert hasattr(budgetbert, node.attr), node.attr
            if isinstance(node, ast.ImportFrom) and node.module.startswith("budgetbert"):
                module = __import__(node.module, fromlist=["*"])
                assert all(hasattr(module, name.name) for name in node.names)


def test_readme_s_python_runs_on_a_finished_run(finished_run):
    (block,) = blocks(REPOSITORY / "README.md", "python")
    names = {}
    exec(block.replace("runs/demo", str(finished_run)), names)
    assert isinstance(names["model"], keras.Model)
