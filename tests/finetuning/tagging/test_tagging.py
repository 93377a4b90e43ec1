"""From a file with a tag for each word to a model, a page, and entities in another file."""

import json
import random
import types

import keras
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning import kinds
from budgetbert.finetuning.labelled.harness import finetune
from budgetbert.finetuning.tagging.data import TaggedExamples
from budgetbert.finetuning.tagging.entity_metrics import entity_scores
from budgetbert.finetuning.tagging.head import TagHead
from tests.finetuning import folder
from tests.finetuning.labelled import files
from tests.finetuning.labelled.files import given
from tests.finetuning.labelled.test_labelled import labelled, read_output


def sentences(count, seed=0):
    """Sentences of words with tags: a cat is a CAT, a dog with its mat a DOG."""
    generator = random.Random(seed)
    for number in range(count):
        words = folder.sentence(generator, number % 3 != 0).split()
        before = [None, *words]
        yield (
            words,
            [
                {"cat": "B-CAT", "dog": "B-DOG"}.get(word, "I-DOG" if (last, word) == ("dog", "mat") else "O")
                for last, word in zip(before, words, strict=False)
            ],
        )


def write(path, count=150, seed=0):
    lines = ("\n".join(map(" ".join, zip(*sentence, strict=True))) for sentence in sentences(count, seed))
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def train(path, output_dir, **flags):
    options = given(train=path, output_dir=output_dir)
    vars(options).update({"learning_rate": 5e-3, "epochs": 24, "seeds": 1, **flags})
    keras.utils.set_random_seed(0)
    model = folder.pretrained()
    return finetune(options, kinds.read(options), lambda path: model)


@pytest.fixture(scope="module")
def tags(tmp_path_factory):
    """The file of cats and dogs, the directory of a finetuning on it, and what it returned."""
    place = tmp_path_factory.mktemp("tags")
    path = write(place / "a.conll")
    return path, place / "out", train(path, place / "out")


@pytest.mark.any_backend
def test_tags_are_learned_and_told(tags):
    _, directory, result = tags
    entry = result["tasks"]["tag"]
    assert entry["metrics"]["entity_f1"]["median"] > 0.9
    assert entry["baselines"]["majority"]["dev"]["entity_f1"] == 0.0
    # "mat" is seldom part of a dog's mat, so that its most frequent tag is O.
    assert 0.5 < entry["baselines"]["words"]["dev"]["entity_f1"] < 1.0
    assert {row["name"] for row in entry["dev"]["classes"]} == {"CAT", "DOG"}
    page = (directory / "metrics.html").read_text()
    for told in ("F1 of entities", "each word&#39;s most frequent tag", "Calibration", "surest mistakes", "DOG"):
        assert told in page
    assert "the name of the file says so" in result["notes"][0]


@pytest.mark.any_backend
def test_the_model_finds_the_entities_of_strings(tags, tmp_path):
    _, directory, _ = tags
    rows = [" ".join(words) for words, _ in sentences(20, seed=1)]
    path = files.write(tmp_path / "new.csv", ("text",), [(text,) for text in rows])
    labelled(directory / "model.keras", path, tmp_path / "out.jsonl")
    found = read_output(tmp_path / "out.jsonl")
    assert len(found) == 20 and not any(row["problem"] for row in found)
    for row, text in zip(found, rows, strict=True):
        for entity in row["entities"]:
            assert text[entity["start"] : entity["end"]] == entity["text"]
        expected = [word.upper() for word in text.split() if word in ("cat", "dog")]
        assert [entity["label"] for entity in row["entities"]] == expected
    labelled(directory / "model.keras", path, tmp_path / "out.csv")
    in_table = read_output(tmp_path / "out.csv")
    assert json.loads(in_table[0]["entities"])[0]["text"] == found[0]["entities"][0]["text"]
    labelled(directory / "model.keras", path, tmp_path / "out.parquet")
    assert read_output(tmp_path / "out.parquet") == found


@pytest.mark.any_backend
def test_scores_in_training_are_those_of_the_finished_model(tags):
    """Rows by length, several rows a sentence, words without pieces: `judge` says what `predict` does."""
    path, directory, result = tags
    model = keras.models.load_model(directory / "model.keras", compile=False)
    dev = kinds.read(given(train=path)).examples["dev"]
    predicted = model.predict(dev.words, verbose=0)
    assert entity_scores(dev.tags, predicted)["entity_f1"] == result["tasks"]["tag"]["dev"]["metrics"]["entity_f1"]


@pytest.mark.without_backend
def test_a_batch_holds_the_labels_of_first_pieces_alone():
    model, names = folder.pretrained(), ("O", "B-CAT", "B-DOG", "I-DOG")
    task = types.SimpleNamespace(labels=names)
    words, tags = map(list, zip(*sentences(5), strict=True))
    words[3], tags[3] = [*words[3], "\u200d"], [*tags[3], "B-CAT"]  # of which the tokenizer keeps nothing
    encoded = TagHead(task).encode(TaggedExamples(words, tags), model.preprocessor.tokenizer, 64)
    assert len(encoded) == 5
    batch = encoded.batch(np.array([3, 0]), 4)
    assert batch["weights"].sum() == len(words[3]) - 1 + len(words[0])
    assert batch["weights"][2:].sum() == 0 and batch["padding_mask"][2:].sum() == 2
    assert [names[label] for label in batch["labels"][1][batch["weights"][1] > 0]] == tags[0]


@pytest.mark.without_backend
@pytest.mark.parametrize(
    "name, text, sentence",
    [
        ("a.conll", "the O\ncat O\n", "has one tag, 'O', for all words: name another column"),
        ("a.conll", "the\ncat\n", "has one column: give a word and its tag in each line"),
        ("a.conll", "the O\ncat\n", "each word needs a tag"),
        ("a.conll", "the O\ncat B-CAT\n", "has 1 sentence, too few to hold some out"),
        ("a.conll", "", "holds no words"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}\n', "1 word and 2 tags"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O", "O"]}\n', "no list of strings in the column 'tokens'"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [3]}\n', "no list of strings in the column 'tags'"),
        ("a.jsonl", '{"sentence": ["a"], "x": ["O"], "y": 1}\n', "name it with --label"),
        ("a.csv", "tokens,tags\na b,O O\n", "no list of strings in the column 'tokens'"),
        ("a.bin", "x", "is no file with columns"),
    ],
)
def test_bad_files_are_told_in_a_sentence(name, text, sentence, tmp_path):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=sentence) as caught:
        kinds.read(given(train=path, task="tag"))
    assert str(caught.value).count("\n") == 0


@pytest.mark.without_backend
def test_bad_flags_are_told_in_a_sentence(tmp_path):
    path = write(tmp_path / "a.conll", 20)
    with pytest.raises(InputError, match="--text word is no column of a CoNLL file"):
        kinds.read(given(train=path, text="word"))
    with pytest.raises(InputError, match="has 2 columns, and column 7 was asked for"):
        kinds.read(given(train=path, label="7"))
    other = tmp_path / "b.conll"
    other.write_text("the O\nwolf B-WOLF\n", encoding="utf-8")
    with pytest.raises(InputError, match="sentence 1: the tag 'B-WOLF' is none of those of --train"):
        kinds.read(given(train=path, dev=other))
    with pytest.raises(InputError, match="--task tag reads one"):
        kinds.read(given(train=path, text_pair="3"))


@pytest.mark.without_backend
def test_records_and_columns_of_words_are_the_same_examples(tmp_path):
    rows = [dict(zip(("tokens", "ner_tags"), sentence, strict=True)) for sentence in sentences(30)]
    rows.insert(2, {"tokens": ["one"], "ner_tags": []})
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    of_records, of_columns = (
        kinds.read(given(train=name, task="tag")) for name in (path, write(tmp_path / "a.iob", 30))
    )
    assert of_records.counts["unusable_rows"] == {"train": 1} and "line 3" in " ".join(of_records.told)
    for flag in ("train", "dev"):
        assert of_records.examples[flag].words == of_columns.examples[flag].words
        assert of_records.examples[flag].tags == of_columns.examples[flag].tags
    assert of_columns.task.labels == ("O", "B-CAT", "B-DOG", "I-DOG")
