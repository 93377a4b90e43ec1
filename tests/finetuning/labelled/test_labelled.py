"""From a labelled file to a model, a page, and labels for another file."""

import csv
import json
import signal
import types
from unittest import mock

import keras
import numpy as np
import pyarrow.parquet
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import f1_score

from budgetbert.errors import InputError
from budgetbert.finetuning import finetune as engine
from budgetbert.finetuning.kinds import labeller_of
from budgetbert.finetuning.labelled import judging, labelling, predict
from budgetbert.finetuning.labelled.data import read_labelled
from budgetbert.finetuning.labelled.harness import finetune
from budgetbert.models.loading import load_trained
from budgetbert.models.logits import problem_type
from budgetbert.training.step.objectives import MultilabelClassification
from tests.finetuning import folder
from tests.finetuning.labelled.files import given, texts, write


def train(path, output_dir, **flags):
    options = given(train=path, output_dir=output_dir)
    vars(options).update({"learning_rate": 5e-3, "epochs": 6, "seeds": 2, **flags})
    keras.utils.set_random_seed(0)
    model = folder.pretrained()
    return finetune(options, read_labelled(options), lambda path: model)


def labelled(model, path, output, **flags):
    options = types.SimpleNamespace(
        **{"model": str(model), "input": str(path), "output": str(output)},
        **{"batch_size": 16, "text": None, "text_pair": None, "columns": None, **flags},
    )
    return predict.predict(options, labeller_of)


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """The labelled file of cats and dogs, the directory of a finetuning on it, and what it returned."""
    place = tmp_path_factory.mktemp("classes")
    rows = [(text, "a cat" if cat else "a dog") for text, cat in texts(150)]
    path = write(place / "a.csv", ("text", "label"), rows)
    return path, place / "out", train(path, place / "out")


@pytest.mark.without_backend
def test_classes_are_learned_and_told(classes):
    _, directory, result = classes
    entry = result["tasks"]["classify"]
    assert json.loads((directory / "metrics.json").read_text()) == json.loads(json.dumps(result))
    assert entry["metrics"]["accuracy"]["n"] == 2
    assert entry["metrics"]["accuracy"]["median"] > 0.9
    assert entry["baselines"]["majority"]["dev"]["accuracy"] == pytest.approx(10 / 15)
    assert entry["baselines"]["tfidf"]["dev"]["accuracy"] > 0.9
    page = (directory / "metrics.html").read_text()
    for told in ("a cat", "TF-IDF", "Calibration", "Confusion", "surest mistakes", "the labels are names"):
        assert told in page
    assert "the labels are names" in result["notes"][0]


@pytest.mark.without_backend
def test_the_model_reads_strings_and_has_its_labels(classes):
    _, directory, _ = classes
    model = keras.models.load_model(directory / "model.keras", compile=False)
    assert model.label_names == ["a cat", "a dog"]
    assert model.predict(["the cat sat", "the dog sat"], verbose=0).argmax(axis=1).tolist() == [0, 1]


@pytest.mark.without_backend
def test_a_finished_finetuning_is_taken_over_and_another_is_refused(classes, monkeypatch):
    path, directory, result = classes
    monkeypatch.setattr(engine, "make_step", None)  # nothing is trained
    again = train(path, directory)
    assert again["tasks"] == json.loads(json.dumps(result["tasks"]))
    with pytest.raises(InputError, match="holds another run: its protocol"):
        train(path, directory, learning_rate=1e-3)


@pytest.mark.slow
@pytest.mark.without_backend
def test_a_search_takes_the_best_of_four_rates_and_leaves_the_held_out_texts_alone(tmp_path, capsys):
    rows = [(text, "a cat" if cat else "a dog") for text, cat in texts(100)]
    path = write(tmp_path / "a.csv", ("text", "label"), rows)
    result = train(path, tmp_path / "out", learning_rate=None, search=True, seeds=1, epochs=2)
    tried = result["search"]
    rates, found = [part["learning_rate"] for part in tried], [part["accuracy"][0] for part in tried]
    assert np.allclose(np.divide(rates, rates[0]), [1, 0.5, 2, 0.25], rtol=1e-2)
    assert result["settings"]["learning_rates"] == (rates[int(np.argmax(found))],)
    # 90 of 100 rows are not held out, and of these a fifth judges the rates.
    assert "on 72 of the training examples, judged on 18 others" in capsys.readouterr().out
    assert not (tmp_path / "out" / "search" / "model.keras").exists()


@pytest.mark.without_backend
def test_a_search_among_few_examples_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", ("text", "label"), [(text, str(cat)) for text, cat in texts(30)])
    with pytest.raises(InputError, match="needs 50 training examples or more"):
        train(path, tmp_path / "out", learning_rate=None, search=True)


@pytest.mark.without_backend
@pytest.mark.slow
def test_a_killed_finetuning_goes_on_and_ends_alike(classes, tmp_path):
    path, _, result = classes
    original, calls = engine.make_step, []

    def stopping(*arguments):
        step = original(*arguments)
        apply = step.apply

        def counted(rate):
            calls.append(rate)
            if len(calls) == 60:  # in the second seed
                signal.raise_signal(signal.SIGTERM)
            return apply(rate)

        step.apply = counted
        return step

    with mock.patch.object(engine, "make_step", stopping):
        assert train(path, tmp_path / "out") is None
    resumed = train(path, tmp_path / "out")
    assert resumed["tasks"]["classify"]["metrics"] == result["tasks"]["classify"]["metrics"]


@pytest.mark.without_backend
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_each_row_of_a_file_gets_its_row_of_output(classes, ending, tmp_path, monkeypatch):
    _, directory, _ = classes
    monkeypatch.setattr(predict, "PART_ROWS", 8)
    rows = [(text, f"{n}") for n, (text, _) in enumerate(texts(30, seed=1))]
    rows[4], rows[17] = ("one", "two", "three"), (" ", "4")
    path, output = write(tmp_path / "new.csv", ("text", "id"), rows), tmp_path / f"out.{ending}"
    totals = labelled(directory / "model.keras", path, output)
    assert (totals.rows, totals.unreadable) == (30, 2)
    assert "line 6: the row has 3 fields" in totals.first[0] and "line 19: it holds no text" in totals.first[1]
    found = read_output(output)
    assert [int(row["row"]) for row in found] == list(range(1, 31))
    assert [number for number, row in enumerate(found) if row["problem"]] == [4, 17]
    model = keras.models.load_model(directory / "model.keras", compile=False)
    readable = [number for number in range(30) if number not in (4, 17)]
    expected = softmax(model.predict([rows[number][0] for number in readable], verbose=0), axis=1)
    for number, probabilities in zip(readable, expected, strict=True):
        row = found[number]
        assert row["label"] == ("a cat", "a dog")[probabilities.argmax()]
        assert float(row["probability"]) == pytest.approx(probabilities.max(), abs=1e-4)
        of_dog = row["probabilities"]["a dog"] if ending == "jsonl" else row["probability of a dog"]
        assert float(of_dog) == pytest.approx(probabilities[1], abs=1e-4)
    assert not (tmp_path / f"out.{ending}.parts").exists()


def read_output(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with open(path, newline="") as file:
            return list(csv.DictReader(file))
    return pyarrow.parquet.read_table(path).to_pylist()


@pytest.mark.without_backend
def test_a_killed_prediction_goes_on_from_its_parts(classes, tmp_path, monkeypatch):
    _, directory, _ = classes
    monkeypatch.setattr(predict, "PART_ROWS", 8)
    path = write(tmp_path / "new.csv", ("text",), [(text,) for text, _ in texts(30, seed=1)])
    labelled(directory / "model.keras", path, tmp_path / "whole.jsonl")
    original, calls = labelling.logits_of, []

    def stopping(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(labelling, "logits_of", stopping)
    with pytest.raises(KeyboardInterrupt):
        labelled(directory / "model.keras", path, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(InputError, match="was predicted with another batch_size"):
        labelled(directory / "model.keras", path, tmp_path / "out.jsonl", batch_size=4)
    labelled(directory / "model.keras", path, tmp_path / "out.jsonl")
    assert len(calls) == 3 + 2  # four parts, of which two were there
    assert (tmp_path / "out.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.any_backend
def test_scores_are_in_the_units_of_the_file(tmp_path):
    rows = [(text, 1000 + 250.5 * cat) for text, cat in texts(150)]
    path = write(tmp_path / "a.csv", ("text", "score"), rows)
    entry = train(path, tmp_path / "out", epochs=8)["tasks"]["regress"]
    assert entry["metrics"]["pearson"]["median"] > 0.9
    assert entry["metrics"]["mean_absolute_error"]["median"] < 50  # the mean score has 111
    labelled(tmp_path / "out" / "model.keras", path, tmp_path / "out.csv")
    found = np.array([float(row["score"]) for row in read_output(tmp_path / "out.csv")])
    assert np.abs(found - [score for _, score in rows]).mean() < 50
    assert "largest errors" in (tmp_path / "out" / "metrics.html").read_text()


@pytest.mark.slow
@pytest.mark.without_backend  # How far a few updates bring a model differs by backend.
def test_two_texts_are_encoded_apart_by_a_small_encoder(tmp_path, capsys):
    firsts, seconds = texts(200), texts(200, seed=1)
    seconds = [seconds[(7 * place) % 200] for place in range(200)]
    rows = [(a, b, "same" if cat == other else "other") for (a, cat), (b, other) in zip(firsts, seconds, strict=True)]
    path = write(tmp_path / "a.csv", ("first", "second", "label"), rows)
    columns = {"text": "first", "text_pair": "second"}
    entry = train(path, tmp_path / "out", epochs=8, **columns)["tasks"]["classify"]
    assert "Two texts are encoded apart (--pairs)." in capsys.readouterr().out
    assert entry["metrics"]["accuracy"]["median"] > 0.9  # the majority has 0.56
    model = load_trained(str(tmp_path / "out" / "model.keras"))
    assert (model.apart, model.pooling) == (True, "mean")
    labelled(tmp_path / "out" / "model.keras", path, tmp_path / "out.csv", **columns)
    found = [row["label"] for row in read_output(tmp_path / "out.csv")]
    said = model.predict(tuple(map(np.array, list(zip(*rows, strict=True))[:2])), verbose=0).argmax(axis=1)
    assert found == [model.label_names[place] for place in said]


@pytest.mark.slow
@pytest.mark.any_backend
def test_several_labels_are_judged_each_by_itself(tmp_path):
    rows = [(text, "|".join(word for word in ("cat", "dog", "mat") if word in text)) for text, _ in texts(150)]
    path = write(tmp_path / "a.csv", ("text", "labels"), rows)
    entry = train(path, tmp_path / "out", epochs=20, seeds=1)["tasks"]["multilabel"]
    assert entry["metrics"]["f1_micro"]["median"] > entry["baselines"]["majority"]["dev"]["f1_micro"]
    model = load_trained(str(tmp_path / "out" / "model.keras"))
    assert problem_type(model) == "multi_label_classification"
    labelled(tmp_path / "out" / "model.keras", path, tmp_path / "out.jsonl")
    found = read_output(tmp_path / "out.jsonl")
    expected = expit(keras.Model.predict(model, model.preprocessor([row[0] for row in rows[:20]]), verbose=0))
    for row, probabilities in zip(found, expected, strict=False):
        np.testing.assert_allclose(list(row["probabilities"].values()), probabilities, atol=1e-4)
        assert row["labels"] == [n for n, p in zip(("cat", "dog", "mat"), probabilities, strict=True) if p > 0.5]


def test_the_loss_of_several_labels_is_the_binary_cross_entropy():
    generator = np.random.default_rng(0)
    logits, labels = (
        generator.normal(0, 3, (5, 4)).astype("float32"),
        generator.integers(0, 2, (5, 4)).astype("float32"),
    )
    weights = np.array([1, 1, 0, 1, 1], "float32")
    batch = {"labels": keras.ops.array(labels), "weights": keras.ops.array(weights)}
    total, weight, _ = MultilabelClassification()(lambda inputs, training: keras.ops.array(logits), batch, True)
    of_texts = -(labels * np.log(expit(logits)) + (1 - labels) * np.log(expit(-logits))).mean(axis=1)
    assert float(total) == pytest.approx(float((of_texts * weights).sum()), rel=1e-5)
    assert float(weight) == 4


@pytest.mark.without_backend
def test_calibration_is_the_weighted_gap_of_confidence_and_accuracy():
    says, right = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55]), np.array([1, 1, 1, 0, 1, 0], bool)
    found = judging.calibration(says, right)
    assert [part["count"] for part in found["bins"]] == [2, 4]
    assert found["error"] == pytest.approx(4 / 6 * abs(0.95 - 0.75) + 2 / 6 * abs(0.55 - 0.5))


@pytest.mark.without_backend
def test_scores_of_each_class_are_those_of_scikit_learn(classes):
    path, directory, result = classes
    dev = read_labelled(given(train=path)).examples["dev"]
    model = keras.models.load_model(directory / "model.keras", compile=False)
    predicted = model.predict(dev.texts[0], verbose=0).argmax(axis=1)
    judged = result["tasks"]["classify"]["dev"]
    assert [row["f1"] for row in judged["classes"]] == pytest.approx(f1_score(dev.labels, predicted, average=None))
    assert np.array(judged["confusion"]["matrix"]).sum() == len(dev)
    assert len(judged["errors"]) == np.sum(predicted != dev.labels)


@pytest.mark.without_backend
def test_a_model_without_labels_predicts_nothing(tmp_path):
    path = write(tmp_path / "new.csv", ("text",), [("one",)])
    options = types.SimpleNamespace(model="m", input=str(path), output=str(tmp_path / "out.csv"), columns=None)
    with pytest.raises(InputError, match="holds a BertBudgetMaskedLM, which labels no texts"):
        predict.predict(options, labeller_of, lambda path: folder.pretrained())
