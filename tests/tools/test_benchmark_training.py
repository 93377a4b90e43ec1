import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_training.py"


def test_it_writes_both_speeds_and_their_ratio(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    flags = ["--preset", "tiny_24h", "--rows", "2", "--seconds", "1", "--json", str(tmp_path / "speed.json")]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "speed.json").read_text())
    ours, peer = result["ours"]["tokens_per_second"], result["peer"]["tokens_per_second"]
    assert result["ratio"] == pytest.approx(ours / peer)
    assert 0 < result["ours"]["share_of_matmul_rate"] < 1.5
    assert f"ratio {result['ratio']:.2f}" in printed
