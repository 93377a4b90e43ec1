import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from budgetbert.corpus.prepare import prepare_corpus

pytestmark = pytest.mark.without_backend

pytest.importorskip("datatrove", reason="datatrove, the extra of that name, is not installed")

RECIPE = Path(__file__).parents[3] / "recipes" / "prepare_corpus.py"


def prepare(*flags):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, RECIPE, *map(str, flags)], capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_two_workers_of_datatrove_give_the_shards_of_the_plain_path(tmp_path, make_documents):
    (tmp_path / "text").mkdir()
    for number in range(3):
        documents = [*make_documents(200, seed=number), *make_documents(20)]
        lines = "\n".join(json.dumps({"text": document}) for document in documents)
        (tmp_path / "text" / f"{number}.jsonl").write_text(lines)
    (tmp_path / "text" / "empty.txt").touch()
    options = {
        "vocabulary_size": 512,
        "sequence_length": 32,
        "filter": "t=0.9",
    }
    plain = prepare_corpus(str(tmp_path / "text"), tmp_path / "plain", workers=1, **options)
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    shared = ("--corpus", tmp_path / "text", "--output_dir", tmp_path / "shared", "--verify")
    done = prepare(*shared, "--engine", "datatrove", "--workers", 2, *flags)
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "shared" / "manifest.json").read_text())
    for key in ("shards", "counts", "vocabulary", "filters", "token_frequencies"):
        assert told[key] == plain.manifest[key]
    assert [source["removed"] for source in told["sources"]] == [{"duplicate": 60}]
    assert list(tmp_path.glob("shared.*")) == []


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "train.jsonl").write_text('{"text": "one"}')
    data = f"hf:{tmp_path / 'text'}"
    done = prepare("--corpus", data, "--output_dir", tmp_path / "corpus", "--engine", "datatrove", "--workers", 2)
    assert (done.returncode, done.stderr.count(f"{data} can only be read by this machine")) == (2, 1)


@pytest.mark.slow
def test_by_default_a_worker_of_datatrove_has_a_core_that_may_be_used(tmp_path):
    program = (
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from recipes import prepare_corpus\n"
        f"print(prepare_corpus.datatrove_workers(None, {str(tmp_path)!r}).number)"
    )
    environment = os.environ | {"PYTHONPATH": str(RECIPE.parents[1])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.split() == ["1"], done.stderr
