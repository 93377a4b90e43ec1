import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "profile_step.py"


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_parts_of_a_step_add_up(backend, tmp_path):
    pytest.importorskip(backend)
    flags = ["--preset", "tiny_24h", "--backend", backend, "--rows", "4", "--steps", "2", "--precision", "float32"]
    flags += ["--operations", "2", "--json", tmp_path / "parts.json"]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "parts.json").read_text())
    parts = result["parts"]
    named = ("embedding", "attention", "feed_forward", "head", "optimizer")
    assert all(parts[part]["milliseconds"] > 0 for part in named)
    assert all(parts[part]["floor_milliseconds"] > 0 for part in named[1:])
    total = sum(figures["milliseconds"] for figures in parts.values())
    assert parts["other"]["milliseconds"] < 0.3 * total
    assert 0.3 < total / sum(result["milliseconds"].values()) < 2.5  # other work on the machine stretches either
    assert "sum" in printed
