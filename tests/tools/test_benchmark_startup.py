import json

import pytest

from tests.programs import call

pytestmark = [pytest.mark.without_backend, pytest.mark.slow]


def test_it_times_a_start_to_its_first_step_and_the_import(small_corpus, tmp_path):
    flags = [
        "--corpus",
        small_corpus.directory,
        "--preset",
        "tiny",
        "--rounds",
        "1",
        "--json",
        tmp_path / "startup.json",
    ]
    done = call("tools/benchmark_startup.py", *flags)
    assert not done.returncode, done.stderr
    result = json.loads((tmp_path / "startup.json").read_text())
    assert result["warm_seconds"] > result["parts"]["compile"] > 0
    imports = result["import_seconds"]
    assert result["cold_seconds"] > imports["budgetbert.models"] > imports["budgetbert"]
    assert result["mistake_seconds"] < imports["budgetbert.models"]
    assert f"warm   {result['warm_seconds']:6.1f} s" in done.stdout


def test_a_corpus_that_is_not_there_is_named(tmp_path):
    done = call("tools/benchmark_startup.py", "--corpus", tmp_path / "none", "--rounds", "1")
    assert done.returncode and "none" in done.stderr
