"""What pyproject.toml cannot say: `recipes/`, which people read and run, is `budgetbert.recipes` in a wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["budgetbert*"]), "budgetbert.recipes"],
    package_dir={"budgetbert.recipes": "recipes"},
)
