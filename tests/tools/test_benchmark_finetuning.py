"""Both sides of the benchmark of finetuning run, label each text, and are compared by medians."""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_finetuning.py"


def test_it_writes_the_seconds_of_both_and_their_ratios(tmp_path):
    for package in ("torch", "transformers", "accelerate"):
        pytest.importorskip(package)
    flags = ["--preset", "tiny_bert", "--texts", "64", "--predicted", "64", "--rounds", "1"]
    flags += ["--json", tmp_path / "out.json"]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "out.json").read_text())
    for key, part in result["seconds"].items():
        medians = {name: statistics.median(seconds) for name, seconds in part.items()}
        peer = min(medians["float32"], medians["bfloat16"])
        assert result["ratios"][key] == pytest.approx(peer / medians["ours"])
        assert f"ratio {result['ratios'][key]:.2f}" in printed
