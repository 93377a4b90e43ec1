"""The corpus's tokenizer, the model's in Python and in a graph, and TensorFlow Text's give the same ids."""

import collections

import pytest

from budgetbert.tokenization.encoder import PieceCounter
from budgetbert.tokenization.vocabulary import train_vocabulary
from tests.texts import HARD, LANGUAGES, real_lines

from .each_tokenizer import NORMALIZERS, differing_code_points, encode_with_each, spans

pytestmark = pytest.mark.without_backend

# Where tokenizers still differ behind the one normaliser, of the 282,229 code points that are assigned in Unicode 14 or
# for private use: white space that KerasHub keeps (ogham space, line and paragraph separator), U+FFFD and Arabic,
# Syriac and other format characters that Hugging Face drops, punctuation newer than one library's Unicode, and the
# start of CJK extension E, which Hugging Face does not split (a slip in the original BERT's ranges).
RARE = (
    "0600-0605 061D 06DD 070F 0890-0891 08E2 09FD 0A76 0C77 0C84 166D 1B7D-1B7E 2E43-2E4F 2E52-2E5D "
    "FFF9-FFFB 10EAD 10F55-10F59 10F86-10F89 110BD 110CD 111C9 1144B-1144F 1145A-1145B 1145D 11660-1166C 116B9 "
    "1183B 11944-11946 119E2 11A3F-11A46 11A9A-11A9C 11A9E-11AA2 11C41-11C45 11C70-11C71 11EF7-11EF8 11FFF "
    "12FF1-12FF2 13430-13438 16E97-16E9A 16FE2 1E95E-1E95F 2B820-2B91F"
)


def agree(normalizer, texts, vocabulary_size, **options):
    """Trains a vocabulary on texts, tokenizes them with each tokenizer; returns the ids and the vocabulary."""
    pytest.importorskip("tensorflow_text")
    counts = PieceCounter(normalizer)(texts)
    vocabulary = train_vocabulary(counts, vocabulary_size)
    assert len(vocabulary) % 64 == 0
    assert vocabulary[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    expected, *others = encode_with_each(vocabulary, normalizer, texts, **options).values()
    for other in others:
        assert other == expected
    return expected, vocabulary


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_all_agree_on_hard_text_and_other_alphabets(normalizer):
    # each twice: what occurs once gets no entry
    ids, vocabulary = agree(normalizer, [*HARD, *LANGUAGES] * 2, 2048)
    tokens = collections.Counter(token for line in ids[len(HARD) : len(HARD) + len(LANGUAGES)] for token in line)
    if normalizer.kind == "bert":
        assert tokens[vocabulary.index("[UNK]")] == 0
    else:
        assert all(entry.isascii() for entry in vocabulary)


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_all_agree_on_ten_thousand_real_lines(normalizer):
    lines = [line[:120] for line in real_lines(1000)]
    assert len(lines) == 10_000
    agree(normalizer, lines, 4096, in_python=False)


@pytest.mark.parametrize("normalizer", [NORMALIZERS[0], NORMALIZERS[3], NORMALIZERS[4]], ids=repr)
def test_all_agree_on_long_words(normalizer):
    lengths = (24, 25, 26, 33, 34, 50, 51, 100, 101, 400)  # in characters of 1 to 4 bytes: 100 bytes is the limit
    texts = [character * length + " and so on" for character in "aяก😀" for length in lengths]
    ids, vocabulary = agree(normalizer, texts * 2, 256)
    assert not any(len(entry.encode()) > 102 for entry in vocabulary)
    assert ids[texts.index("a" * 101 + " and so on")][0] == vocabulary.index("[UNK]")
    assert ids[texts.index("a" * 100 + " and so on")][0] != vocabulary.index("[UNK]")


def rare_code_points():
    ends = [(span.split("-") * 2)[:2] for span in RARE.split()]
    return {point for first, last in ends for point in range(int(first, 16), int(last, 16) + 1)}


@pytest.mark.parametrize("normalizer", [NORMALIZERS[3], NORMALIZERS[4]], ids=repr)
def test_all_agree_on_all_but_rare_code_points(normalizer):
    pytest.importorskip("tensorflow_text")
    rare = rare_code_points() if normalizer.kind == "bert" else set()
    assert spans(sorted(set(differing_code_points(normalizer, every=64)) - rare)) == ""


@pytest.mark.soak  # Some minutes: `pytest -s -m soak tests/tokenization` prints what docs/CORPUS.md lists.
@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_all_agree_on_every_code_point_but_rare_ones(normalizer):
    pytest.importorskip("tensorflow_text")
    differing = differing_code_points(normalizer)
    print(f"{normalizer}: {len(differing)} differ: {spans(differing)}")
    rare = rare_code_points() if normalizer.kind == "bert" else set()
    assert spans(sorted(set(differing) - rare)) == ""
