import json
import os
import pickle

import numpy as np
import pytest

from budgetbert.corpus import rows, store
from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.errors import InputError
from budgetbert.tokenization.normalizer import Normalizer

pytestmark = pytest.mark.without_backend


@pytest.fixture
def corpus(monkeypatch, tmp_path, text_file):
    """A prepared corpus of several shards: of 16 rows each, not of 64 MiB."""
    monkeypatch.setattr(store, "SHARD_BYTES", 16 * 32 * 2)
    return prepare_corpus(str(text_file), tmp_path / "corpus", vocabulary_size=256, sequence_length=32, workers=1)


def change_manifest(corpus, change):
    path = corpus.directory / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    # What a sum would find is shown elsewhere.
    manifest.pop("sha256", None)
    path.write_text(json.dumps(manifest))


def test_rows_are_those_of_the_shards_in_order(corpus):
    shards = sorted(corpus.directory.glob("train-*.npy"))
    assert len(shards) > 3
    everything = np.concatenate([np.load(shard) for shard in shards])
    rows = corpus.rows("train")
    assert len(rows) == len(everything) == corpus.manifest["counts"]["rows"]["train"]
    np.testing.assert_array_equal(rows[:], everything)
    np.testing.assert_array_equal(rows[5:40], everything[5:40])
    np.testing.assert_array_equal(rows[-3:], everything[-3:])
    indices = np.random.default_rng(0).integers(0, len(rows), 500)
    np.testing.assert_array_equal(rows[indices], everything[indices])
    assert rows[indices].dtype == np.uint16
    assert rows[np.zeros(0, np.int64)].shape == (0, 32)


def test_rows_that_do_not_exist_are_an_error(corpus):
    rows = corpus.rows("train")
    for indices in ([len(rows)], [-1, 0]):
        with pytest.raises(IndexError):
            rows[np.array(indices)]
    with pytest.raises(TypeError):
        rows[np.array([0.5])]


def test_what_the_manifest_says_is_at_hand(corpus):
    assert corpus.special_ids == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert (corpus.sequence_length, corpus.normalizer) == (32, Normalizer())
    assert corpus.rows_kind == "packed"
    assert len(corpus.vocabulary) == corpus.manifest["vocabulary"]["size"]


def test_the_fingerprint_follows_the_rows_and_nothing_else(corpus):
    manifest = json.loads((corpus.directory / "manifest.json").read_text())
    assert store.fingerprint(manifest | {"seconds": 1e9, "sources": []}) == corpus.fingerprint
    manifest["shards"][0]["sha256"] = "0" * 64
    assert store.fingerprint(manifest) != corpus.fingerprint


def test_verify_finds_a_flipped_byte(corpus):
    store.verify(corpus.directory)
    path = corpus.directory / "train-00001.npy"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    # The byte is that of another id of the vocabulary, so only its sum tells.
    store.open_corpus(corpus.directory)
    (corpus.directory / "train-00003.npy").unlink()
    with pytest.raises(InputError) as problems:
        store.verify(corpus.directory)
    lines = str(problems.value).split("\n")
    for line, told in zip(
        lines, ("train-00001.npy is damaged", "train-00003.npy cannot be read", "2 files"), strict=True
    ):
        assert told in line


def test_a_corpus_of_more_shards_than_files_may_be_open_is_read(monkeypatch, corpus):
    monkeypatch.setattr(rows, "OPEN_SHARDS", 2)
    shards = sorted(corpus.directory.glob("train-*.npy"))
    everything = np.concatenate([np.load(shard) for shard in shards])
    before = len(os.listdir("/proc/self/fd"))
    opened = store.open_corpus(corpus.directory)
    np.testing.assert_array_equal(opened.rows("train")[:], everything)
    # Two of each split.
    assert len(os.listdir("/proc/self/fd")) <= before + 4 < before + len(shards)


def test_rows_can_be_sent_to_another_process(corpus):
    rows = corpus.rows("train")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows))[3:20], rows[3:20])


@pytest.fixture
def sorted_corpus(monkeypatch, tmp_path, text_file):
    """The corpus in a sorted order."""
    monkeypatch.setattr(store, "SHARD_BYTES", 16 * 32 * 2)
    options = {"vocabulary_size": 256, "sequence_length": 32, "order": "frequent_first", "workers": 1}
    return prepare_corpus(str(text_file), tmp_path / "sorted", **options)


def test_the_order_of_the_rows_is_checked_like_the_rows(sorted_corpus):
    path = sorted_corpus.directory / store.ORDER
    whole = path.read_bytes()
    assert sorted(sorted_corpus.training_order[:]) == list(range(len(sorted_corpus.rows("train"))))
    path.write_bytes(whole[:-8] + whole[-4:] + whole[-8:-4])
    store.open_corpus(sorted_corpus.directory)
    with pytest.raises(InputError, match=r"order-train\.npy is damaged"):
        store.verify(sorted_corpus.directory)
    path.write_bytes(whole[:-4])
    with pytest.raises(InputError, match=r"order-train\.npy is truncated"):
        store.open_corpus(sorted_corpus.directory)
    path.unlink()
    with pytest.raises(InputError, match=r"order-train\.npy is missing"):
        store.open_corpus(sorted_corpus.directory)


def test_corpora_of_version_1_open(corpus, sorted_corpus):
    """Those in a sorted order held their rows as they are read."""
    for subject, expected in ((corpus, None), (sorted_corpus, list(range(len(sorted_corpus.rows("train")))))):
        change_manifest(subject, lambda manifest: manifest.update(format_version=1) or manifest.pop("order_sha256", 0))
        (subject.directory / store.ORDER).unlink(missing_ok=True)
        opened = store.verify(subject.directory)
        np.testing.assert_array_equal(opened.rows("train")[:], subject.rows("train")[:])
        order = opened.training_order
        assert order is expected if expected is None else order[:].tolist() == expected


@pytest.mark.parametrize("bytes_left", [0, 50, 1000])
def test_a_truncated_shard_is_refused(corpus, bytes_left):
    path = corpus.directory / "train-00001.npy"
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(InputError, match=r"train-00001\.npy is truncated.*prepare the corpus again"):
        store.open_corpus(corpus.directory)


def test_a_shard_with_more_or_other_rows_is_refused(corpus):
    path = corpus.directory / "train-00001.npy"
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0\0")
    with pytest.raises(InputError, match="does not hold"):
        store.open_corpus(corpus.directory)
    np.save(path, np.zeros((3, 32), np.uint16))
    with pytest.raises(InputError, match="does not hold"):
        store.open_corpus(corpus.directory)
    path.unlink()
    with pytest.raises(InputError, match="is missing"):
        store.open_corpus(corpus.directory)


def test_a_path_in_the_manifest_does_not_leave_the_directory(corpus):
    outside = corpus.directory.parent / "train-00000.npy"
    outside.write_bytes((corpus.directory / "train-00000.npy").read_bytes())
    for name in ("../train-00000.npy", str(outside)):
        change_manifest(corpus, lambda manifest, name=name: manifest["shards"][0].update(file=name))
        with pytest.raises(InputError, match="not one of ours"):
            store.open_corpus(corpus.directory)


def test_a_vocabulary_that_was_changed_is_refused(corpus):
    path = corpus.directory / "vocabulary.txt"
    path.write_text(path.read_text().replace("\na\n", "\nä\n"))
    with pytest.raises(InputError, match="is not the vocabulary"):
        store.open_corpus(corpus.directory)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        store.open_corpus(corpus.directory)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(format_version=999),
        lambda manifest: manifest.pop("format_version"),
        lambda manifest: manifest.pop("shards"),
        lambda manifest: manifest["shards"].append(7),
        lambda manifest: [manifest.pop(name) for name in list(manifest) if name != "format_version"],
        lambda manifest: manifest["vocabulary"]["special_ids"].update({"[SEP]": 9}),
        lambda manifest: manifest["vocabulary"]["special_ids"].update({"[SEP]": 10**6}),
        lambda manifest: manifest["vocabulary"]["special_ids"].pop("[MASK]"),
        lambda manifest: manifest["vocabulary"].update(size=True),
        lambda manifest: manifest.update(format_version=2.0),
        lambda manifest: manifest.update(rows_kind="loose"),
        lambda manifest: manifest.update(rows_kind=["packed"]),
        lambda manifest: manifest.update(order="sorted"),
        lambda manifest: manifest.update(dtype="uint32"),
        lambda manifest: manifest.update(sequence_length=10**9),
        lambda manifest: manifest.update(sequence_length="32"),
        lambda manifest: manifest.update(normalizer={"lowercase": 1, "strip_accents": True}),
        lambda manifest: manifest["normalizer"].update(kind="roberta"),
        lambda manifest: manifest["normalizer"].update(clean_text=False),
        lambda manifest: manifest.update(validation_unigram_entropy="x"),
        lambda manifest: manifest.update(validation_unigram_entropy=float("nan")),
        lambda manifest: manifest["counts"]["rows"].update(train=7),
        lambda manifest: manifest["shards"][0].update(rows=-1),
        lambda manifest: manifest["shards"].append(manifest["shards"][0]),
        lambda manifest: manifest["shards"].remove(manifest["shards"][-1]),
        lambda manifest: manifest.update(sources=[7]),
    ],
)
def test_a_damaged_manifest_is_refused(corpus, change):
    change_manifest(corpus, change)
    for read in (store.open_corpus, store.verify):
        with pytest.raises(InputError, match="prepare the corpus again"):
            read(corpus.directory)


def test_ids_that_the_vocabulary_lacks_are_refused_when_the_corpus_is_opened(corpus):
    path = corpus.directory / "train-00002.npy"
    ids = np.load(path)
    ids[5, 7] = len(corpus.vocabulary)
    np.save(path, ids)
    with pytest.raises(InputError, match=r"holds 256 and all values in it are below 256.*prepare the corpus again"):
        store.open_corpus(corpus.directory)


def test_of_a_large_corpus_stretches_are_looked_through_and_every_row_that_is_read(corpus, monkeypatch):
    monkeypatch.setattr(store, "_LOOKED_THROUGH_BYTES", 0)
    monkeypatch.setattr(rows, "_STRETCH_BYTES", 64)
    path = corpus.directory / "train-00002.npy"
    ids = np.load(path)
    ids[5, 7] = 300
    np.save(path, ids)
    opened = store.open_corpus(corpus.directory)
    opened.rows("train")[:37]
    with pytest.raises(InputError, match="holds 300"):
        opened.rows("train")[np.array([37])]


def test_a_shard_that_shrinks_after_it_was_opened_is_a_sentence(corpus):
    held = corpus.rows("train")
    held[16:32]
    path = corpus.directory / "train-00001.npy"
    os.truncate(path, 300)
    with pytest.raises(InputError, match=r"train-00001\.npy has become shorter"):
        held[16:32]
    path.unlink()
    with pytest.raises(InputError, match=r"train-00001\.npy is missing"):
        store.open_corpus(corpus.directory)


def test_a_manifest_that_is_not_as_it_was_written_is_refused(corpus):
    path = corpus.directory / "manifest.json"
    path.write_text(path.read_text().replace('"lowercase": true', '"lowercase": false', 1))
    with pytest.raises(InputError, match="it is not what was written"):
        store.open_corpus(corpus.directory)


def test_a_header_that_is_no_python_is_refused(corpus):
    path = corpus.directory / "train-00001.npy"
    content = bytearray(path.read_bytes())
    content[40:128] = bytes(88)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train-00001\.npy is truncated or no shard"):
        store.open_corpus(corpus.directory)


def test_a_manifest_of_brackets_is_refused(corpus):
    (corpus.directory / "manifest.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is not the manifest"):
        store.open_corpus(corpus.directory)


def test_what_is_no_corpus_is_refused(tmp_path, corpus):
    with pytest.raises(InputError, match="is not a prepared corpus"):
        store.open_corpus(tmp_path / "gone")
    (corpus.directory / "manifest.json").write_text('{"format_ver')
    with pytest.raises(InputError, match="prepare the corpus again"):
        store.open_corpus(corpus.directory)
