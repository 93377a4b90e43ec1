import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_serving.py"


def test_it_writes_both_latencies_and_their_ratio(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    flags = ["--preset", "tiny_bert", "--batches", "2", "--lengths", "16", "--seconds", "1"]
    flags += ["--json", tmp_path / "out.json"]
    printed = subprocess.run([sys.executable, TOOL, *flags], capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "out.json").read_text())
    (case,) = result["cases"]
    assert (case["batch"], case["length"]) == (2, 16)
    ours, peer = result["ours"]["milliseconds"], result["peer"]["milliseconds"]
    assert result["ratio"] == pytest.approx(peer / ours)
    variants = {"ours, float16 weights", "ours, int8 weights", "ours, padded to 128"}
    assert {"ours", "peer", *variants} <= set(case["milliseconds"])
    assert f"ratio {result['ratio']:.2f}" in printed
