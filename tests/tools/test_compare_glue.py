import pytest

from tests.glue.results import make_result, write
from tests.programs import call


@pytest.fixture
def results(tmp_path):
    """The paths of a result and a baseline."""
    for name in ("ours", "baseline"):
        (tmp_path / name).mkdir()
    ours = make_result(cola={"matthews": [0.3, 0.31, 0.32]}, sst2={"accuracy": [0.79]})
    baseline = make_result(True, cola={"matthews": [0.0, 0.01, 0.02]}, sst2={"accuracy": [0.78]})
    return write(tmp_path / "ours", ours), write(tmp_path / "baseline", baseline)


def test_a_result_is_compared_with_its_baseline(results, tmp_path):
    done = call("tools/compare_glue.py", *results)
    assert done.returncode == 0, done.stderr
    assert "cramming_24h mini_crammed against A random initialisation. Protocol `cramming`" in done.stdout
    assert "| CoLA | Matthews | 31.0 | 1.0 | +30.0 | 4.0 | beaten | twice the spread of 3 seeds |" in done.stdout
    assert "| SST-2 | accuracy | 79.0 | 78.0 | +1.0 | 2.8 | not beaten | one seed: twice the" in done.stdout
    assert not (tmp_path / "ours" / "glue.md").exists()


def test_the_pages_are_written_with_the_baseline_on_request(results, tmp_path):
    done = call("tools/compare_glue.py", *results, "--report")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(str(tmp_path / "ours" / "glue.html"))
    assert "Against the baseline" in (tmp_path / "ours" / "glue.html").read_text(encoding="utf-8")
    assert "Against the baseline" in (tmp_path / "ours" / "glue.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "0 files are given"), (["a"], "1 files are given"), (["a.json", "b.json"], "a.json does not exist")],
)
def test_bad_input_is_one_sentence_and_code_2(names, message):
    done = call("tools/compare_glue.py", *names)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
