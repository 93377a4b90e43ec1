import itertools

import numpy as np
import pytest

from budgetbert.corpus import packing
from budgetbert.corpus.packing import (
    cut_rows,
    join_documents,
    pair_rows,
    sentence_rows,
    split_sentences,
    token_dtype,
)

pytestmark = pytest.mark.without_backend

SEPARATOR, START = 3, 2
SPECIAL = {"[PAD]": 0, "[UNK]": 1, "[CLS]": START, "[SEP]": SEPARATOR, "[MASK]": 4}


def random_documents(number, dtype=np.uint16):
    generator = np.random.default_rng(0)
    return [generator.integers(5, 60_000, generator.integers(1, 300)).astype(dtype) for _ in range(number)]


def reference_stream(documents):
    stream = []
    for document in documents:
        stream += [int(token) for token in document] + [SEPARATOR]
    return stream


@pytest.mark.parametrize("start_id", [None, START])
def test_rows_and_rest_are_the_documents_each_followed_by_a_separator(start_id):
    documents = random_documents(50)
    rows, rest = cut_rows(join_documents(documents, SEPARATOR), 128, start_id)
    if start_id is not None:
        assert (rows[:, 0] == START).all()
        rows = rows[:, 1:]
    assert [*rows.ravel().tolist(), *rest.tolist()] == reference_stream(documents)
    assert rows.dtype == np.uint16


@pytest.mark.parametrize("start_id", [None, START])
def test_rest_is_shorter_than_a_row(start_id):
    for length in range(300):
        rows, rest = cut_rows(np.arange(length, dtype=np.uint16), 128, start_id)
        taken = 128 if start_id is None else 127
        assert (len(rows), len(rest)) == divmod(length, taken)
        assert rows.shape[1] == 128


def test_rows_do_not_depend_on_where_the_stream_was_interrupted():
    documents = random_documents(50)
    whole, _ = cut_rows(join_documents(documents, SEPARATOR), 128)
    pieces, rest = [], np.zeros(0, np.uint16)
    for start in range(0, 50, 7):
        stream = join_documents(documents[start : start + 7], SEPARATOR)
        rows, rest = cut_rows(np.concatenate([rest, stream]), 128)
        pieces.append(rows)
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_no_documents_give_an_empty_stream():
    assert len(join_documents([], SEPARATOR)) == 0


def test_ids_are_stored_in_two_bytes_while_they_fit():
    assert token_dtype(32_768) == np.uint16
    assert token_dtype(65_536) == np.uint16
    assert token_dtype(65_537) == np.uint32


def test_large_ids_survive_packing():
    documents = [np.array([70_000, 100_000], np.uint32), np.array([65_536], np.uint32)]
    rows, rest = cut_rows(join_documents(documents, SEPARATOR), 2)
    assert rows.tolist() == [[70_000, 100_000], [SEPARATOR, 65_536]]
    assert rest.tolist() == [SEPARATOR]


def random_sentences(number, seed, longest=60, base=5):
    """Sentences of a document whose tokens are `base`, `base` + 1 ..., so that each says where it was."""
    lengths = np.random.default_rng(seed).integers(0, longest, number)
    ends = base + np.cumsum(lengths)
    return [np.arange(end - length, end).astype(np.uint16) for end, length in zip(ends, lengths, strict=True)]


def segments(row):
    """The segments of a row as lists of tokens; the row must be [CLS], segments with [SEP] behind each, [PAD]s."""
    tokens = row.tolist()
    while tokens[-1] == 0:
        tokens.pop()
    assert tokens[0] == START
    assert tokens[-1] == SEPARATOR
    assert 0 not in tokens
    found, segment = [], []
    for token in tokens[1:]:
        if token == SEPARATOR:
            found.append(segment)
            segment = []
        else:
            segment.append(token)
    return found


def test_rows_of_sentences_hold_the_whole_document():
    for seed in range(30):
        sentences = random_sentences(50, seed)
        rows = sentence_rows(sentences, 128, SPECIAL, np.random.default_rng(seed))
        contents = [segments(row) for row in rows]
        assert all(len(content) == 1 for content in contents)
        assert [token for (content,) in contents for token in content] == np.concatenate(sentences).tolist()
        assert rows.dtype == np.uint16
        assert rows.shape[1] == 128


def test_rows_of_sentences_are_full_up_to_the_last():
    sentences = random_sentences(200, seed=1)
    generator = np.random.default_rng(1)  # its first draw is 0.51: no short rows
    rows = [content for (content,) in map(segments, sentence_rows(sentences, 128, SPECIAL, generator))]
    assert [len(row) for row in rows[:-1]] == [126] * (len(rows) - 1)
    assert 0 < len(rows[-1]) <= 126


def test_a_short_row_ends_with_the_sentence_that_reaches_its_target():
    sentences = random_sentences(200, seed=1, longest=9)
    seed = next(seed for seed in range(1000) if np.random.default_rng(seed).random() < 0.1)
    generator = np.random.default_rng(seed)
    generator.random()
    target = int(generator.integers(2, 127))
    assert 20 < target < 110
    ends = {int(sentence[-1]) for sentence in sentences if len(sentence)}
    rows = sentence_rows(sentences, 128, SPECIAL, np.random.default_rng(seed))
    for (row,) in list(map(segments, rows))[:-1]:
        assert row[-1] in ends
        assert target <= len(row) < target + 9


def test_of_one_document_in_ten_the_rows_are_short():
    sentences = random_sentences(30, seed=0, longest=8)  # over 100 tokens
    fullest = []
    for seed in range(2000):
        rows = sentence_rows(sentences, 64, SPECIAL, np.random.default_rng(seed))
        fullest.append(max(np.count_nonzero(row) for row in rows))
    short = np.array(fullest) < 64 - 8  # a row that is closed for want of room is fuller
    # targets of 2 to 62 tokens; those from 48 on may fill a row: 47 of 61 do not
    assert short.mean() == pytest.approx(0.1 * 47 / 61, abs=0.03)


def test_a_sentence_longer_than_a_row_runs_on_and_is_kept():
    long = np.arange(5, 305, dtype=np.uint16)
    rows = sentence_rows([long], 128, SPECIAL, np.random.default_rng(1))
    contents = [content for (content,) in map(segments, rows)]
    assert [len(content) for content in contents] == [126, 126, 48]
    assert np.concatenate(contents).tolist() == long.tolist()


def test_rows_are_a_function_of_document_and_seed():
    sentences = random_sentences(50, seed=3)
    prepared = [sentence_rows(sentences, 32, SPECIAL, np.random.default_rng(seed)).tobytes() for seed in range(50)]
    assert prepared[7] == sentence_rows(sentences, 32, SPECIAL, np.random.default_rng(7)).tobytes()
    assert 2 <= len(set(prepared)) <= 15  # those that draw short rows differ


def test_a_document_without_tokens_has_no_rows():
    assert sentence_rows([], 128, SPECIAL, np.random.default_rng(0)).shape == (0, 128)
    rows, labels = pair_rows([[], [np.zeros(0, np.uint16)]], 128, SPECIAL, [np.random.default_rng(0)] * 2)
    assert (rows.shape, labels.shape) == ((0, 128), (0,))


def make_pairs(number=40, sequence_length=128, longest=30):
    """Documents whose tokens do not overlap, and their rows."""
    documents, base = [], 5
    for seed in range(number):
        documents.append(random_sentences(40, seed, longest, base))
        base += sum(map(len, documents[-1]))
    generators = [np.random.default_rng([7, seed]) for seed in range(number)]
    return documents, *pair_rows(documents, sequence_length, SPECIAL, generators)


def test_a_true_pair_runs_on_and_a_random_one_changes_the_document():
    documents, rows, labels = make_pairs()
    document_of = np.concatenate(
        [[-1] * 5] + [[index] * sum(map(len, sentences)) for index, sentences in enumerate(documents)]
    )
    for row, label in zip(rows, labels, strict=True):
        first, second = segments(row)
        assert len(first) + len(second) <= 125
        assert np.all(np.diff(first) == 1)
        assert np.all(np.diff(second) == 1)
        if label:
            assert document_of[first[0]] != document_of[second[0]]
        else:
            assert second[0] == first[-1] + 1
    assert labels.dtype == np.uint8


def test_every_token_stands_once_in_a_first_or_a_true_second_segment():
    documents, rows, labels = make_pairs()
    tokens = []
    for row, label in zip(rows, labels, strict=True):
        first, second = segments(row)
        tokens += first if label else first + second
    assert tokens == np.concatenate([sentence for sentences in documents for sentence in sentences]).tolist()


def test_segments_begin_with_a_sentence_or_where_a_full_row_ended():
    documents, rows, labels = make_pairs()
    filled = [sentence for sentences in documents for sentence in sentences if len(sentence)]
    starts, ends = ({int(sentence[place]) for sentence in filled} for place in (0, -1))
    split = set()  # the tokens that begin the rest of a sentence
    for row, label in zip(rows, labels, strict=True):
        first, second = segments(row)
        assert first[0] in starts | split
        assert second[0] in starts
        assert first[-1] in ends
        if second[-1] not in ends:
            assert len(first) + len(second) == 125 or label
            if not label:
                split.add(second[-1] + 1)


def test_pairs_are_full_but_where_a_document_ends():
    documents, rows, labels = make_pairs(number=100)
    # the first draw of a document's generator says whether its rows are short
    whole = [np.random.default_rng([7, seed]).random() >= 0.1 for seed in range(100)]
    assert 80 < sum(whole) < 100
    owner = {int(token): index for index, sentences in enumerate(documents) for s in sentences for token in s}
    lasts = {int(next(s[-1] for s in reversed(sentences) if len(s))) for sentences in documents}
    for row, label in zip(rows, labels, strict=True):
        first, second = segments(row)
        if whole[owner[first[0]]] and not label and second[-1] not in lasts:
            assert len(first) + len(second) == 125


def test_half_of_the_pairs_that_could_be_true_are_random():
    # sentences of 1 to 4 tokens: almost no row has but one
    _, _, labels = make_pairs(number=200, sequence_length=24, longest=5)
    assert len(labels) > 1000
    assert labels.mean() == pytest.approx(0.5, abs=0.05)


def test_random_segments_are_as_long_as_true_ones():
    _, rows, labels = make_pairs(number=200, longest=12)
    lengths = np.array([[len(segment) for segment in segments(row)] for row in rows])
    totals = lengths.sum(axis=1)
    assert totals[labels == 1].mean() == pytest.approx(totals[labels == 0].mean(), rel=0.1)


def test_a_document_alone_takes_its_random_segments_from_itself():
    document = random_sentences(60, seed=0)
    rows, labels = pair_rows([document], 64, SPECIAL, [np.random.default_rng(0)])
    assert 0 < labels.sum() < len(labels)
    assert all(len(segments(row)) == 2 for row in rows)


def test_random_segments_are_from_each_other_document():
    documents = [random_sentences(200, seed, longest=5, base=5 + 1000 * seed) for seed in range(3)]
    rows, labels = pair_rows(documents, 16, SPECIAL, map(np.random.default_rng, range(3)))
    drawn = {tuple((part[0] - 5) // 1000 for part in segments(row)) for row in rows[labels == 1]}
    assert drawn == set(itertools.permutations(range(3), 2))


def test_a_document_without_tokens_is_no_source_of_random_segments():
    documents = [random_sentences(40, seed, base=5 + 10_000 * seed) for seed in range(4)]
    seeds = [0, 7, 1, 2, 8, 3]
    make = [np.random.default_rng([3, seed]) for seed in seeds]
    expected = pair_rows(documents, 64, SPECIAL, [make[place] for place in (0, 2, 3, 5)])
    make = [np.random.default_rng([3, seed]) for seed in seeds]
    documents = [documents[0], [], documents[1], documents[2], [np.zeros(0, np.uint16)], documents[3]]
    for one, other in zip(pair_rows(documents, 64, SPECIAL, make), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pairs_do_not_depend_on_the_place_of_the_generator():
    documents = [random_sentences(30, seed) for seed in range(4)]
    make = [np.random.default_rng([1, seed]) for seed in range(4)]
    rows, _ = pair_rows(documents, 64, SPECIAL, make)
    again, _ = pair_rows(documents, 64, SPECIAL, (np.random.default_rng([1, seed]) for seed in range(4)))
    np.testing.assert_array_equal(rows, again)


@pytest.mark.parametrize(
    "sentences",
    [
        ["Mr. Smith went to St. Louis.", "He paid $3.50 for it.", "At 5 p.m. he left."],
        ["Это кошка.", "А это собака?", "Да!"],
        ["Αυτό είναι γάτα.", "Ναι."],
        ["我喜欢猫。", "你呢？", "好。"],
        ["これは猫です。", "あれは犬です。"],
        ["यह बिल्ली है।", "वह कुत्ता है।"],
        ["هذه قطة.", "هل هذا كلب؟", "نعم."],
        ["یہ بلی ہے۔", "وہ کتا ہے۔"],
        ["Սա կատու է։", "Սա շուն է։"],
        ["ይህ ድመት ነው።", "ያ ውሻ ነው።"],
        ["ဒါက ကြောင်ပါ။", "အဲဒါက ခွေးပါ။"],
        ["នេះគឺជាឆ្មា។", "នោះគឺជាឆ្កែ។", "ចប់៕"],
        ["འདི་ཞི་མི་ཡིན།", "དེ་ཁྱི་ཡིན༎", "ལགས།"],
        ["นี่คือแมว", "นั่นคือสุนัข", "มันเห่า 3 ครั้ง"],
        ["ນີ້ແມ່ນແມວ", "ນັ້ນແມ່ນໝາ"],
    ],
)
def test_sentences_are_found_in_any_script(sentences):
    joint = "" if sentences[0][-1] == "。" else " "
    assert split_sentences(joint.join(sentences)) == sentences
    assert split_sentences("\n".join(sentences)) == sentences


def test_a_number_or_a_latin_word_ends_no_thai_sentence():
    assert split_sentences("ที่ Bangkok ราคา 50 บาท ฝนตก") == ["ที่ Bangkok ราคา 50 บาท", "ฝนตก"]
    assert split_sentences("བོད།  །ཡིན།") == ["བོད།  །", "ཡིན།"]  # two strokes, one end


def test_a_long_line_is_split_like_short_ones(monkeypatch):
    text = "He paid $3.50 for it. At 5 p.m. he left (by train). " * 20 + "我喜欢猫。" * 50
    expected = split_sentences(text)
    assert len(expected) == 90
    for length in (60, 100, 1000):
        monkeypatch.setattr(packing, "_AT_ONCE", length)
        assert split_sentences(text) == expected
    monkeypatch.undo()
    # Without an end, and with brackets that are not closed, of which `sentencex` alone would take hours.
    assert "".join(split_sentences("a" * 1_000_000)) == "a" * 1_000_000
    assert "".join(split_sentences("(「" * 1_000_000)) == "(「" * 1_000_000


def test_a_line_end_ends_a_sentence():
    assert split_sentences("A heading\nhe said:\n\n“Yes”\n") == ["A heading", "he said:", "“Yes”"]


def test_speech_is_split_like_other_text():
    text = 'He said: "One. Two!" “Three? Four.” Then (he said) "five" and “six”. «Sept. Huit.» „Neun. Zehn.“ End.'
    assert split_sentences(text) == [
        *('He said: "One.', 'Two!"', "“Three?", "Four.”", 'Then (he said) "five" and “six”.'),
        *("«Sept.", "Huit.»", "„Neun.", "Zehn.“", "End."),
    ]


def test_splitting_into_sentences_loses_nothing_but_white_space():
    text = ' One (two.) “Three? Four!” " "five" \n\n\t five...six\u2028 7.8 \x85 a\u00a0b. \x00 \ufeff☃. '
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())
    assert split_sentences(" \n ") == []
