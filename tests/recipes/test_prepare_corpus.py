import dataclasses
import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from budgetbert.corpus.options import Options
from tests.pages import Page

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[2]


def run(*flags):
    return subprocess.run(
        [sys.executable, REPOSITORY / "recipes" / "prepare_corpus.py", *map(str, flags)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def text(tmp_path):
    """A text file of 300 documents."""
    draw = random.Random(0)
    words = ["".join(draw.choices("abdeiklmnorstu", k=draw.randint(1, 7))) for _ in range(500)]
    documents = [" ".join(draw.choices(words, k=draw.randint(20, 60))) for _ in range(300)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(documents))
    return path


def test_text_becomes_rows_and_the_same_command_again_is_done_already(tmp_path, text):
    flags = ("--corpus", text, "--output_dir", tmp_path / "corpus", "--vocabulary_size=512", "--workers=1", "--verify")
    done = run(*flags)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    rows = np.load(tmp_path / "corpus" / "train-00000.npy")
    assert rows.shape == (manifest["counts"]["rows"]["train"], 128)
    assert rows.dtype == np.uint16
    for shown in (f"{len(rows):,}", "512 entries, lower-cased, without accents", str(tmp_path / "corpus"), "sha256"):
        assert shown in done.stdout
    assert f"Report: {tmp_path / 'corpus' / 'report.html'}\n" in done.stdout
    page = Page((tmp_path / "corpus" / "report.html").read_text(encoding="utf-8")).text
    assert f"prepare_corpus.py {' '.join(map(str, flags))} " in page
    again = run(*flags)
    assert (again.returncode, again.stdout) == (0, done.stdout)


def test_flags_reach_the_manifest(tmp_path, text):
    flags = (
        "--nolowercase --nostrip_accents --sequence_length=64 --row_start=cls --validation_fraction=0.1 --rows=packed "
        "--dedup=near --filter=t=0.9 --min_characters=50 --order=frequent_first --drop_repeated_lines --workers=1"
    )
    done = run("--corpus", text, "--output_dir", tmp_path / "corpus", *flags.split(), "--vocabulary_size=300")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "corpus" / "manifest.json").read_text())
    assert manifest["normalizer"] == {"lowercase": False, "strip_accents": False, "kind": "bert"}
    assert (manifest["sequence_length"], manifest["row_start"], manifest["rows_kind"]) == (64, "cls", "packed")
    assert manifest["validation_fraction"] == 0.1
    given = {
        "dedup": "near",
        "filter": 0.9,
        "min_characters": 50,
        "order": "frequent_first",
        "drop_repeated_lines": True,
    }
    assert given.items() <= manifest["options"].items()
    assert manifest["vocabulary"]["size"] == 320  # the next multiple of 64


def test_help_lists_every_option():
    done = run("--help")
    assert done.returncode == 0
    shown = " ".join(done.stdout.split())
    for name in ("corpus", "output_dir", "workers", "engine", "[no]verify"):
        assert f"--{name}: " in shown
    fields = [field for field in dataclasses.fields(Options) if field.name != "normalizer_of_model"]
    for field in fields:
        assert f"--{'[no]' * (field.type is bool)}{field.name}: {field.metadata['help']}" in shown


def test_an_existing_corpus_can_be_verified(tmp_path, text):
    run("--corpus", text, "--output_dir", tmp_path / "corpus", "--vocabulary_size=512", "--workers=1")
    assert run("--output_dir", tmp_path / "corpus", "--verify").returncode == 0
    shard = tmp_path / "corpus" / "train-00000.npy"
    data = bytearray(shard.read_bytes())
    data[5000] ^= 1
    shard.write_bytes(data)
    lines = assert_refused(run("--output_dir", tmp_path / "corpus", "--verify"), "1 file is not as the manifest says")
    assert "train-00000.npy is damaged" in lines[0]


def assert_refused(done, told):
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().split("\n")
    assert told in lines[-1]
    assert any(line.startswith("prepare_corpus.py: ") for line in lines)
    assert "Traceback" not in done.stderr
    return lines


def bad_inputs():
    """Yields (what is wrong, flags, a part of the sentence); {} is a folder with text.txt and the files below."""
    corpus, output = "--corpus={}/text.txt", "--output_dir={}/out"
    yield "no output", [corpus], "--output_dir is missing"
    yield "no corpus", [output], "--corpus is missing"
    yield "unknown flag", [corpus, output, "--sequence_lenght=64"], "Unknown command line flag 'sequence_lenght'"
    yield "argument", [corpus, output, "text.txt"], "'text.txt' is not a flag"
    yield "no number", [corpus, output, "--sequence_length=long"], "sequence_length"
    yield "other rows", [corpus, output, "--rows=columns"], "--rows=columns is unknown: give packed or sentences or"
    yield "other order", [corpus, output, "--order=up"], "--order=up is unknown: give shuffled or frequent_first or"
    yield "no duplicates", [corpus, output, "--dedup=all"], "--dedup=all is unknown: give none, exact, near or substr"
    yield "short stretches", [corpus, output, "--dedup=substring:3"], "would drop common phrases"
    yield "other filter", [corpus, output, "--filter=0.3"], "--filter=0.3 is unknown: give none, or t=0.3"
    yield "filter of all", [corpus, output, "--filter=t=0.01"], "holds no text that is kept, of 300"
    yield "language", [corpus, output, "--language=klingon"], "the language 'klingon' is unknown"
    yield "less than none", [corpus, output, "--min_characters=-1"], "--min_characters=-1 is out of range"
    yield "start of sentences", [corpus, output, "--rows=sentences", "--row_start=cls"], "have [CLS] anyway"
    yield "short rows", [corpus, output, "--sequence_length=1"], "--sequence_length=1 is out of range"
    yield "large share", [corpus, output, "--validation_fraction=0.9"], "--validation_fraction=0.9 is out of range"
    yield (
        "small vocabulary",
        [corpus, output, "--vocabulary_size=10"],
        "--vocabulary_size=10 is out of range: give 256 to",
    )
    yield "no workers", [corpus, output, "--workers=0"], "--workers=0: 0 is not an integer in the range"
    yield "two vocabularies", [corpus, output, "--vocabulary=v", "--vocabulary_size=512"], "exclude each other"
    yield "no vocabulary", [corpus, output, "--vocabulary={}/gone.txt"], "gone.txt: the vocabulary cannot be read"
    yield "bad vocabulary", [corpus, output, "--vocabulary={}/text.txt"], "is empty"
    yield "missing", ["--corpus={}/gone", output], "there is no such file or folder"
    yield "empty source", [f"{corpus},", output], "names an empty source"
    yield "empty folder", ["--corpus={}/empty", output], "holds no text file"
    yield "empty file", ["--corpus={}/empty.txt", output], "holds no text"
    yield "one document", ["--corpus={}/one.txt", output], "holds only one document"
    yield "folder for datasets", ["--corpus=hf:{}/empty", output], "cannot be opened"
    yield "weight", [f"{corpus}@0.7,demo", output], "demo has no weight"
    yield "JSON", ["--corpus={}/bad.jsonl", output], "bad.jsonl, line 1: this is not JSON"
    yield "field", ["--corpus={}/field.jsonl", output], "field.jsonl, line 1: the object has no string"
    yield "UTF-8", ["--corpus={}/latin.txt", output], "latin.txt, byte 4 of line 1: the text is not UTF-8"
    yield "archive", ["--corpus={}/broken.txt.gz", output], "broken.txt.gz, behind byte"
    yield "taken", [corpus, "--output_dir={}"], "holds something that is not a prepared corpus"
    yield "a file is there", [corpus, "--output_dir={}/text.txt/corpus"], "cannot be made"
    yield "not prepared", ["--output_dir={}/empty", "--verify"], "is not a prepared corpus"


@pytest.mark.parametrize(("flags", "told"), [pytest.param(*case[1:], id=case[0]) for case in bad_inputs()])
def test_bad_input_is_one_sentence_and_code_2(tmp_path, text, flags, told):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "one.txt").write_text("Only one document.\nWith two lines.\n")
    (tmp_path / "bad.jsonl").write_text('{"text"\n')
    (tmp_path / "field.jsonl").write_text('{"body": "one"}\n')
    (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "broken.txt.gz").write_bytes(gzip.compress(text.read_bytes())[:500])
    flags = [flag.replace("{}", str(tmp_path)) for flag in flags]
    lines = assert_refused(run("--workers=1", *flags), told)
    bars = ("Reading", "Finding", "Counting", "Training", "Filtering")
    assert all(line.startswith(bars) for line in lines[:-1])  # nothing but progress before the sentence
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.preparing").exists()
