import collections
import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tokenizers import Tokenizer

from budgetbert.corpus import manifest, prepare, staging, store
from budgetbert.corpus.ordering import row_keys
from budgetbert.corpus.prepare import open_or_prepare, prepare_corpus
from budgetbert.corpus.sources import compression, formats
from budgetbert.corpus.sources.cleaning import clean
from budgetbert.corpus.stages import parts
from budgetbert.corpus.stages import read as reading
from budgetbert.corpus.stages import vocabulary as vocabulary_stage
from budgetbert.errors import InputError
from budgetbert.tokenization import vocabulary
from budgetbert.tokenization.normalizer import Normalizer

pytestmark = pytest.mark.without_backend

SMALL = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


def write_documents(path, documents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps({"text": document}) for document in documents))
    return str(path)


def files(directory):
    """The content of a corpus's files, without how long it took, when and with what it was made."""
    contents = {path.name: path.read_bytes() for path in directory.iterdir()}
    del contents["report.html"]
    manifest = json.loads(contents.pop("manifest.json"))
    return contents | {"manifest": manifest | {"seconds": 0, "circumstances": {}, "sha256": ""}}


def documents_in(corpus, split):
    """The documents of a split as a set of tuples of tokens; the last one may be cut."""
    stream = corpus.rows(split)[:].ravel().tolist()
    documents, document = set(), []
    for token in stream:
        if token == corpus.special_ids["[SEP]"]:
            documents.add(tuple(document))
            document = []
        else:
            document.append(token)
    return documents


def document_hash(document):
    return hashlib.blake2b(" ".join(document.split()).encode(), digest_size=8).digest()


def reference_rows(corpus, documents, split):
    """The rows of a split by Hugging Face's tokenizer on whole documents, and pure Python."""
    normalizer = Normalizer(**corpus.manifest["normalizer"])
    tokenizer = vocabulary.plain_tokenizer(corpus.vocabulary)
    number = corpus.manifest["counts"]["documents"]["validation"]
    held_out = sorted(documents, key=document_hash)[:number]
    stream = []
    for document in documents:
        if (document in held_out) == (split == "validation"):
            stream += tokenizer.encode(normalizer(document), add_special_tokens=False).ids
            stream.append(corpus.special_ids["[SEP]"])
    length = corpus.sequence_length
    return np.array(stream[: len(stream) // length * length]).reshape(-1, length)


def test_rows_are_the_documents_tokenised_one_after_another(tmp_path, text_file, make_documents):
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    for split in ("train", "validation"):
        expected = reference_rows(corpus, make_documents(400), split)
        np.testing.assert_array_equal(corpus.rows(split)[:], expected)


def test_the_normaliser_is_that_which_the_manifest_carries(tmp_path, text_file, make_documents):
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", normalizer="cramming", **SMALL)
    assert corpus.manifest["normalizer"] == {"lowercase": True, "strip_accents": True, "kind": "cramming"}
    assert all(entry.isascii() for entry in corpus.vocabulary)
    expected = reference_rows(corpus, make_documents(400), "train")
    np.testing.assert_array_equal(corpus.rows("train")[:], expected)


def test_rows_can_start_with_cls(tmp_path, text_file):
    plain = prepare_corpus(str(text_file), tmp_path / "plain", **SMALL)
    started = prepare_corpus(str(text_file), tmp_path / "started", row_start="cls", **SMALL)
    rows = started.rows("train")[:]
    assert (rows[:, 0] == started.special_ids["[CLS]"]).all()
    stream, expected = rows[:, 1:].ravel(), plain.rows("train")[:].ravel()
    shorter = min(len(stream), len(expected))
    np.testing.assert_array_equal(stream[:shorter], expected[:shorter])


def test_the_files_do_not_depend_on_the_number_of_workers(monkeypatch, tmp_path, make_documents):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**13)  # 40 parts, of files of two formats
    write_documents(tmp_path / "text" / "a.jsonl", make_documents(800))
    (tmp_path / "text" / "b.txt").write_text("\n\n".join(make_documents(400, seed=1)))
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    for workers in (1, 2, 3):
        options = SMALL | {"workers": workers}
        prepare_corpus(str(tmp_path / "text"), tmp_path / f"corpus{workers}", **options)
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    assert files(tmp_path / "corpus1") == files(tmp_path / "corpus2") == files(tmp_path / "corpus3")


def test_the_split_does_not_depend_on_order_files_or_options(tmp_path, make_documents):
    documents = make_documents(2000)
    one = write_documents(tmp_path / "one.jsonl", documents)
    random.Random(0).shuffle(documents)
    write_documents(tmp_path / "two" / "z.jsonl", documents[:300])
    write_documents(tmp_path / "two" / "a" / "b.jsonl", documents[300:])
    # The number of a document is its name; 8 tokens a row leave at most a few of them cut off at the end.
    common = {"sequence_length": 8, "validation_fraction": 0.05, "workers": 1}
    texts = []
    for source, options in ((one, {}), (str(tmp_path / "two"), {"lowercase": False, "row_start": "none"})):
        corpus = prepare_corpus(source, tmp_path / f"corpus{len(texts)}", vocabulary_size=1024, **common, **options)
        text = "".join(
            corpus.vocabulary[token].removeprefix("##") for token in corpus.rows("validation")[:].ravel().tolist()
        )
        texts.append({part.split(".")[0] for part in text.split("number0x")[1:]})
    assert len(texts[0] ^ texts[1]) <= 2
    assert 60 <= len(texts[0]) <= 140  # 100 expected, 10 the standard deviation


def test_duplicates_are_on_the_same_side(tmp_path, make_documents):
    documents = make_documents(300) * 2
    source = write_documents(tmp_path / "a.jsonl", documents)
    corpus = prepare_corpus(source, tmp_path / "corpus", validation_fraction=0.1, dedup="none", **SMALL)
    assert corpus.manifest["counts"]["documents"]["validation"] % 2 == 0
    assert not documents_in(corpus, "train") & documents_in(corpus, "validation")


def test_documents_of_lowest_hash_are_held_out_until_they_fill_a_row(tmp_path, make_documents):
    documents = make_documents(50)
    source = write_documents(tmp_path / "a.jsonl", documents)
    options = SMALL | {"sequence_length": 128, "validation_fraction": 0.0}
    corpus = prepare_corpus(source, tmp_path / "corpus", **options)
    held_out = corpus.manifest["counts"]["documents"]["validation"]
    tokenizer = Tokenizer.from_file(str(tmp_path / "corpus" / "tokenizer.json"))
    # Instead of [CLS] and [SEP] each has a [SEP] behind it.
    tokens = [len(tokenizer.encode(document).ids) - 1 for document in sorted(documents, key=document_hash)]
    assert sum(tokens[: held_out - 1]) < 128 <= sum(tokens[:held_out])
    assert len(corpus.rows("validation")) >= 1
    told = f"{held_out} of 50 documents with "
    assert any(note.startswith(told) for note in corpus.manifest["notes"])


def chinese(number, length=500, seed=0):
    draw = random.Random(seed)
    return ["".join(draw.choices([chr(0x4E00 + index) for index in range(1200)], k=length)) for _ in range(number)]


def thai(number):
    draw = random.Random(0)
    words = ["".join(draw.choices("กขคงจชซดตถทนบปพฟมยรลวสหอ", k=draw.randint(2, 6))) for _ in range(300)]
    return [" ".join("".join(draw.choices(words, k=6)) for _ in range(20)) for _ in range(number)]


@pytest.mark.parametrize(
    "documents",
    [chinese(100), thai(100), [",".join(f"k{index}:{value}" for value in range(150)) for index in range(100)]],
    ids=["Chinese", "Thai", "without spaces"],
)
def test_few_documents_without_spaces_are_held_out(tmp_path, documents):
    source = write_documents(tmp_path / "a.jsonl", documents)
    options = {"lowercase": False, "strip_accents": False, "workers": 1, "vocabulary_size": 2048}
    corpus = prepare_corpus(source, tmp_path / "corpus", **options)
    counts = corpus.manifest["counts"]
    assert 1 <= counts["documents"]["validation"] <= 5
    assert counts["rows"]["validation"] >= 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two\nthree", 3),
        ("“curly” — naïve", 3),
        ("我喜欢北京的冬天。", 9),
        ("東京タワーは高い", 2 + 1 + 1 + 1),
        ("Wi-Fi 在这里", 4),
        ("ภาษาไทยไม่มี ฝน", 3),
        ("ก" * 40 + " ฝน", 6),
        ("한국어 문장", 2),
        ('{"a":1,"b":[2,3]}', 12),
    ],
)
def test_words_are_counted_where_there_are_no_spaces(text, words):
    assert parts.count_words(text) == words


def latin_vocabulary(path):
    path.write_text(
        "\n".join([*vocabulary.SPECIAL_TOKENS, *"abcdefghijklmnopqrstuvwxyz.,", *map("##{}".format, "abcdefghi")])
    )
    return str(path)


@pytest.mark.parametrize(("share", "told"), [(1, "100.0% of"), (0.7, "[67][0-9].[0-9]% of")])
def test_text_that_is_mostly_unknown_is_refused(tmp_path, share, told):
    draw = random.Random(0)
    words = [["ไทย" if draw.random() < share else "a" for _ in range(60 + number)] for number in range(99)]
    source = write_documents(tmp_path / "a.jsonl", [" ".join(of_document) for of_document in words])
    options = SMALL | {"vocabulary_size": None, "vocabulary": latin_vocabulary(tmp_path / "vocabulary.txt")}
    with pytest.raises(InputError, match=rf"^{told} the tokens of .*a\.jsonl are unknown, .* --alphabet_size"):
        prepare_corpus(source, tmp_path / "corpus", **options)
    assert not (tmp_path / "corpus").exists() and not (tmp_path / "corpus.preparing").exists()


def test_some_unknown_tokens_are_told(tmp_path, make_documents):
    documents = [f"{document} 東京 {document} 北京" for document in make_documents(300)]
    source = write_documents(tmp_path / "a.jsonl", documents)
    latin = prepare_corpus(write_documents(tmp_path / "latin.jsonl", make_documents(300)), tmp_path / "latin", **SMALL)
    options = SMALL | {"vocabulary_size": None, "vocabulary": str(latin.directory / "vocabulary.txt")}
    corpus = prepare_corpus(source, tmp_path / "corpus", **options)
    rate = corpus.manifest["counts"]["unknown_token_rate"]
    assert 0.01 < rate < 0.5
    assert any(note.startswith(f"{rate:.1%} of the tokens are unknown") for note in corpus.manifest["notes"])


def test_a_long_stretch_without_spaces_is_read(tmp_path):
    draw = random.Random(0)
    stretches = ["".join(draw.choices("กขคงจชซดตถทนบปพ", k=draw.randint(34, 400))) for _ in range(500)]
    documents = [" ".join(draw.choices(stretches, k=20)) for _ in range(99)]
    corpus = prepare_corpus(write_documents(tmp_path / "a.jsonl", documents), tmp_path / "corpus", **SMALL)
    assert corpus.manifest["counts"]["unknown_token_rate"] == 0


def test_an_alphabet_has_as_many_characters_as_were_asked_for(tmp_path):
    source = write_documents(tmp_path / "a.jsonl", chinese(200))
    rates = []
    for size in (700, 900):
        corpus = prepare_corpus(source, tmp_path / str(size), alphabet_size=size, **SMALL | {"vocabulary_size": 2048})
        entries = (corpus.directory / "vocabulary.txt").read_text().split("\n")
        assert len({entry.removeprefix("##") for entry in entries if len(entry.removeprefix("##")) == 1}) == size
        assert corpus.manifest["options"]["alphabet_size"] == size
        rates.append(corpus.manifest["counts"]["unknown_token_rate"])
    assert rates[0] > rates[1] + 0.1


@pytest.mark.parametrize(
    ("text", "strip_accents", "told"),
    [
        ("हिन्दी में लिखा हुआ वाक्य है और यह लंबा है", True, "--nostrip_accents to keep"),
        ("हिन्दी में लिखा हुआ वाक्य है और यह लंबा है", False, None),
        ("كُتِبَ هذا بالعَرَبِيَّةِ مَعَ الحَرَكات", True, "--nostrip_accents to keep"),
        ("Tiếng Việt có dấu, Größe und Füße", True, None),
        ("\uf0b7\uf0b7 a b \uf0b7 c d", False, "write letters in their place"),
    ],
)
def test_what_the_normaliser_deletes_is_told(tmp_path, text, strip_accents, told):
    source = write_documents(tmp_path / "a.jsonl", [f"{text} {number} {text}" for number in range(200)])
    options = SMALL | {"strip_accents": strip_accents}
    notes = prepare_corpus(source, tmp_path / "corpus", **options).manifest["notes"]
    notes = [note for note in notes if "the normaliser bert deletes" in note]
    assert len(notes) == bool(told)
    assert all(told in note for note in notes)


@pytest.mark.parametrize(("fraction", "told"), [(0.03, False), (0.0001, True)])
def test_a_held_out_share_far_from_the_one_asked_for_is_told(tmp_path, make_documents, fraction, told):
    source = write_documents(tmp_path / "a.jsonl", make_documents(400))
    corpus = prepare_corpus(source, tmp_path / "corpus", validation_fraction=fraction, **SMALL)
    counts = corpus.manifest["counts"]
    number, share = counts["documents"]["validation"], counts["tokens"]["validation"] / sum(counts["tokens"].values())
    notes = [note for note in corpus.manifest["notes"] if "held out for validation" in note]
    assert len(notes) == told
    assert all(note.startswith(f"{number} of 400 documents with {share:.2%} of the tokens") for note in notes)


@pytest.mark.parametrize(("share", "told"), [(0.02, None), (0.3, "deletes 3"), (0.9, "deletes 9")])
def test_what_the_cramming_normaliser_deletes_is_told_or_refused(tmp_path, make_documents, share, told):
    documents = [f"{text} café {'中' * int(len(text) * share / (1 - share))}" for text in make_documents(200)]
    source = write_documents(tmp_path / "a.jsonl", documents)

    def prepared():
        return prepare_corpus(source, tmp_path / "corpus", normalizer="cramming", **SMALL).manifest["notes"]

    if share > 0.5:
        with pytest.raises(InputError, match=r"cramming deletes 9.* of .*a\.jsonl.*: prepare it with --normalizer"):
            prepared()
    else:
        assert sum("cramming deletes" in note for note in prepared()) == bool(told)


def test_a_text_of_one_word_is_refused(tmp_path):
    source = write_documents(tmp_path / "a.jsonl", [" ".join(["well"] * number) for number in range(1, 60)])
    with pytest.raises(InputError, match="repeats a single token"):
        prepare_corpus(source, tmp_path / "corpus", **SMALL)


@pytest.mark.parametrize("order", ["shuffled", "frequent_first"])
def test_pairs_of_documents_of_one_sentence_are_refused(tmp_path, order):
    documents = [f"Message number {number} speaks of rain in the old town" for number in range(300)]
    source = write_documents(tmp_path / "a.jsonl", documents)
    told = r"^(\d+) of the \1 pairs of .*a\.jsonl have a second segment from another place, .* with --rows packed"
    with pytest.raises(InputError, match=told):
        prepare_corpus(source, tmp_path / "corpus", rows="pairs", order=order, **SMALL)
    prepare_corpus(source, tmp_path / "corpus", order=order, **SMALL)  # other rows have no labels


def test_pairs_of_which_few_are_true_are_told(tmp_path):
    documents = [f"Message {n} speaks of rain{'. It ends.' * 4 if n % 5 == 0 else ''}" for n in range(300)]
    corpus = prepare_corpus(write_documents(tmp_path / "a.jsonl", documents), tmp_path / "out", rows="pairs", **SMALL)
    labels = corpus.labels("train")[:]
    assert 0.7 < labels.mean() < 0.95
    told = f"{labels.sum()} of the {len(labels)} pairs of "
    assert any(note.startswith(told) and "about half should" in note for note in corpus.manifest["notes"])


def test_the_entropy_is_that_of_the_held_out_words(tmp_path, text_file):
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", validation_fraction=0.1, **SMALL)
    tokens = corpus.rows("validation")[:].ravel().tolist()
    counts = collections.Counter(token for token in tokens if token not in corpus.special_ids.values())
    entropy = -sum(n / counts.total() * math.log(n / counts.total()) for n in counts.values())
    assert corpus.manifest["validation_unigram_entropy"] == pytest.approx(entropy)


def test_the_manifest_counts_every_document(tmp_path, make_documents):
    odd = ["\x00 ", "\ufffd", "\u00ad.", "too short"]
    noise = " ".join("".join(random.Random(seed).choices("qxzjvkw#%~^", k=9)) for seed in range(60))
    documents = [*make_documents(200), *odd, noise, *make_documents(20)]
    source = write_documents(tmp_path / "a.jsonl", documents)
    (tmp_path / "b.txt").write_text("\n\n".join(make_documents(100, seed=1)))
    (tmp_path / "empty.txt").touch()
    options = {"min_characters": 20, "filter": "t=0.7", "validation_fraction": 0.1}
    manifest = prepare_corpus(f"{source},{tmp_path}/*.txt", tmp_path / "corpus", **options, **SMALL).manifest
    counts, (first, second) = manifest["counts"], manifest["sources"]
    assert counts["documents_read"] == len(documents) + 100
    assert first["removed"] == {"duplicate": 20, "empty": 1, "incompressible": 1, "too_short": 3}
    assert (second["removed"], second["empty_files"]) == ({}, 1)
    for source, read in ((first, len(documents)), (second, 100)):
        assert source["documents_read"] == read == source["documents"] + sum(source["removed"].values())
        assert sum(source["lengths_by_power_of_two"]) == source["documents"]
    assert sum(counts["documents"].values()) == first["documents"] + second["documents"]
    assert manifest["filters"]["incompressible"] == {"documents": 1, "examples": [noise[:300]]}
    assert manifest["filters"]["duplicate"]["examples"] == [text[:300] for text in make_documents(5)]
    for split in ("train", "validation"):
        assert counts["rows"][split] == counts["tokens"][split] // 32
    assert first["tokens"] + second["tokens"] == sum(counts["tokens"].values())
    assert counts["unknown_token_rate"] == 0


def test_the_hash_is_that_of_the_text_with_white_space_collapsed():
    spaces = "".join(character for character in map(chr, range(0x110000)) if character.isspace())
    for dirty in (f"one{spaces}two \n\n three {spaces}", " a  b\u3000c\n<p>d</p> e\x1ff\u2028g", *spaces):
        text = clean(dirty, "wiki")
        assert parts.document_hash(text) == int.from_bytes(document_hash(text), "big")


def test_documents_that_give_no_token_are_counted(tmp_path, make_documents):
    source = write_documents(tmp_path / "a.jsonl", [*make_documents(100), "\u00ad", "\u200d \u200d"])
    counts = prepare_corpus(source, tmp_path / "corpus", **SMALL).manifest["counts"]
    assert (sum(counts["documents"].values()), counts["documents_without_tokens"]) == (100, 2)


@pytest.mark.parametrize("rows", ["sentences", "pairs"])
def test_rows_of_sentences_hold_every_token_of_the_documents(monkeypatch, tmp_path, make_documents, rows):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**14)
    documents = [f"{document} And then it ended. Why?" for document in make_documents(300)]
    source = write_documents(tmp_path / "a.jsonl", documents)
    options = SMALL | {"rows": rows, "validation_fraction": 0.1}
    corpus = prepare_corpus(source, tmp_path / "corpus", **options)
    packed = prepare_corpus(source, tmp_path / "packed", **options | {"rows": "packed"})
    special = list(corpus.special_ids.values())
    for split in store.SPLITS:
        stored = corpus.rows(split)[:]
        assert (stored[:, 0] == corpus.special_ids["[CLS]"]).all()
        if rows == "pairs":
            labels = corpus.labels(split)[:]
            assert 0.3 < labels.mean() < 0.95 and set(labels.tolist()) == {0, 1}
            # what a random B repeats is not new text
            separators = np.argmax(stored == corpus.special_ids["[SEP]"], axis=1)
            stored = np.where((labels == 1)[:, None] & (np.arange(32) > separators[:, None]), 0, stored)
        tokens, expected = (
            np.bincount(some[~np.isin(some, special)], minlength=256)[5:] for some in (stored, packed.rows(split)[:])
        )
        assert 0 <= (tokens - expected).sum() < 32  # of the packed rows the last is not full
    again = prepare_corpus(source, tmp_path / "again", **options | {"workers": 2})
    assert files(again.directory) == files(corpus.directory)


def test_random_segments_of_held_out_documents_are_from_others(monkeypatch, tmp_path):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**13)  # 24 parts, most of which hold out one document or none
    words = [[f"d{index}{letter}" for letter in "abc"] for index in range(600)]
    documents = ["\n".join([" ".join(of_document)] * 20) for of_document in words]
    for part in range(24):
        write_documents(tmp_path / "text" / f"{part}.jsonl", documents[25 * part : 25 * (part + 1)])
    entries = [*vocabulary.SPECIAL_TOKENS, *(word for of_document in words for word in of_document)]
    (tmp_path / "words.txt").write_text("\n".join(entries))
    options = {"vocabulary": str(tmp_path / "words.txt"), "sequence_length": 32, "workers": 1}
    source = str(tmp_path / "text")
    corpus = prepare_corpus(source, tmp_path / "corpus", rows="pairs", validation_fraction=0.02, **options)
    assert corpus.manifest["counts"]["documents"]["validation"] > 5
    for split in store.SPLITS:
        labels = corpus.labels(split)[:]
        assert 0.3 < labels.mean() < 0.9
        for row, label in zip(corpus.rows(split)[:], labels, strict=True):
            first, second, _ = np.split(row, np.flatnonzero(row == corpus.special_ids["[SEP]"]))
            of_first, of_second = ({(int(token) - 5) // 3 for token in part[1:]} for part in (first, second))
            assert (of_first == of_second) == (not label)
            assert len(of_first | of_second) == 1 + label


@pytest.mark.parametrize("order", ["frequent_first", "short_sentences_first"])
def test_sorted_rows_stand_in_the_order_of_the_documents_beside_an_order_file(monkeypatch, tmp_path, text_file, order):
    monkeypatch.setattr(store, "SHARD_BYTES", 16 * 32 * 2)
    plain = prepare_corpus(str(text_file), tmp_path / "plain", **SMALL)
    corpus = prepare_corpus(str(text_file), tmp_path / "sorted", order=order, **SMALL | {"workers": 2})
    store.verify(corpus.directory)
    assert (corpus.order, plain.training_order) == (order, None)
    for split in store.SPLITS:
        np.testing.assert_array_equal(corpus.rows(split)[:], plain.rows(split)[:])
    rows, numbers = corpus.rows("train")[:], corpus.training_order[:]
    assert numbers.dtype == np.uint32
    keys = row_keys(order, corpus.vocabulary, np.bincount(rows.ravel(), minlength=len(corpus.vocabulary)))(rows)
    np.testing.assert_array_equal(numbers, np.argsort(keys, kind="stable"))
    assert len(np.unique(keys)) > 1


def test_sources_have_their_shares_of_the_characters(tmp_path, make_documents):
    one = write_documents(tmp_path / "one.jsonl", make_documents(600))
    two = write_documents(tmp_path / "two.jsonl", make_documents(300, seed=1))
    corpus = prepare_corpus(f"{one}@1,{two}@3", tmp_path / "corpus", **SMALL)
    first, second = corpus.manifest["sources"]
    assert second["removed"] == {}
    assert first["documents"] + first["removed"]["over_weight"] == 600
    longest = max(map(len, make_documents(600)))
    assert 0 <= second["characters"] / 3 - first["characters"] < longest
    again = prepare_corpus(f"{two}@3,{one}@1", tmp_path / "again", **SMALL)
    assert again.manifest["sources"][1]["characters"] == first["characters"]


def test_a_share_that_whole_documents_cannot_make_is_refused_or_noted(tmp_path, make_documents):
    small = write_documents(tmp_path / "small.jsonl", make_documents(30))
    long = [" ".join(make_documents(60, seed=seed)) for seed in (1, 2)]
    big = write_documents(tmp_path / "big.jsonl", long)
    with pytest.raises(InputError, match=r"big\.jsonl has no document short enough for its share of 50\.0%"):
        prepare_corpus(f"{small}@0.5,{big}@0.5", tmp_path / "corpus", **SMALL)
    shorter = len("".join(make_documents(30))) * 6 // 10  # one of two documents is within the share
    big = write_documents(tmp_path / "big.jsonl", [text[:shorter] for text in long])
    notes = prepare_corpus(f"{small}@0.5,{big}@0.5", tmp_path / "corpus", **SMALL).manifest["notes"]
    assert any("big.jsonl has 37.5% of the characters, not 50.0%" in note for note in notes)
    assert any("small.jsonl has 62.5% of the characters, not 50.0%" in note for note in notes)
    notes = prepare_corpus(f"{small}@0.5", tmp_path / "alone", **SMALL).manifest["notes"]
    assert any("small.jsonl is the only source: its weight changes nothing" in note for note in notes)


def test_the_filter_learns_from_unfiltered_text_and_the_vocabulary_from_filtered(tmp_path, make_documents):
    noise = [" ".join(random.Random(seed).choices("äöüßéèñçåø", k=100)) for seed in range(20)]
    source = write_documents(tmp_path / "a.jsonl", [*make_documents(200), *noise])
    options = SMALL | {"strip_accents": False, "vocabulary_size": 512}
    entries = [
        set(prepare_corpus(source, tmp_path / name, filter=name, **options).vocabulary) for name in ("none", "t=0.49")
    ]
    assert "ñ" in entries[0] - entries[1]


def test_the_manifest_tells_how_often_tokens_occur(tmp_path, text_file):
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    tokens = np.concatenate([corpus.rows(split)[:].ravel() for split in ("train", "validation")])
    frequencies = np.bincount(tokens, minlength=len(corpus.vocabulary))
    told = corpus.manifest["token_frequencies"]
    for entry, count in told["most_frequent"]:
        assert frequencies[corpus.vocabulary.index(entry)] == count
    assert [count for _, count in told["by_rank"]] == np.sort(frequencies)[::-1][
        [0, 1, 3, 7, 15, 31, 63, 127, 255]
    ].tolist()
    assert told["never"] == np.count_nonzero(frequencies == 0)


def test_a_given_vocabulary_is_kept_with_its_ids(tmp_path, text_file):
    trained = prepare_corpus(str(text_file), tmp_path / "trained", **SMALL).vocabulary
    special = vocabulary.SPECIAL_TOKENS
    entries = ["[PAD]", *(f"[unused{index}]" for index in range(99)), *special[1:], *trained[5:]]
    (tmp_path / "bert.txt").write_text("".join(f"{entry}\n" for entry in entries))
    given = {"vocabulary": str(tmp_path / "bert.txt"), "sequence_length": 32, "workers": 1}
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", row_start="cls", **given)
    assert corpus.vocabulary == entries
    assert list(corpus.special_ids.values()) == [0, 100, 101, 102, 103]
    rows = corpus.rows("train")[:]
    assert (rows[:, 0] == 101).all()
    assert np.count_nonzero(rows == 102) == np.count_nonzero(rows[:, 1:] == 102) > 100
    assert not np.isin(rows, [0, 2, 3, 4, 103]).any()
    assert corpus.manifest["notes"] == []


def test_a_cased_vocabulary_for_lower_cased_text_is_noted(tmp_path, text_file):
    letters = "abcdefghijklmnopqrstuvwxyz"
    entries = [*vocabulary.SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    entries += ["The", "Paris", "He", "Said", "Don", "Straße"]
    (tmp_path / "cased.txt").write_text("\n".join(entries))
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", vocabulary=str(tmp_path / "cased.txt"), workers=1)
    assert "6 entries of the given vocabulary cannot occur" in corpus.manifest["notes"][0]


def test_a_large_vocabulary_is_stored_in_four_bytes(tmp_path, text_file):
    trained = prepare_corpus(str(text_file), tmp_path / "trained", **SMALL).vocabulary
    entries = [*trained[:5], *(f"[unused{index}]" for index in range(70_000)), *trained[5:]]
    (tmp_path / "large.txt").write_text("\n".join(entries))
    corpus = prepare_corpus(str(text_file), tmp_path / "corpus", vocabulary=str(tmp_path / "large.txt"), workers=1)
    rows = corpus.rows("train")[:]
    assert rows.dtype == np.uint32
    assert rows.max() > 70_000


def test_the_same_preparation_again_only_opens_the_corpus(monkeypatch, tmp_path, text_file):
    first = prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    monkeypatch.setattr(prepare, "prepare_rows", None)
    again = prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL | {"workers": 2})
    assert again.fingerprint == first.fingerprint


def test_a_directory_with_something_else_is_refused(tmp_path, text_file):
    prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    with pytest.raises(InputError, match="holds another corpus: sequence_length is 32 there and 64 here"):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL | {"sequence_length": 64})
    text_file.write_text(text_file.read_text() + "\n\nOne more.")
    with pytest.raises(InputError, match="was prepared from other text"):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    for taken in (tmp_path / "photos", text_file):
        with pytest.raises(InputError, match="holds something that is not a prepared corpus"):
            prepare_corpus(str(text_file), taken, **SMALL)


@pytest.mark.parametrize("pattern", ["", "**/*.txt", "*/*.txt"])
def test_a_corpus_is_not_prepared_inside_its_own_text(tmp_path, text_file, pattern):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "more.txt").write_text("More text.")
    with pytest.raises(InputError, match="lies inside the text"):
        prepare_corpus(str(tmp_path / pattern), tmp_path / "corpus", **SMALL)


def test_a_corpus_may_stand_beside_the_files_of_a_pattern(tmp_path, text_file):
    for _ in range(2):  # prepared, then opened
        assert len(prepare_corpus(str(tmp_path / "*.txt"), tmp_path / "corpus", **SMALL).rows("train"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"rows": "sentences", "order": "frequent_first", "filter": "t=0.9"}, marks=pytest.mark.slow),
    ],
)
def test_a_preparation_goes_on_from_wherever_it_was_interrupted(monkeypatch, tmp_path, make_documents, options):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**14)
    monkeypatch.setattr(store, "SHARD_BYTES", 64 * 32 * 2)
    write_documents(tmp_path / "text" / "a.jsonl", make_documents(300))
    (tmp_path / "text" / "b.txt").write_text("\n\n".join(make_documents(100, seed=1)))
    expected = files(prepare_corpus(f"{tmp_path}/text", tmp_path / "whole", **SMALL, **options).directory)
    for stop_at in range(1, 60, 6):
        writes, original = [], os.replace

        def stop(*paths, writes=writes, original=original, stop_at=stop_at):
            writes.append(paths)
            if len(writes) == stop_at:
                raise KeyboardInterrupt
            original(*paths)

        monkeypatch.setattr(os, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_corpus(f"{tmp_path}/text", tmp_path / f"corpus{stop_at}", **SMALL, **options)
        monkeypatch.setattr(os, "replace", original)
        assert not (tmp_path / f"corpus{stop_at}").exists()
        monkeypatch.setattr(formats, "parse", None if stop_at > 40 else formats.parse)  # what is read is not read again
        corpus = prepare_corpus(f"{tmp_path}/text", tmp_path / f"corpus{stop_at}", **SMALL, **options)
        monkeypatch.undo()
        monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**14)
        monkeypatch.setattr(store, "SHARD_BYTES", 64 * 32 * 2)
        assert files(corpus.directory) == expected
        assert not (tmp_path / f"corpus{stop_at}.preparing").exists()


def test_what_was_left_by_another_preparation_is_replaced(monkeypatch, tmp_path, text_file, capsys):
    expected = files(prepare_corpus(str(text_file), tmp_path / "whole", **SMALL).directory)

    def interrupt(*_):
        raise KeyboardInterrupt

    for other in ({"sequence_length": 64}, {"row_start": "cls"}):
        with monkeypatch.context() as patched:
            patched.setattr("budgetbert.corpus.prepare.write_shards", interrupt)
            with pytest.raises(KeyboardInterrupt):
                prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL | other)
    assert capsys.readouterr().err.count("starting over") == 1
    assert files(prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL).directory) == expected
    assert capsys.readouterr().err.count("starting over") == 1


def test_what_was_left_by_other_packages_is_replaced(monkeypatch, tmp_path, text_file, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    for version in ("1.0", "1.0", "1.1"):
        with monkeypatch.context() as patched:
            patched.setattr("budgetbert.corpus.prepare.write_shards", interrupt)
            patched.setattr(manifest, "package_versions", lambda names, version=version: dict.fromkeys(names, version))
            with pytest.raises(KeyboardInterrupt):
                prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
        assert capsys.readouterr().err.count("starting over") == (version == "1.1")


def test_what_a_kill_left_beside_a_finished_corpus_is_removed(monkeypatch, tmp_path, text_file):
    with monkeypatch.context() as patched:
        patched.setattr(staging.shutil, "rmtree", lambda *_, **__: None)
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    left = tmp_path / "corpus.preparing"
    assert (left / "documents").exists()
    with pytest.raises(InputError, match="holds another corpus"):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL | {"rows": "pairs"})
    with open_locked(left):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
        assert left.exists()
    prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    assert not left.exists()


@contextlib.contextmanager
def open_locked(directory):
    descriptor = os.open(directory, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_preparing_again_what_is_there_leaves_nothing_beside_it(tmp_path, text_file):
    for _ in range(2):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
        assert not (tmp_path / "corpus.preparing").exists()
    shutil.rmtree(tmp_path / "corpus")
    prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)


@pytest.mark.parametrize(("number", "goes_on"), [(errno.EIO, True), (None, False)])
def test_a_disk_that_cannot_be_read_leaves_what_is_done(monkeypatch, tmp_path, make_documents, number, goes_on):
    monkeypatch.setattr(reading, "LEAST_PART_BYTES", 2**12)
    for name in "ab":
        write_documents(tmp_path / "text" / f"{name}.jsonl", make_documents(100, seed=ord(name)))
    original = compression.decompressed

    def decompressed(path, raw):
        if path.name == "b.jsonl":
            raise OSError("not a gzipped file") if number is None else OSError(number, os.strerror(number))
        return original(path, raw)

    with monkeypatch.context() as patched:
        patched.setattr(compression, "decompressed", decompressed)
        with pytest.raises(InputError, match="cannot be read further"):
            prepare_corpus(str(tmp_path / "text"), tmp_path / "corpus", **SMALL)
    assert (tmp_path / "corpus.preparing" / "documents" / "000000.json").exists() == goes_on
    corpus = prepare_corpus(str(tmp_path / "text"), tmp_path / "corpus", **SMALL)
    assert corpus.manifest["counts"]["documents_read"] == 200


@pytest.mark.slow
def test_a_killed_preparation_leaves_no_process_and_goes_on(tmp_path, make_documents):
    source = write_documents(tmp_path / "a.jsonl", make_documents(6_000))  # 1.5 MB: a second
    program = (
        "from budgetbert.corpus.prepare import prepare_corpus\n"
        f"prepare_corpus({source!r}, {str(tmp_path / 'corpus')!r}, vocabulary_size=256, workers=2)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    kills = 0
    for stage in ("documents/000001.json", "encoded/000000.json"):
        # The workers inherit the pipe, so that it ends when the last of them does.
        process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
        while not (tmp_path / "corpus.preparing" / stage).exists() and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.communicate(timeout=30)
        kills += process.returncode == -signal.SIGKILL
        if (tmp_path / "corpus").exists():  # this machine was faster than the test
            break
    assert kills >= 1
    corpus = prepare_corpus(source, tmp_path / "corpus", vocabulary_size=256, workers=1)
    store.verify(corpus.directory)
    whole = prepare_corpus(source, tmp_path / "whole", vocabulary_size=256, workers=1)
    assert files(corpus.directory) == files(whole.directory)


def test_two_preparations_of_one_directory_do_not_mix(monkeypatch, tmp_path, text_file):
    entered, leave = threading.Event(), threading.Event()
    original = vocabulary_stage.train_vocabulary

    def wait(*arguments):
        entered.set()
        assert leave.wait(30)
        return original(*arguments)

    monkeypatch.setattr(vocabulary_stage, "train_vocabulary", wait)
    first = threading.Thread(target=prepare_corpus, args=(str(text_file), tmp_path / "corpus"), kwargs=SMALL)
    first.start()
    assert entered.wait(30)
    with pytest.raises(InputError, match="is being prepared by another process"):
        prepare_corpus(str(text_file), tmp_path / "corpus", **SMALL)
    leave.set()
    first.join()
    store.verify(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("documents", "told"),
    [
        ([], "holds no text"),
        (["only one document " * 100], "holds only one document"),
        (["one document", "and another one"], "all 2 documents that are kept of .* are held out"),
        (["\uf8d0\uf8d1", "\ue000"], r"normaliser bert deletes 100% of the characters of .*a\.jsonl, which are "),
        (["a document and its double " * 100] * 2, "holds only one document that is kept, of 2"),
    ],
)
def test_too_little_text_is_refused(tmp_path, documents, told):
    source = write_documents(tmp_path / "a.jsonl", documents)
    with pytest.raises(InputError, match=told):
        prepare_corpus(source, tmp_path / "corpus", **SMALL)
    assert not (tmp_path / "corpus").exists()


def test_rare_pieces_make_room_when_too_many_are_counted():
    pieces = collections.Counter(a=1, b=1, c=2, d=3, e=9)
    vocabulary_stage.drop_rare(pieces, 3)
    assert pieces == {"c": 2, "d": 3, "e": 9}


def test_raw_text_is_prepared_once_and_a_prepared_directory_is_opened(monkeypatch, tmp_path, text_file, capsys):
    first = open_or_prepare(str(text_file), tmp_path / "run" / "corpus", **SMALL)
    assert "Prepared corpus in" in capsys.readouterr().out
    monkeypatch.setattr(prepare, "prepare_rows", None)
    again = open_or_prepare(str(text_file), tmp_path / "run" / "corpus", **SMALL)
    opened = open_or_prepare(str(first.directory), tmp_path / "unused")
    assert first.fingerprint == again.fingerprint == opened.fingerprint
    assert not (tmp_path / "unused").exists()


def test_the_corpus_needs_neither_keras_nor_tensorflow(tmp_path, text_file):
    program = (
        "import sys\nfrom budgetbert.corpus.prepare import prepare_corpus\n"
        f"prepare_corpus({str(text_file)!r}, {str(tmp_path / 'corpus')!r}, vocabulary_size=256, workers=1)\n"
        "assert not {'keras', 'keras_hub', 'tensorflow', 'torch', 'jax'} & set(sys.modules), 'imported'"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.skipif("BUDGETBERT_DATA" not in os.environ, reason="BUDGETBERT_DATA, the folder of real data, is not set")
def test_real_text_has_hardly_an_unknown_token(tmp_path):
    source = os.path.join(os.environ["BUDGETBERT_DATA"], "tiny", "corpus", "wikipedia")
    corpus = prepare_corpus(source, tmp_path / "corpus", vocabulary_size=4096, workers=1)
    assert corpus.manifest["counts"]["documents_without_tokens"] == 0
    assert corpus.manifest["counts"]["unknown_token_rate"] < 1e-3
    assert 4 < corpus.manifest["validation_unigram_entropy"] < 8


def test_documents_of_long_pieces_are_held_out_until_they_fill_a_row(tmp_path):
    """Of a script without spaces a text that repeats itself may have a token for each thirty characters."""
    clauses = ["".join(chr(0x0E01 + (7 * number + place) % 44) for place in range(30)) for number in range(40)]
    texts = [" ".join(clauses[(number * 7 + place * 3) % 40] for place in range(9)) for number in range(120)]
    path = tmp_path / "thai.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    corpus = prepare_corpus(str(path), tmp_path / "out", workers=1, lowercase=False, strip_accents=False, dedup="none")
    counts = corpus.manifest["counts"]
    assert counts["rows"]["validation"] == 1
    assert counts["documents"]["validation"] > 5
