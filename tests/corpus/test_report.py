import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.report import render, write_report
from budgetbert.errors import InputError
from tests.pages import Page, check_page

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[2]
MARKUP = 'if a < b and <script src="x">alert(1) & so on'  # cleaning drops whole elements, not what is left open


@pytest.fixture(scope="module", params=["packed", "sentences", "pairs"])
def corpus(request, tmp_path_factory):
    """A corpus of two sources with markup in it, of which much is left out."""
    folder = tmp_path_factory.mktemp(request.param)
    sentences = [
        f"the {noun} of {place} is old" for noun in ("cat", "king", "tree") for place in ("rome", "ulm", "bath")
    ]
    documents = [f"{'. '.join(sentences[i % 9 :] + sentences[: i % 9])}. code {i}: {MARKUP}." for i in range(120)]
    short = [f"{i} too short {MARKUP}"[:70] for i in range(7)]
    noise = " ".join("".join(random.Random(seed).choices("qxzjvkw#%~^", k=9)) for seed in range(60))
    first = [*documents, *documents[:6], *short, noise]
    (folder / "one.jsonl").write_text("\n".join(json.dumps({"text": document}) for document in first))
    second = [f"{'. '.join(reversed(sentences))}. number {i} of {i * i} long ones." * 4 for i in range(40)]
    (folder / "two.txt").write_text("\n\n".join(second))
    sources = f"{folder}/one.jsonl,{folder}/two.txt"
    options = {"rows": request.param, "min_characters": 80, "filter": "t=0.6", "validation_fraction": 0.1}
    return prepare_corpus(
        sources, folder / "corpus", vocabulary_size=256, sequence_length=64, row_start="none", workers=1, **options
    )


def tables(source, heading):
    """The cells of the tables of a section, row by row."""
    section = source.split(f"<h2>{heading}")[1].split("<h2>")[0]
    rows = (re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL) for row in re.findall(r"<tr.*?</tr>", section, re.DOTALL))
    return [[re.sub(r"<small>.*?</small>|<[^>]*>", "", cell) for cell in row] for row in rows]


def number(cell):
    return 0 if cell == "–" else int(cell.replace(",", ""))


def test_every_preparation_leaves_a_page_that_fetches_nothing(corpus):
    source = (corpus.directory / "report.html").read_text(encoding="utf-8")
    check_page(source)
    assert source == render(corpus)  # a second time the same


def test_the_page_states_the_numbers_of_the_manifest(corpus):
    manifest = corpus.manifest
    counts, text = manifest["counts"], Page(render(corpus)).text
    for stated in (
        f"in {counts['rows']['train']:,} rows of 64",
        f"{counts['tokens']['validation']:,} tokens held out, in {counts['rows']['validation']:,} rows",
        f"{manifest['validation_unigram_entropy']:.3f} nats",
        f"of {counts['documents_read']:,} read",
        f"For training {manifest['sources'][0]['training']:,} {manifest['sources'][1]['training']:,} ",
        f"{counts['documents']['train']:,}",
        f"{manifest['token_frequencies']['never']:,} never occur",
        "a vocabulary of 256, lower-cased, without accents",
        manifest["vocabulary"]["sha256"],
        *(shard["sha256"] for shard in manifest["shards"]),
        *(source["sha256"] for source in manifest["sources"]),
        manifest["circumstances"]["packages"]["tokenizers"],
        corpus.fingerprint,
        "min characters 80",
    ):
        assert stated in text, stated
    for entry, count in manifest["token_frequencies"]["most_frequent"][:20]:
        if entry not in corpus.special_ids:
            assert f"{entry} {count / sum(counts['tokens'].values()):.2%}" in text


def test_the_sources_on_the_page_add_up(corpus):
    _, *rows, total = tables(render(corpus), "Sources")
    keys = ("documents_read", "documents", "characters_read", "characters", "tokens")
    for row, source in zip(rows, corpus.manifest["sources"], strict=True):
        assert [number(cell) for cell in row[1:6]] == [source[key] for key in keys]
    columns = zip(*(row[1:6] for row in rows), strict=True)
    assert [number(cell) for cell in total[1:6]] == [sum(map(number, column)) for column in columns]
    assert number(total[5]) == sum(corpus.manifest["counts"]["tokens"].values())


def test_what_was_left_out_adds_up_and_has_examples(corpus):
    source = render(corpus)
    heading, read, *lost, training, held_out = tables(source, "What was left out")
    assert heading[1:] == ["one.jsonl", "two.txt", "together", "share"]
    assert [row[0] for row in lost] == ["Too short", "Duplicates", "Incompressible"]
    assert [number(row[3]) for row in lost] == [7, 6, 1]
    for column in (1, 2, 3):
        kept = number(training[column]) + number(held_out[column])
        assert number(read[column]) - sum(number(row[column]) for row in lost) == kept > 0
    for row in (read, *lost, training, held_out):
        assert number(row[1]) + number(row[2]) == number(row[3])
    flexes = [float(flex) for flex in re.findall(r"flex:([\d.]+) ", source)]
    assert sum(flexes) == pytest.approx(1000, abs=0.1)
    for told in corpus.manifest["filters"].values():
        for example in told["examples"]:
            assert " ".join(example.split()) in Page(source).text
        assert len(told["examples"]) == min(5, told["documents"])


def test_markup_in_a_document_stays_text(corpus):
    source = render(corpus)
    assert "too short if a < b and <script src=" in Page(source).text  # Page lets no script pass as a tag
    assert "<script" not in source
    assert "&lt;script" in source


def test_the_rows_on_the_page_are_those_on_disk(corpus):
    source = render(corpus)
    for split, heading, wanted in (("train", "Training", 10), ("validation", "Held out", 2)):
        listed = re.search(rf"{heading} <span>(\d+) of ([\d,]+)</span></h3>\s*<ol.*?</ol>", source, re.DOTALL)
        assert number(listed[2]) == len(corpus.rows(split))
        rows = re.findall(r"<li>.*?</li>", listed[0], re.DOTALL)
        assert len(rows) == int(listed[1]) == min(wanted, len(corpus.rows(split)))
        for row in rows:
            place, written = re.fullmatch(r'<li><div class="number">row ([\d,]+)(.*)</li>', row, re.DOTALL).groups()
            ids = corpus.rows(split)[[number(place)]][0].tolist()
            label, _, written = written.partition("</div>")
            if corpus.rows_kind == "pairs":
                is_random = corpus.labels(split)[[number(place)]][0]
                assert ("another place" if is_random else "follows") in label
            padding = ids.count(corpus.special_ids["[PAD]"])
            tokens = "".join(corpus.vocabulary[index].removeprefix("##") for index in ids).replace("[PAD]", "")
            assert "".join(Page(written).text.split()) == tokens + (f"[PAD]×{padding}" if padding else "")
            marked = re.findall(r'<b class="(?:special|unknown)">(\[\w+\])', written)
            special = [corpus.vocabulary[index] for index in ids if index in corpus.special_ids.values()]
            assert [token for token in marked if token != "[PAD]"] == [one for one in special if one != "[PAD]"]


def test_a_page_can_be_written_again_without_the_text(corpus, tmp_path):
    shutil.copytree(corpus.directory, tmp_path / "moved")
    before = (tmp_path / "moved" / "report.html").read_text(encoding="utf-8")
    (tmp_path / "moved" / "report.html").unlink()
    manifest = corpus.manifest | {"notes": ["a <note> that warns of \ud83d"]}  # half of a pair of surrogates
    del manifest["circumstances"], manifest["sha256"]  # as of an older version
    (tmp_path / "moved" / "manifest.json").write_text(json.dumps(manifest))
    assert write_report(tmp_path / "moved") == str(tmp_path / "moved" / "report.html")
    after = (tmp_path / "moved" / "report.html").read_text(encoding="utf-8")
    assert "A <note> that warns of ?" in Page(after).text
    rows = [page.split("<h2>Some rows")[1].split("<h2>")[0] for page in (before, after)]
    assert rows[0] == rows[1]
    assert sorted(path.name for path in (tmp_path / "moved").iterdir()) == sorted(os.listdir(corpus.directory))


def test_a_long_row_unfolds(tmp_path, text_file):
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", vocabulary_size=256, sequence_length=300, workers=1)
    source = (tmp_path / "corpus" / "report.html").read_text(encoding="utf-8")
    check_page(source)
    shown = min(10, len(corpus.rows("train"))) + min(2, len(corpus.rows("validation")))
    assert source.count("100 more tokens") == shown


def test_what_is_no_corpus_has_no_page(tmp_path):
    with pytest.raises(InputError, match="is not a prepared corpus"):
        write_report(tmp_path)


def test_a_preparation_starts_without_keras_and_without_matplotlib():
    code = "import sys, budgetbert.corpus.prepare; assert not {'keras', 'tensorflow', 'matplotlib'} & set(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
