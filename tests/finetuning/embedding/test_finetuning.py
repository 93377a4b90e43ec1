"""From a file of pairs to a model of vectors, a page, and vectors for another file."""

import json
import random

import keras
import numpy as np
import pyarrow.parquet
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.data import Examples
from budgetbert.finetuning.embedding.data import read_pairs
from budgetbert.finetuning.embedding.encoded import EncodedTexts
from budgetbert.finetuning.embedding.head import EmbeddingHead
from budgetbert.finetuning.labelled.harness import finetune
from budgetbert.finetuning.tasks import Task
from budgetbert.models.contrastive import contrast_labels
from tests.finetuning import folder
from tests.finetuning.labelled.files import given, write
from tests.finetuning.labelled.test_labelled import labelled
from tests.models.examples import LETTERS, tokenizer


def pairs(count, seed=0):
    """Letters in an order, and the same with other words between."""
    generator = random.Random(seed)
    drawn = [generator.sample(LETTERS, 3) for _ in range(count)]
    return [(f"the {' '.join(letters)}", f"{', '.join(letters)} on the mat.") for letters in drawn]


def train(path, output_dir, **flags):
    options = given(train=path, output_dir=output_dir, task="embed")
    vars(options).update({"learning_rate": 3e-3, "epochs": 4, "seeds": 1, "batch_size": 16, **flags})
    keras.utils.set_random_seed(0)
    model = folder.pretrained()
    return finetune(options, read_pairs(options), lambda path: model)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The file of pairs, the directory of a finetuning on it, and what it returned."""
    place = tmp_path_factory.mktemp("pairs")
    path = write(place / "a.csv", ("anchor", "positive"), pairs(160))
    return path, place / "out", train(path, place / "out", sizes="32")


@pytest.mark.any_backend
def test_pairs_are_learned_and_told_beside_what_costs_nothing(trained):
    _, directory, result = trained
    entry = result["tasks"]["embed"]
    assert json.loads((directory / "metrics.json").read_text()) == json.loads(json.dumps(result))
    assert entry["main_metric"] == "ndcg_at_10"
    assert set(entry["baselines"]) == {"tfidf_cosine", "bm25", "static"}
    assert entry["dev"]["metrics"]["recall_at_10"] > 0.9 > entry["majority"]["recall_at_10"]
    assert set(entry["dev"]["sizes"]) == {"32"}
    page = (directory / "metrics.html").read_text()
    for told in ("nDCG@10", "BM25", "means of its token vectors", "no anchor on both sides"):
        assert told in page


@pytest.mark.any_backend
def test_the_model_reads_strings_and_has_its_settings(trained):
    _, directory, _ = trained
    model = keras.models.load_model(directory / "model.keras")
    assert (model.sizes, model.temperature, model.preprocessor.sequence_length) == ((32,), 0.05, 64)
    anchors, positives = (model.encode_text(list(column), verbose=0) for column in zip(*pairs(8, seed=1), strict=True))
    assert (anchors @ positives.T).argmax(axis=1).tolist() == list(range(8))


@pytest.mark.any_backend
@pytest.mark.parametrize("ending", ["npy", "parquet", "jsonl"])
def test_each_row_of_a_file_gets_its_vector(trained, ending, tmp_path):
    _, directory, _ = trained
    texts = [anchor for anchor, _ in pairs(20, seed=2)]
    rows = [(text,) for text in texts]
    rows[4] = (" ",)
    path, output = write(tmp_path / "new.csv", ("text",), rows), tmp_path / f"out.{ending}"
    totals = labelled(directory / "model.keras", path, output)
    assert (totals.rows, totals.unreadable) == (20, 1)
    if ending == "npy":
        vectors = np.load(output)
        assert vectors.dtype == np.float32 and np.isnan(vectors[4]).all()
    else:
        lines = output.read_text().splitlines() if ending == "jsonl" else None
        found = map(json.loads, lines) if lines else pyarrow.parquet.read_table(output).to_pylist()
        vectors = [row["vector"] for row in found]
        assert vectors[4] is None
    expected = keras.models.load_model(directory / "model.keras").encode_text(texts, verbose=0)
    for place in (0, 3, 5, 19):
        np.testing.assert_allclose(vectors[place], expected[place], atol=1e-5)


@pytest.mark.slow
@pytest.mark.any_backend
def test_scores_and_texts_alone_are_learned(tmp_path):
    right, drawn = pairs(60), pairs(120, seed=3)
    wrong = [(first[0], second[1], 0.0) for first, second in zip(drawn[:60], drawn[60:], strict=True)]
    rows = [*((*pair, 1.0) for pair in right), *wrong]
    scored = train(write(tmp_path / "a.csv", ("text1", "text2", "score"), rows), tmp_path / "scored")
    assert scored["tasks"]["embed"]["metrics"]["spearman"]["median"] > 0.5
    assert "mean_absolute_error" not in (tmp_path / "scored" / "metrics.html").read_text()
    texts = write(tmp_path / "b.csv", ("text",), [(b,) for _, b in pairs(60)])
    alone = train(texts, tmp_path / "alone", epochs=1)
    assert 0 <= alone["tasks"]["embed"]["metrics"]["mrr"]["median"] <= 1


@pytest.mark.without_backend
def test_the_rows_of_a_batch_follow_one_another_and_padding_counts_nothing():
    texts = (["the cat", "a dog sat on the mat"], ["cat", "dog"], ["mat", "the cat"])
    encoded = EncodedTexts(Examples(texts, None, ()), tokenizer(), 16)
    batch = encoded.batch(np.array([1, 0]), 3)
    assert batch["token_ids"].shape == (9, encoded.length_of([0, 1]))
    turned = tuple(column[::-1] for column in texts)
    np.testing.assert_array_equal(batch["labels"][:6], contrast_labels(turned).reshape(-1, 4))
    assert (batch["labels"][6:] == -1).all()
    assert batch["weights"].tolist() == [1, 0, 0, 1, 0, 0, 0, 0, 0]
    rows = zip(batch["token_ids"][:6], batch["padding_mask"][:6], strict=True)
    words = [tokenizer().detokenize(row[mask == 1][1:-1]) for row, mask in rows]
    assert words == [text for row in zip(*turned, strict=True) for text in row]


@pytest.mark.without_backend
def test_sizes_that_the_model_does_not_have_are_one_sentence():
    task = Task("embed", "Vectors", ("a", "b"), None, (), ("mrr",), None, (), ())
    with pytest.raises(InputError, match="--sizes 64,512 are not all under the model's width of 128"):
        EmbeddingHead(task, sizes=(64, 512)).make_model(_Pretrained(), 0.1, 16, "float32")


class _Pretrained:
    config = {"hidden_dim": 128}
