import collections
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from budgetbert.errors import InputError
from budgetbert.tokenization import encoder as encoding
from budgetbert.tokenization import vocabulary
from budgetbert.tokenization.normalizer import Normalizer

pytestmark = pytest.mark.without_backend

REPOSITORY = Path(__file__).parents[2]
SPECIAL = list(vocabulary.SPECIAL_TOKENS)


def count(documents, normalizer=None):
    return encoding.PieceCounter(normalizer or Normalizer())(documents)


def test_special_tokens_have_the_ids_0_to_4_and_the_size_is_kept(make_documents):
    entries = vocabulary.train_vocabulary(count(make_documents(300)), 256)
    assert entries[:5] == SPECIAL
    assert len(entries) == len(set(entries)) == 256
    assert {"the", "house"} <= set(entries)


def test_a_vocabulary_with_little_to_learn_from_is_filled_up_or_shrinks():
    words = collections.Counter({"abcdefghij": 3, "klmnopqrst": 3, "uvwxyz": 3})
    learnt = [entry for entry in vocabulary.train_vocabulary(words, 64) if not entry.startswith("[unused")]
    filled = vocabulary.train_vocabulary(words, 128)
    assert len(learnt) <= 64 <= len(filled) <= 128
    assert len(filled) % 64 == 0
    assert filled[-1].startswith("[unused")
    assert len(vocabulary.train_vocabulary(words, 4096)) == 128  # 50 to 100 entries: far less than half of 4,096


def han(number):
    return [chr(0x4E00 + index) for index in range(number)]


def test_the_alphabet_keeps_the_most_frequent_characters():
    characters = han(300)
    counts = collections.Counter({character: 10 + index for index, character in enumerate(characters)})
    letters = "abcdefghijklmnop"
    words = collections.Counter({f"{first}{second}": 9 for first in letters for second in letters})
    entries = vocabulary.train_vocabulary(counts + words, 256)
    kept = set(characters) & set(entries)
    assert kept == set(characters[-len(kept) :])
    assert 64 < len(kept) <= 128  # no more than half of the entries are single characters


@pytest.mark.parametrize(("number", "size"), [(100, 256), (2000, 4096), (6000, 32_768)])
def test_every_character_has_an_entry_where_there_is_room(number, size):
    entries = vocabulary.train_vocabulary(collections.Counter(dict.fromkeys(han(number), 3)), size)
    assert set(han(number)) < set(entries)


def test_the_alphabet_grows_until_few_pieces_are_unknown():
    # frequencies as in Chinese or Korean: the 1,000 most frequent of 3,000 characters are 92 % of the text
    characters = han(3000)
    counts = collections.Counter({character: int(1e6 / (place + 10)) for place, character in enumerate(characters)})
    letters = "abcdefghijklmnopqrstuvwxyz"
    counts.update({f"{a}{b}{c}{d}": 30 for a in letters for b in letters for c in letters for d in letters[:2]})
    entries = set(vocabulary.train_vocabulary(counts, 8192))
    unknown = sum(count for piece, count in counts.items() if piece in characters and piece not in entries)
    assert 0 < unknown / counts.total() <= 6 / 8192
    assert len(entries) == 8192 and "abca" in entries  # and the words still have their share


def test_rare_characters_do_not_displace_the_words_of_a_european_language(monkeypatch):
    letters = "abcdefghijklmnopqrst"
    common = collections.Counter({f"{a}{b}{c}": 90 for a in letters for b in letters for c in letters})
    common.update(dict.fromkeys(han(1000), 50))
    rare = collections.Counter(dict.fromkeys(map(chr, range(0x6000, 0x6000 + 40)), 2))
    entries = vocabulary.train_vocabulary(common + rare, 4096)
    assert not set(rare) & set(entries)
    monkeypatch.setattr(vocabulary, "UNKNOWN_IN_ENTRIES", 0)
    assert set(rare) < set(vocabulary.train_vocabulary(common + rare, 4096))


def test_training_is_the_same_in_every_process(tmp_path, make_documents):
    # Left to itself the trainer breaks ties by the order of a hash map that is seeded anew in each process.
    counts = count(make_documents(300))
    lines = "\n".join(f"{piece} {number}" for piece, number in counts.items())
    program = (
        "import sys, collections, hashlib\n"
        "from budgetbert.tokenization.vocabulary import train_vocabulary\n"
        "counts = collections.Counter({a: int(b) for a, b in map(str.split, sys.stdin)})\n"
        "print(hashlib.sha256(repr(train_vocabulary(counts, 512)).encode()).hexdigest())"
    )
    results = set()
    for threads in ("1", "2", "4"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads}
        environment |= {"PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": threads}
        done = subprocess.run(
            [sys.executable, "-c", program], input=lines, env=environment, capture_output=True, text=True, check=True
        )
        results.add(done.stdout)
    assert len(results) == 1


def test_frequencies_decide_also_where_they_are_scaled_down(monkeypatch):
    counts = collections.Counter({"frequent": 1000, "rare": 2})
    monkeypatch.setattr(vocabulary, "TRAINING_PIECES", 100)
    entries = vocabulary.train_vocabulary(counts, 128)
    assert "frequent" in entries
    assert "rare" not in entries


@pytest.mark.parametrize("kind", ["bert", "cramming"])
def test_the_standalone_tokenizer_reads_raw_text(tmp_path, make_documents, kind):
    documents = [*make_documents(50), "``Straße ΣΊΣΥΦΟΣ'' ½ ﬁne e\u0301clair so\u00adft ″ µ no\u00a0break"]
    normalizer = Normalizer(kind=kind)
    entries = vocabulary.train_vocabulary(count(documents * 3, normalizer), 256)
    vocabulary.standalone_tokenizer(entries, normalizer).save(str(tmp_path / "tokenizer.json"))
    standalone = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encode = encoding.Encoder(entries, normalizer, np.uint16)
    for document in documents:
        ids = standalone.encode(document).ids
        assert (ids[0], ids[-1]) == (2, 3)
        assert ids[1:-1] == encode([document])[0].tolist()
    assert standalone.encode("the [MASK]", add_special_tokens=False).tokens == ["the", "[MASK]"]


def test_given_special_tokens_keep_their_ids(tmp_path):
    entries = ["[PAD]", *(f"[unused{index}]" for index in range(99)), *SPECIAL[1:], "the", "##s"]
    path = tmp_path / "vocabulary.txt"
    path.write_text("\n".join(entries) + "\n")
    assert vocabulary.read_vocabulary(path) == entries
    assert list(vocabulary.special_ids(entries).values()) == [0, 100, 101, 102, 103]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\nthe\n", r"lacks \[MASK\]"),
        ("[UNK]\n[PAD]\n[CLS]\n[SEP]\n[MASK]\nword\n", r"\[PAD\] has the id 1: it has to be 0"),
        ("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\na\nthe\n", "line 8: 'the' stands in line 6 already"),
        ("[PAD]\n[UNK]\n[CLS]\n\n[SEP]\n[MASK]\n", "line 4 is empty"),
        (b"[PAD]\n\xff\n", "is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_vocabulary_that_cannot_be_used_is_refused(tmp_path, text, told):
    path = tmp_path / "vocabulary.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=told):
        vocabulary.read_vocabulary(path)
