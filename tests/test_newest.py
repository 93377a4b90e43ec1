"""The newest Keras and KerasHub, where they are newer than those that are installed."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("keras", "keras-hub")
# What leans on the insides of both: the two paths of the tokenizer, quantization, presets, LoRA, `fit` on texts.
TESTS = ("test_tokenizer", "test_quantize", "test_lora", "test_datasets", "test_masked_lm", "test_clone")


def test_models_work_with_the_newest_releases(tmp_path):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), *PACKAGES]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no package index is reachable")
    found = {path.metadata["Name"]: path.version for path in importlib.metadata.distributions(path=[str(tmp_path)])}
    if found == {name: importlib.metadata.version(name) for name in PACKAGES}:
        pytest.skip(f"the newest are installed: {found}")
    files = [f"tests/models/{name}.py" for name in TESTS]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *files],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{found}\n{done.stdout[-3000:]}"
