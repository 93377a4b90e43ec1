"""What a preparation that ended early leaves, and what goes on from it."""

import errno
import os

import datasets
import pytest

from budgetbert.corpus import prepare, report, staging, store
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.sources import hub
from budgetbert.corpus.sources.text import FileSource
from budgetbert.corpus.stages import read as reading
from budgetbert.errors import InputError

pytestmark = pytest.mark.without_backend

SMALL = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


def interrupted(monkeypatch, source, output_dir, **options):
    """A preparation that ends once its documents are encoded."""

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "write_shards", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare_corpus(source, output_dir, **SMALL | options)


@pytest.fixture
def data_set(monkeypatch, tmp_path, make_documents):
    """A data set that the hub would have under the name `somebody/text`: `datasets` reads it from a folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.txt").write_text("\n".join(document.replace("\n", " ") for document in make_documents(500)))
    load = datasets.load_dataset

    def load_dataset(path, name=None, revision=None, **options):
        return load(str(folder) if path == "somebody/text" else path, name, **options)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "revision_of", lambda name, path: "5f1c")
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**13)
    monkeypatch.setattr(hub.HubSource, "expected_bytes", 2**13)
    return "hf:somebody/text"


def is_kept(output_dir):
    return (output_dir.with_name("corpus.preparing") / "documents" / "000000.json").exists()


@pytest.mark.parametrize(
    "outage",
    [ConnectionError("Couldn't reach 'somebody/text' on the Hub"), OSError("504 Server Error"), RuntimeError("closed")],
    ids=repr,
)
def test_an_outage_of_the_hub_costs_nothing_that_was_read(monkeypatch, tmp_path, data_set, outage):
    whole = prepare_corpus(data_set, tmp_path / "whole", **SMALL)
    output_dir, load = tmp_path / "corpus", datasets.load_dataset
    read, texts = hub.HubSource._text, iter(range(200))

    def until_the_outage(self, row):
        if next(texts, None) is None:
            raise outage
        return read(self, row)

    def no_answer(*_, **__):
        raise outage

    # The first time the network fails in the middle of the text, then when the data set is to be opened again.
    for place, name, failing in ((hub.HubSource, "_text", until_the_outage), (datasets, "load_dataset", no_answer)):
        with monkeypatch.context() as patched:
            patched.setattr(place, name, failing)
            with pytest.raises(hub.Unreachable, match=r"^hf:somebody/text cannot be read .* goes on from here"):
                prepare_corpus(data_set, output_dir, **SMALL)
        assert is_kept(output_dir)
    read_again = []
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub.HubSource, "_text", lambda self, row: read_again.append(row) or read(self, row))
    corpus = prepare_corpus(data_set, output_dir, **SMALL)
    assert corpus.fingerprint == whole.fingerprint
    assert 300 <= len(read_again) < 500
    assert not output_dir.with_name("corpus.preparing").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": "validation"}, r"cannot be opened: .*validation"),
        ({"text_field": "body"}, r"has no column 'body' but text: name one of them with --text_field"),
    ],
)
def test_a_split_or_a_column_that_does_not_exist_leaves_nothing(tmp_path, data_set, options, told):
    with pytest.raises(InputError, match=told) as refused:
        prepare_corpus(data_set, tmp_path / "corpus", **SMALL, **options)
    assert not isinstance(refused.value, hub.Unreachable)
    assert not list(tmp_path.glob("corpus*"))


def test_a_configuration_that_does_not_exist_leaves_nothing(tmp_path, data_set):
    with pytest.raises(InputError, match=r"cannot be opened: BuilderConfig 'english' not found"):
        prepare_corpus(f"{data_set}:english", tmp_path / "corpus", **SMALL)
    assert not list(tmp_path.glob("corpus*"))


def test_a_page_that_cannot_be_drawn_does_not_cost_the_corpus(monkeypatch, tmp_path, text_file, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for number, problem in enumerate((full, lambda corpus: 1 / 0)):
        output_dir = tmp_path / str(number)
        with monkeypatch.context() as patched:
            patched.setattr(report, "render", problem)
            corpus = prepare_corpus(str(text_file), output_dir, **SMALL)
        store.verify(corpus.directory)
        assert f"python -m budgetbert.report {output_dir}" in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.glob(f"{number}*")) == [str(number)]
        assert not (output_dir / store.REPORT).exists()
        # The same command writes the page that is missing.
        prepare_corpus(str(text_file), output_dir, **SMALL)
        assert (output_dir / store.REPORT).exists()


def test_options_are_compared_before_the_text_is_looked_at(monkeypatch, tmp_path, text_file, capsys):
    interrupted(monkeypatch, str(text_file), tmp_path / "begun")
    prepare_corpus(str(text_file), tmp_path / "done", **SMALL)
    assert capsys.readouterr().err.count("starting over") == 0

    def identity(self):
        raise AssertionError("the text is looked at")

    monkeypatch.setattr(FileSource, "identity", identity)
    with pytest.raises(InputError, match="sequence_length is 32 there and 64 here"):
        prepare_corpus(str(text_file), tmp_path / "done", **SMALL | {"sequence_length": 64})
    told = "is being prepared by another process"
    with staging.opened(tmp_path / "taken", {}, list), pytest.raises(InputError, match=told):
        prepare_corpus(str(text_file), tmp_path / "taken", **SMALL)
    with pytest.raises(AssertionError, match="looked at"):
        prepare_corpus(str(text_file), tmp_path / "begun", **SMALL | {"sequence_length": 64})
    assert capsys.readouterr().err.count("starting over") == 1


def test_text_that_cannot_be_looked_at_leaves_what_is_done(monkeypatch, tmp_path, text_file, capsys):
    interrupted(monkeypatch, str(text_file), tmp_path / "corpus")
    with monkeypatch.context() as patched:

        def identity(self):
            raise InputError("unreadable") from OSError(errno.EIO, os.strerror(errno.EIO))

        patched.setattr(FileSource, "identity", identity)
        for name in ("corpus", "another"):
            with pytest.raises(InputError, match="unreadable"):
                prepare_corpus(str(text_file), tmp_path / name, **SMALL)
    assert is_kept(tmp_path / "corpus")
    assert not list(tmp_path.glob("another*"))
    prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    assert "Going on with" in capsys.readouterr().err


def test_an_order_that_a_given_vocabulary_lacks_is_refused_before_the_text_is_read(monkeypatch, tmp_path, text_file):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "word"]
    (tmp_path / "words.txt").write_text("\n".join(words))
    monkeypatch.setattr(FileSource, "identity", None)
    options = {"vocabulary": str(tmp_path / "words.txt"), "order": "short_sentences_first", "workers": 1}
    with pytest.raises(InputError, match="the vocabulary has none of the full stops"):
        prepare_corpus(str(text_file), tmp_path / "corpus", **options)
