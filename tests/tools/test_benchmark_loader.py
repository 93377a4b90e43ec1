import json
import pathlib
import subprocess
import sys

import pytest

TOOL = pathlib.Path(__file__).parents[2] / "tools" / "benchmark_loader.py"


def test_it_compares_what_two_processes_read_with_a_consumption(tmp_path):
    flags = ["--rows", "16", "--vocabulary_size", "256", "--seconds", "1", "--consumption", "1000"]
    flags += ["--json", tmp_path / "loader.json"]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "loader.json").read_text())
    assert result["processes"] == 2
    assert result["ours"]["tokens_per_second"] == pytest.approx(128 * result["ours"]["rows_per_second"])
    assert result["ratio"] == pytest.approx(result["ours"]["tokens_per_second"] / 1000)
    assert f"ratio {result['ratio']:.2f}" in printed
