import random
import re

import numpy as np
import pytest

from budgetbert.corpus.prepare import prepare_corpus
from budgetbert.corpus.stages import duplicates as deduplication
from budgetbert.corpus.stages import parts

pytestmark = pytest.mark.without_backend

SMALL = {"vocabulary_size": 256, "sequence_length": 32, "workers": 1}


def words(number, seed):
    draw = random.Random(seed)
    return ["".join(draw.choices("abdeiklmnorstu", k=draw.randint(2, 7))) for _ in range(number)]


def prepared(tmp_path, documents, dedup, **options):
    source = tmp_path / "text.txt"
    source.write_text("\n\n".join(documents))
    return prepare_corpus(str(source), tmp_path / dedup.replace(":", ""), dedup=dedup, **SMALL | options).manifest


def test_a_document_with_other_white_space_is_a_duplicate(tmp_path, make_documents):
    documents = make_documents(60)
    repeated = [document.replace(" ", "  ") for document in documents[5:15]]
    manifest = prepared(tmp_path, documents + repeated, "exact")
    assert manifest["sources"][0]["removed"] == {"duplicate": 10}
    assert prepared(tmp_path, documents + repeated, "none")["sources"][0]["removed"] == {}


def test_the_first_of_equal_documents_stays_whatever_fits_into_memory(monkeypatch, tmp_path):
    draw = np.random.default_rng(0)
    hashes = draw.integers(0, 2**64, 300, dtype=np.uint64)[draw.integers(0, 300, 1000)]
    for index in range(10):
        part = hashes[index * 100 : (index + 1) * 100].tolist()
        parts.write_documents(tmp_path / f"{index:06d}.arrow", ["text"] * 100, part, [1] * 100)
        parts.write_json(parts.record_path(tmp_path, index), {"documents": 100, "characters": 400})
    kept = draw.random(1000) < 0.9
    expected, seen = kept.copy(), set()
    for place in np.flatnonzero(kept):
        expected[place] = hashes[place] not in seen
        seen.add(hashes[place])
    parts.write_array(tmp_path / "kept.npy", kept)
    documents = parts.Documents(tmp_path, tmp_path / "kept.npy")
    np.testing.assert_array_equal(deduplication.exact(documents), expected)
    monkeypatch.setattr(deduplication, "HASHES_AT_ONCE", 50)
    np.testing.assert_array_equal(deduplication.exact(documents), expected)


def test_similar_documents_are_dropped_and_others_stay(tmp_path):
    documents = [words(200, seed) for seed in range(40)]
    similar = [[*document[:100], "other", *document[101:]] for document in documents[:10]]  # 5 of 196 shingles
    half = [document[:100] + words(100, seed + 100) for seed, document in enumerate(documents[10:20])]
    texts = [" ".join(document) for document in documents + similar + half]
    manifest = prepared(tmp_path, texts, "near")
    assert manifest["sources"][0]["removed"] == {"near_duplicate": 10}
    assert manifest["filters"]["near_duplicate"]["examples"] == [text[:300] for text in texts[40:45]]
    assert prepared(tmp_path, texts, "near", workers=2)["shards"] == manifest["shards"]


def test_similar_documents_are_found_in_scripts_without_spaces(tmp_path):
    draw = random.Random(0)
    for name, first in {"Chinese": 0x4E00, "Thai": 0x0E01, "Korean": 0xAC00}.items():
        letters = [chr(first + index) for index in range(40)]
        texts = ["".join(draw.choices(letters, k=600)) for _ in range(30)]
        if name == "Korean":  # words, between spaces
            texts = [" ".join(text[start : start + 3] for start in range(0, 600, 3)) for text in texts]
        similar = [f"{text[:300]}{chr(first + 40)}{text[301:]}" for text in texts[:15]]
        half = [text[:300] + "".join(draw.choices(letters, k=300)) for text in texts[15:]]
        source = tmp_path / f"{name}.txt"
        source.write_text("\n\n".join(texts + similar + half))
        manifest = prepare_corpus(str(source), tmp_path / name, dedup="near", **SMALL).manifest
        assert manifest["sources"][0]["removed"] == {"near_duplicate": 15}


def test_documents_without_words_are_compared_by_their_characters(tmp_path, make_documents):
    draw = random.Random(0)
    emoji = ["".join(draw.choices("😀😁😂🤣😃😄😅😆😉😊🚀🛸", k=400)) for _ in range(50)]
    signs = ["?!", "!?!", "***", "---"]
    similar = [f"{text[:30]}🌍{text[31:]}" for text in emoji[:5]]
    manifest = prepared(tmp_path, [*make_documents(60), *emoji, *signs, *similar, "! ?"], "near")
    assert manifest["sources"][0]["removed"] == {"near_duplicate": 5}


def test_words_are_as_before_where_spaces_separate_them():
    text = "Don't stop: naïve Straße, 3.5 हिन्दी 한국어 _x_"
    assert parts.words_or_letters(text) == re.findall(r"\w+", text)
    assert parts.words_or_letters("Wi-Fi 在这里") == ["Wi", "Fi", *"在这里"]
    assert parts.words_or_letters(" ?! 😀") == ["?", "!", "😀"]


def reference_without_repeats(texts, length):
    """Drops what stood before, one start after another."""
    seen, results = {}, []
    for number, text in enumerate(texts):
        data = text.encode()
        dropped = np.zeros(len(data), bool)
        for start in range(len(data) - length + 1):
            stretch = data[start : start + length]
            if seen.setdefault(stretch, (number, start)) != (number, start):
                dropped[start : start + length] = True
        if not dropped.any():
            results.append(text)
            continue
        kept, piece = [], bytearray()
        for byte, is_dropped in [*zip(data, dropped, strict=True), (0, True)]:
            if not is_dropped:
                piece.append(byte)
            elif piece:
                kept.append(piece.decode(errors="ignore").strip())
                piece = bytearray()
        results.append("\n".join(filter(None, kept)))
    return results


def test_stretches_that_stood_before_are_dropped():
    draw = random.Random(0)
    boilerplate = "Alle Rechte vorbehalten © Verlag, größte Auswahl – jetzt bestellen! "
    texts = []
    for seed in range(12):
        text = " ".join(words(30, seed)) + " été "
        place = draw.randrange(len(text))
        texts.append(text[:place] + boilerplate + text[place:] if seed % 3 else text)
    texts += ["", "kurz", texts[0][10:120], "ab" * 60]
    remaining = deduplication.without_repeats(texts, 40)
    assert remaining == reference_without_repeats(texts, 40)
    assert boilerplate.strip() in remaining[1]
    assert not any("Rechte" in text for text in remaining[2:])
    assert remaining[0] == texts[0]


def test_no_stretch_reaches_over_the_end_of_a_text():
    # one text ends and the next begins as two before; together they would be long enough
    texts = [
        "a" * 10 + "-first ending",
        "second start-" + "b" * 10,
        "c" * 10 + "-first ending",
        "second start-" + "d" * 10,
    ]
    assert deduplication.without_repeats(texts, 20) == texts


def test_repeated_stretches_leave_the_corpus(tmp_path, make_documents):
    documents = make_documents(80)
    footer = "This page was last edited by somebody whose name we do not know at all."
    texts = [*(f"{document}\n{footer}" for document in documents), documents[0][:150]]
    manifest = prepared(tmp_path, texts, "substring:50")
    plain = prepared(tmp_path, texts, "none")
    assert manifest["sources"][0]["removed"] == {"repeated": 1}
    assert plain["sources"][0]["characters"] - manifest["sources"][0]["characters"] > 79 * len(footer)


def test_groups_are_as_large_as_their_bytes_are(monkeypatch, tmp_path):
    for index, text in enumerate(["a" * 300, "中" * 300, "中" * 300, "a" * 300]):
        parts.write_documents(tmp_path / f"{index:06d}.arrow", [text], [index], [1])
        parts.write_json(parts.record_path(tmp_path, index), parts.sizes([text]))
    monkeypatch.setattr(deduplication, "_GROUP_BYTES", 1200)
    assert deduplication.groups(parts.Documents(tmp_path)) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("normalizer", ["bert", "cramming"])
def test_what_is_left_of_a_document_has_as_many_words_as_if_it_had_been_read_so(tmp_path, normalizer):
    footer = "This page was last edited by somebody whose name we do not know at all."
    texts = [f"去北京 of {word}\n{footer}" for word in words(9, 0)]
    parts.write_documents(tmp_path / "000000.arrow", texts, list(range(9)), [0] * 9)
    parts.write_json(parts.record_path(tmp_path, 0), parts.sizes(texts))
    (tmp_path / "out").mkdir()
    deduplication.DropRepeats(parts.Documents(tmp_path), tmp_path / "out", 50, normalizer)([0])
    left = parts.Documents(tmp_path / "out")
    _, _, counts = left.numbers(0)
    assert counts.tolist() == [(5 if normalizer == "bert" else 3) + 15 * (place == 0) for place in range(9)]
    assert left.records[0]["bytes"] == sum(len(text.encode()) for text in left.texts(0, left.selected(0)))
