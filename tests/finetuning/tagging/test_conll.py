import gzip
import os

import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.tagging.conll import read_conll

pytestmark = pytest.mark.without_backend

CONLL = (
    "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\n\nPeter NNP B-PER\n-DOCSTART- -X- O\n\nBlackburn NNP I-PER\n"
)
UNIVERSAL = (
    "# newdoc id = a\n# text = zum Haus\n1-2\tzum\t_\t_\t_\t_\t_\t_\t_\t_\n1\tzu\tzu\tADP\tAPPR\t_\t0\troot\t_\t_\n"
    "2\tdem\tder\tDET\tART\t_\t1\tdet\t_\t_\n2.1\tleer\t_\tX\t_\t_\t_\t_\t_\t_\n3\t#\t#\tSYM\tSYM\t_\t1\tx\t_\t_\n\n"
)


def test_conll_is_read_by_position_and_compressed(tmp_path):
    path = tmp_path / "train.conll.gz"
    path.write_bytes(gzip.compress(CONLL.encode()))
    found = read_conll(str(path))
    assert found.words == [["EU", "rejects"], ["Peter"], ["Blackburn"]]
    assert found.tags == [["B-ORG", "O"], ["B-PER"], ["I-PER"]]
    assert (len(found), found.documents) == (3, 2)
    assert found.labels == ["O", "B-ORG", "B-PER", "I-PER"]
    assert read_conll(str(path), 1, 2).tags[0] == ["NNP", "VBZ"]
    assert read_conll(str(path), -3, -2).tags[0] == ["NNP", "VBZ"]


def test_conll_u_leaves_ranges_and_empty_nodes_aside(tmp_path):
    path = tmp_path / "dev.conllu"
    path.write_text(UNIVERSAL, encoding="utf-8")
    found = read_conll(str(path))
    assert (found.words, found.tags) == ([["zu", "dem", "#"]], [["ADP", "DET", "SYM"]])
    assert found.documents == 1
    assert read_conll(str(path), tag_column=5).tags == [["APPR", "ART", "SYM"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a O\nb\n", "line 2: it has 1 columns .'b'., the first line with a word 2"),
        ("a\tO\nb\t\n", "line 2: it has 2 columns"),
        ("a O\nb c O\n", "line 2: it has 3 columns"),
        ("a\nb\n", "line 1 has one column"),
        ("\n\n", "holds no words"),
        ("a O\n\udcff O\n", "line 2 is not UTF-8"),
    ],
)
def test_what_is_wrong_is_one_sentence_with_the_line(tmp_path, text, words):
    path = tmp_path / "train.conll"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=words):
        read_conll(str(path))
    with pytest.raises(InputError, match="No such file"):
        read_conll(str(tmp_path / "none.conll"))


def test_columns_are_those_of_the_file(tmp_path):
    path = tmp_path / "train.conll"
    path.write_text("a O\n", encoding="utf-8")
    with pytest.raises(InputError, match="has 2 columns, and column 3 was asked for"):
        read_conll(str(path), tag_column=3)
    with pytest.raises(InputError, match="column 1 is asked for as word and as tag"):
        read_conll(str(path), tag_column=1)


@pytest.mark.parametrize(
    ("name", "sentences", "words", "entities"),
    [
        ("wnut17/wnut17train.conll.xz", 3394, 62730, 1975),
        ("wnut17/emerging.dev.conll.xz", 1009, 15733, 836),
    ],
)
def test_wnut_17_has_its_published_counts(name, sentences, words, entities):
    folder = os.environ.get("BUDGETBERT_DATA")
    if not folder:
        pytest.skip("BUDGETBERT_DATA, the folder of real data, is not set")
    found = read_conll(os.path.join(folder, "finetune", "tokclass", name))
    assert (len(found), sum(map(len, found.words))) == (sentences, words)
    assert sum(tag.startswith("B-") for tags in found.tags for tag in tags) == entities
