import json

import numpy as np
import pytest

from tests.programs import call

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]


def test_sizes_are_varied_and_fitted_and_clusters_projected(tmp_path):
    path = tmp_path / "scaling.json"
    flags = ["--preset", "tiny_24h", "--rows", "2", "--seconds", "0.1", "--factors", "2", "--precision", "float32"]
    done = call("tools/benchmark_scaling.py", *flags, "--sizes", "rows,layers,length", "--devices", "2", "--json", path)
    assert not done.returncode, done.stderr
    result = json.loads(path.read_text())
    check_points(result)
    check_projection(result)
    assert "Projected" in done.stdout


def check_points(result):
    base, *varied, split = result["points"]
    assert (split["size"], split["factor"], split["costs"]) == ("devices", 2, base["costs"])
    assert [point["size"] for point in varied] == ["rows", "layers", "length"]
    for point in varied:
        assert point["seconds"] == pytest.approx(point["ratio"] * base["seconds"])
    (flops, activations, weights), doubled = base["costs"], varied[0]["costs"]
    assert doubled == [2 * flops, 2 * activations, weights]
    assert varied[1]["costs"][1] == 2 * activations and varied[1]["costs"][2] > weights
    assert varied[2]["costs"][2] == weights and varied[2]["costs"][1] > activations
    costs = np.array([[1, *point["costs"]] for point in (base, *varied)])
    seconds = [point["seconds"] for point in (base, *varied)]
    np.testing.assert_allclose(costs @ result["coefficients"] / seconds - 1, result["errors"], atol=1e-6)
    assert min(result["coefficients"]) >= 0


def check_projection(result):
    row = next(x for x in result["projection"] if x["recipe"] == "24hBERT" and x["link"] == "PCIe 3.0 x16")
    # BERT-large: 24 layers of 12 x 1,024^2, a table of 30,528 x 1,024, and 6 FLOPs a weight and token
    sums = 2 * 7 / 8 * 4 * (24 * 12 * 1024**2 + 30_528 * 1024) / 15.75e9
    assert row["communication"] * row["step_seconds"] == pytest.approx(sums)
    products = 6 * 24 * 12 * 1024**2 + 12 * 24 * 128 * 1024 + 6 * 19 / 128 * (1024 * 30_528 + 1024**2)
    assert row["step_seconds"] - sums == pytest.approx(4096 * 128 * products / (8 * 395e12))
    assert row["hours"] == pytest.approx(12.1e9 / (4096 * 128) * row["step_seconds"] / 3600)
