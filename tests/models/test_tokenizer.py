import json
import os

import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetTokenizer
from budgetbert.tokenization.encoder import Encoder
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import standalone_tokenizer

from .examples import TEXTS, VOCABULARY, tokenizer

# Case, accents, special tokens in the text and beside punctuation, one in small letters, invisible and private-use
# characters, brackets.
LINES = [
    *TEXTS[:4],
    "The [MASK] sat[MASK]on[CLS] [SEP]the mat[UNK].[PAD]",
    "the [mask] is not [Mask]",
    "ca\u00adfe\u0301 \U0010fff0 the\ncat [[MASK]]",
    "ﬁ ½ ẞ ΟΔΟΣ",
    "",
]


def as_lists(ids):
    return [[int(i) for i in row] for row in ids]


def words(text, **kwargs):
    tokens = tokenizer(**kwargs)
    return [tokens.id_to_token(int(i)) for i in tokens([text])[0]]


def test_text_is_normalised():
    assert words("The CAT, Paris Straße café") == ["the", "cat", ",", "par", "##is", "strasse", "cafe"]


def test_cased_text_keeps_its_capitals():
    assert words("The cat", lowercase=False) == ["[UNK]", "cat"]
    assert words("café", lowercase=True, strip_accents=False) == ["[UNK]"]


def test_special_tokens_in_the_text_stand_for_themselves():
    assert words("The [MASK]sat [SEP]") == ["the", "[MASK]", "sat", "[SEP]"]
    assert words("[mask]") == ["[", "m", "##a", "##s", "##k", "]"]


@pytest.mark.parametrize("normalizer", ["bert", "cramming"])
@pytest.mark.parametrize("lowercase", [True, False])
def test_private_use_characters_are_dropped_as_in_a_corpus(normalizer, lowercase):
    # the ends of the three areas, what bullets of PDFs are, and those that mark special tokens while text is normalised
    points = [0xE000, 0xF0B7, 0xF8FF, 0xF0000, 0xFFFFD, 0x100000, *range(0x10FFF0, 0x10FFF5), 0x10FFFD]
    texts = [
        text.format(chr(point)) for point in points for text in ("{0}the cat", "the {0} cat", "t{0}he cat{0}", "{0}")
    ]
    expected = [[] if text.isspace() or len(text) == 1 else ["the", "cat"] for text in texts]
    tokens = tokenizer(normalizer=normalizer, lowercase=lowercase)
    ids = as_lists(tokens(texts))
    assert [[tokens.id_to_token(i) for i in row] for row in ids] == expected
    rows = Encoder(VOCABULARY, tokens.normalizer, np.uint16)(texts)
    assert [row.tolist() for row in rows] == ids
    standalone = standalone_tokenizer(VOCABULARY, tokens.normalizer)
    assert [standalone.encode(text, add_special_tokens=False).ids for text in texts] == ids
    tf = pytest.importorskip("tensorflow")
    assert tf.function(lambda x: tokens(x))(tf.constant(texts)).to_list() == ids
    assert words(f"[MASK]{chr(0x10FFF4)} the") == words("[MASK] the") == ["[MASK]", "the"]
    # What becomes the name of a special token was not written so.
    assert words(f"[{chr(0xE000)}MASK]") == words("[mask]") == ["[", "m", "##a", "##s", "##k", "]"]


def test_special_tokens_in_the_text_can_be_text():
    # as in a prepared corpus
    assert words("The [MASK]", special_tokens_in_strings=False) == ["the", "[", "m", "##a", "##s", "##k", "]"]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False])
@pytest.mark.parametrize("normalizer", ["bert", "cramming", "checkpoint"])
def test_a_tensorflow_graph_gives_the_same_ids(lowercase, strip_accents, normalizer):
    tf = pytest.importorskip("tensorflow")
    tokens = tokenizer(lowercase=lowercase, strip_accents=strip_accents, normalizer=normalizer)
    in_graph = tf.function(lambda x: tokens(x))(tf.constant(LINES)).to_list()
    assert in_graph == as_lists(tokens(LINES))
    assert in_graph[4].count(4) == 2


@pytest.mark.parametrize("normalizer", ["bert", "checkpoint"])
@pytest.mark.parametrize("preferred", [True, False])
def test_text_is_read_in_python_everywhere_but_in_a_graph(preferred, normalizer, monkeypatch):
    tokens = tokenizer(normalizer=normalizer, _allow_python_workflow=preferred)  # what KerasHub's own choice follows
    reference = standalone_tokenizer(VOCABULARY, tokens.normalizer)
    expected = [reference.encode(line, add_special_tokens=False).ids for line in LINES]
    taken = []
    for path in ("_tokenize_python", "_tokenize_tf"):  # the two that KerasHub has
        inner = getattr(tokens, path)
        monkeypatch.setattr(tokens, path, lambda x, path=path, inner=inner: (taken.append(path), inner(x))[1])
    assert as_lists(tokens(LINES)) == expected
    assert set(taken) == {"_tokenize_python"}
    taken.clear()
    tf = pytest.importorskip("tensorflow")
    assert tf.function(lambda x: tokens(x))(tf.constant(LINES)).to_list() == expected
    assert set(taken) == {"_tokenize_tf"}


@pytest.mark.parametrize("normalizer", ["bert", "checkpoint"])
def test_a_single_string_and_a_dense_batch(normalizer):
    tokens = tokenizer(normalizer=normalizer)
    assert [int(i) for i in tokens("the cat")] == as_lists(tokens(["the cat"]))[0]
    assert len(tokens("")) == 0
    dense = tokenizer(normalizer=normalizer, sequence_length=5)
    assert tuple(dense(["the cat", "the cat sat on the mat"]).shape) == (2, 5)
    assert [int(i) for i in dense("the cat")] == [*map(int, tokens("the cat")), 0, 0, 0]
    tf = pytest.importorskip("tensorflow")
    assert tf.function(lambda x: dense(x))(tf.constant("the cat")).numpy().tolist() == [*tokens("the cat"), 0, 0, 0]


def test_special_tokens_are_found_by_name():
    vocabulary = ["[PAD]", "[unused0]", "[UNK]", "the", "[CLS]", "[SEP]", "[MASK]"]
    tokens = BertBudgetTokenizer(vocabulary)
    ids = (tokens.pad_token_id, tokens.unk_token_id, tokens.cls_token_id, tokens.sep_token_id, tokens.mask_token_id)
    assert ids == (0, 2, 4, 5, 6)
    assert sorted(tokens.special_token_ids) == [0, 2, 4, 5, 6]


def test_a_vocabulary_without_a_special_token_is_refused():
    with pytest.raises(ValueError, match=r"\[MASK\]"):
        BertBudgetTokenizer([token for token in VOCABULARY if token != "[MASK]"])


def test_config_and_vocabulary_round_trip(tmp_path):
    tokens = tokenizer(lowercase=False, normalizer="cramming", special_tokens_in_strings=False)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(tokens)))
    twin = keras.saving.deserialize_keras_object(config)
    assert twin.normalizer == Normalizer(lowercase=False, strip_accents=True, kind="cramming")
    assert not twin.special_tokens_in_strings
    exact = tokenizer(normalizer="checkpoint", clean_text=False, handle_chinese_chars=False)
    copy = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(exact))))
    assert copy.normalizer == exact.normalizer == Normalizer(True, True, "checkpoint", False, False)
    tokens.save_assets(os.fspath(tmp_path))
    twin.load_assets(os.fspath(tmp_path))
    assert twin.get_vocabulary() == VOCABULARY
    assert as_lists(twin(LINES)) == as_lists(tokens(LINES))
