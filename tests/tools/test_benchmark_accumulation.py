import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_accumulation.py"


def test_it_writes_both_speeds_and_their_ratio(tmp_path):
    flags = ["--preset", "tiny_24h", "--rows", "1", "--micro_batches", "2", "--seconds", "1", "--precision", "float32"]
    flags += ["--backend", keras.backend.backend(), "--json", str(tmp_path / "speed.json")]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "speed.json").read_text())
    ours, peer = result["ours"]["tokens_per_second"], result["peer"]["tokens_per_second"]
    assert result["ratio"] == pytest.approx(ours / peer)
    assert result["ours"]["micro_batches"] == 2
    assert result["turns"] >= 5
    assert f"ratio {result['ratio']:.3f}" in printed
