import json
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]

TOOLS = pathlib.Path(__file__).parents[2] / "tools"
WITHOUT_TENSORFLOW = """
import runpy, sys
sys.modules["tensorflow"] = None
sys.path.insert(0, {folder!r})
runpy.run_path({folder!r} + "/benchmark_training.py", run_name="__main__")
"""


def benchmark(tmp_path, program, *flags):
    """Runs the tool; returns what it printed and what it wrote."""
    flags = ["--rows", "2", "--seconds", "1", "--precision", "float32", "--json", tmp_path / "speed.json", *flags]
    printed = subprocess.run([sys.executable, *program, *flags], capture_output=True, text=True, check=True).stdout
    return printed, json.loads((tmp_path / "speed.json").read_text())


def test_it_writes_both_speeds_and_their_ratio(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    printed, result = benchmark(tmp_path, [TOOLS / "benchmark_training.py"], "--preset", "tiny_24h")
    ours, peer = result["ours"]["tokens_per_second"], result["peer"]["tokens_per_second"]
    assert result["ratio"] == pytest.approx(ours / peer)
    assert 0 < result["ours"]["share_of_matmul_rate"] < 1.5
    assert result["ours"]["memory_bytes"] > 0
    assert "MegatronBertForMaskedLM, eager" in result["peer"]["model"]
    assert f"ratio {result['ratio']:.2f}" in printed


def test_jax_against_the_compact_peer_needs_no_tensorflow(tmp_path):
    pytest.importorskip("jax")
    pytest.importorskip("torch")
    flags = ["--backend", "jax", "--preset", "tiny_crammed", "--peer", "compiled", "--compile_mode", "none"]
    program = ["-c", WITHOUT_TENSORFLOW.format(folder=str(TOOLS))]
    _, result = benchmark(tmp_path, program, *flags)
    assert result["predictions_per_row"] == 32
    assert "crammed_torch.py, eager" in result["peer"]["model"]


def test_the_compact_peer_is_of_one_family():
    flags = ["--preset", "tiny_24h", "--peer", "compiled"]
    done = subprocess.run([sys.executable, TOOLS / "benchmark_training.py", *flags], capture_output=True, text=True)
    assert done.returncode == 1
    assert "take --peer hf" in done.stderr
