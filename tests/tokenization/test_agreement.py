"""The corpus's tokenizer, the model's in Python and in a graph, and TensorFlow Text's give the same ids."""

import collections
import random

import numpy as np
import pytest

from budgetbert.tokenization.encoder import Encoder, PieceCounter
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, standalone_tokenizer, train_vocabulary
from budgetbert.tokenization.words import LONGEST_ENTRY, separate
from tests.texts import HARD, LANGUAGES, real_lines

from .each_tokenizer import NORMALIZERS, differing_code_points, encode_with_each, in_plain_python, spans

pytestmark = pytest.mark.without_backend

# Letters and digits that are newer than the Unicode of `tokenizers`, whose NFKC leaves them as they are.
NEWER = "32FF A7F2-A7F4 AB69 10781-10785 10787-107B0 107B2-107BA 1171E 1F16C 1FBF0-1FBF9"


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


# Of scripts with and without spaces, with and without marks; in each no word is longer than the text.
STRETCHES = {
    "letters": "a",
    "base64": "aGVsbG8gd29ybGQsIHRoaXMgaXMgYmFzZTY0",
    "Russian": "я",
    "decomposed": "a\u0323\u0302o\u031b\u0301",
    "Devanagari": "क्षत्रिय",
    "Thai": "ภาษาไทยไม่มีช่องว่างระหว่างคำที่นี่",
    "Lao": "ພາສາລາວບໍ່ມີຊ່ອງຫວ່າງ",
    "Khmer": "ភាសាខ្មែរមិនមានចន្លោះ",
    "Burmese": "မြန်မာဘာသာစကားသည်",
    "Tibetan": "བོདསྐདཡིནཔརེད",
    "Tibetan with tshegs": "བོད་སྐད་ཡིན་པ་རེད་",
    "kana": "コーヒーがぎぐﾊﾟﾝカメラ",
    "Korean": "한국어문장입니다각각",
    "emoji": "😀👨‍👩‍👧🇫🇷✈️🤷🏽‍♀️",
    "N'Ko": "ߒߞߏߦߋߝߐ߫ߞߊ߲",
    "mixed": "abcไทย1かな",
}


@pytest.mark.parametrize("normalizer", [NORMALIZERS[0], NORMALIZERS[2], NORMALIZERS[3], NORMALIZERS[4]], ids=repr)
def test_all_agree_on_long_stretches_and_none_is_unknown(normalizer):
    texts = [(stretch * 400)[:length] + " and so on" for stretch in STRETCHES.values() for length in (33, 34, 101, 400)]
    texts += [character * length + " x" for character in "aя가😀" for length in (24, 25, 26, 33, 34, 50, 51, 100, 101)]
    ids, vocabulary = agree(normalizer, texts * 2, 2048)
    assert max(len(entry.removeprefix("##").encode()) for entry in vocabulary) <= LONGEST_ENTRY
    assert not any(vocabulary.index("[UNK]") in row for row in ids)


def test_a_cut_leaves_marks_with_their_base_and_shorter_words_whole():
    thai = "ก่" * 40
    cut = separate(thai).split()
    assert "".join(cut) == thai
    assert [len(piece) for piece in cut] == [34, 34, 12]
    assert not any(piece[0] == "\u0e48" for piece in cut)
    assert [len(piece) for piece in separate("ß" * 250).split()] == [100, 100, 50]
    for whole in (
        "ü" * 50,
        "a" * 100,
        "क" * 33,
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamter",
    ):
        assert separate(whole).split() == [whole]


def newer():
    ends = [(span.split("-") * 2)[:2] for span in NEWER.split()]
    return {point for first, last in ends for point in range(int(first, 16), int(last, 16) + 1)}


def left(differing):
    """What differs, as text, but for those letters in `tokenizer.json`."""
    return {
        name: spans(sorted(points - (newer() if name == "tokenizer.json" else set()))) for name, points in differing
    }


@pytest.mark.parametrize("normalizer", [NORMALIZERS[3], NORMALIZERS[4]], ids=repr)
def test_all_agree_on_code_points_of_all_categories(normalizer):
    pytest.importorskip("tensorflow_text")
    assert not any(left(differing_code_points(normalizer, every=64).items()).values())


@pytest.mark.soak  # Some minutes: `pytest -s -m soak tests/tokenization` prints what docs/CORPUS.md lists.
@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_all_agree_on_every_code_point(normalizer):
    pytest.importorskip("tensorflow_text")
    differing = differing_code_points(normalizer)
    print(normalizer, {name: spans(sorted(points)) for name, points in differing.items()})
    assert not any(left(differing.items()).values())


WRITTEN = [
    "[PAD] a [MASK] b[SEP]c [CLS]",
    "[pad] [mask] ［MASK］ ［PAD］ [MA\u00adSK] [MA\uf8ffSK]",
    "[MASK][MASK]\u0301x[UNK]y[PAD]z",
    "[MÁSK] [[MASK]] [ MASK ] [MASK",
    "\U0010fff0 \U0010fff1a",
]


def served(model, texts):
    """The ids that a served model attends to, without [CLS] and [SEP]."""
    import tensorflow as tf

    from budgetbert.export.packing import pack

    row = tf.function(lambda strings: pack(model, [strings], 512))(tf.constant(texts))
    rows = zip(row["token_ids"].numpy(), row["padding_mask"].numpy(), strict=True)
    return [ids[mask == 1].tolist()[1:-1] for ids, mask in rows]


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=repr)
def test_special_tokens_in_a_text_are_the_same_everywhere_and_padding_is_none(normalizer):
    tf = pytest.importorskip("tensorflow")
    from budgetbert.models import BertBudgetTokenizer

    vocabulary = train_vocabulary(
        PieceCounter(normalizer)([*WRITTEN, "abcxyz pad mask unk cls sep PADMSKUNCLE"] * 2), 256
    )
    options = {"lowercase": normalizer.lowercase, "strip_accents": normalizer.strip_accents}
    model = BertBudgetTokenizer(vocabulary, normalizer=normalizer.kind, **options)
    standalone = standalone_tokenizer(vocabulary, normalizer)
    expected = [row.ids for row in standalone.encode_batch(WRITTEN, add_special_tokens=False)]
    assert [in_plain_python(model)(text).tolist() for text in WRITTEN] == expected
    assert tf.function(model)(tf.constant(WRITTEN)).to_list() == expected
    assert served(model, WRITTEN) == expected
    assert not any(0 in row for row in expected)
    assert [row.count(vocabulary.index("[MASK]")) for row in expected] == [1, 0, 2, 1, 0]
    prepared = Encoder(vocabulary, normalizer, np.uint16)(WRITTEN)
    assert not any(set(range(5)) & set(row.tolist()) for row in prepared)


def test_bytes_that_are_not_utf_8_are_spaces_everywhere():
    tf = pytest.importorskip("tensorflow")
    from budgetbert.models import BertBudgetTokenizer

    draw = random.Random(0)
    texts = [
        b"caf\xe9 au lait",
        b"a\xed\xa0\x80b",
        b"\xff",
        b"\xf0\x9f\x98",
        b"\xc0\xafx",
        b"\xf4\x90\x80\x80y",
        b"a\x00b",
    ]
    texts += [draw.randbytes(60) for _ in range(300)]
    texts += ["aя가😀".encode()[:end] + b"b" for end in range(10)]
    vocabulary = [*SPECIAL_TOKENS, *map(chr, range(33, 127)), *(f"##{chr(number)}" for number in range(33, 127))]
    model = BertBudgetTokenizer(vocabulary)
    expected = [
        ids.tolist()
        for ids in Encoder(vocabulary, model.normalizer, np.uint16)([t.decode(errors="replace") for t in texts])
    ]
    assert [in_plain_python(model)(text).tolist() for text in texts] == expected
    assert tf.function(model)(tf.constant(texts)).to_list() == expected
    assert served(model, texts) == expected


def test_halves_of_surrogate_pairs_are_spaces():
    pytest.importorskip("tensorflow")
    from budgetbert.models import BertBudgetTokenizer

    model = BertBudgetTokenizer([*SPECIAL_TOKENS, "a", "b", "##a", "##b"])
    assert list(model("a\ud83db")) == list(in_plain_python(model)("a\ud83db")) == [5, 6]
    assert [list(row) for row in model(["a\ud83d", "ab"])] == [[5], [5, 8]]
