"""The files beside the package: what they name is there, and the versions that they state are the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from budgetbert import __version__

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def name_of(text):
    return re.sub(r"[-_.]+", "-", text).lower()


def test_one_version_stands_everywhere():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == __version__
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert f"\n## {__version__}\n" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_package_that_is_asked_for_has_a_pin_that_is_allowed():
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    extras = PROJECT["optional-dependencies"]
    asked = [
        *PROJECT["dependencies"],
        *(line for name in ("tensorflow", "jax", "torch", "test") for line in extras[name]),
    ]
    for requirement in map(Requirement, asked):
        if requirement.name != "budgetbert":
            assert requirement.specifier.contains(pins[name_of(requirement.name)]), requirement


@pytest.mark.parametrize("path", sorted((REPOSITORY / "docker").iterdir()), ids=lambda path: path.name)
def test_a_dockerfile_copies_and_installs_what_is_there(path):
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    told = {name: [rest for step, rest in steps if step == name] for name, _ in steps}
    assert set(told) <= {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    (image,) = told["FROM"]
    version = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", image)[1]
    assert SpecifierSet(PROJECT["requires-python"]).contains(version)
    copied = {name for rest in told["COPY"] for name in rest.split()[:-1]}
    assert all((REPOSITORY / name).exists() for name in copied)
    (install,) = told["RUN"]
    assert set(re.findall(r"/source/([\w.-]+)", install)) <= copied
    for extras in re.findall(r"/source\[([\w,-]+)\]", install):
        assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert yaml.safe_load(told["ENTRYPOINT"][0])[0] in PROJECT["scripts"]
