import json

import pytest

from tests.programs import call


def test_odd_rows_are_refused_in_one_sentence():
    done = call("tools/benchmark_levers.py", "--rows", "3")
    assert done.returncode and not done.stdout
    assert done.stderr.splitlines()[-1] == "--rows 3 is odd, and one lever halves them: give an even number."


@pytest.mark.parametrize(("backend", "own"), [("jax", {"scan", "copies"}), ("tensorflow", {"gelu", "norm"})])
def test_each_lever_is_timed_and_changes_no_gradient(backend, own, tmp_path):
    flags = ["--preset", "tiny_crammed", "--rows", "4", "--seconds", "0.1", "--backend", backend]
    done = call("tools/benchmark_levers.py", *flags, "--json", tmp_path / "levers.json")
    assert not done.returncode, done.stderr
    levers = json.loads((tmp_path / "levers.json").read_text())["levers"]
    assert {"as it is", "attention", "loss", "micro-batches"} | own <= set(levers)
    for name, figures in levers.items():
        assert figures["gradient_norm"] == pytest.approx(levers["as it is"]["gradient_norm"], rel=0.02)
        assert figures["ratio"] == pytest.approx(figures["milliseconds"] / levers["as it is"]["milliseconds"])
        assert name in done.stdout
