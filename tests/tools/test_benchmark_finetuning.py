import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.glue import folder

TOOL = Path(__file__).parents[2] / "tools" / "benchmark_finetuning.py"


def test_it_writes_both_speeds_and_their_ratio(tmp_path):
    flags = ["--glue_dir", folder.write(tmp_path / "glue", tasks=("RTE",)), "--preset", "tiny_crammed"]
    flags += ["--seconds", "1", "--precision", "float32", "--vocabulary_size", "200", "--json", tmp_path / "out.json"]
    environment = {**os.environ, "PYTHONPATH": str(TOOL.parents[1])}
    done = subprocess.run([sys.executable, TOOL, *flags], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    speed = {name: result[name]["examples_per_second"] for name in ("ours", "peer")}
    assert result["ratio"] == pytest.approx(speed["ours"] / speed["peer"])
    assert result["peer"]["mean_length"] == 128
    assert result["ours"]["mean_length"] < 40
    assert f"ratio {result['ratio']:.2f}" in done.stdout
