"""From a file of questions to a model, a page, and answers to another file."""

import csv
import json
import types

import keras
import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.answers.baseline import SimilarSentence
from budgetbert.finetuning.answers.batches import EncodedQuestions
from budgetbert.finetuning.kinds import labeller_of, read
from budgetbert.finetuning.labelled import predict
from budgetbert.finetuning.labelled.harness import finetune
from budgetbert.models import BertBudgetQuestionAnswering
from budgetbert.models.loading import load_trained
from budgetbert.training.step.objectives import AnswerMarking
from tests.finetuning import folder
from tests.finetuning.labelled.files import given
from tests.models.examples import encoder, to_numpy, tokenizer

from . import official
from .files import write


@pytest.fixture(scope="module")
def unanswerable(tmp_path_factory):
    """A file of which a third has no answer, the directory of a finetuning on it, and what it returned."""
    place = tmp_path_factory.mktemp("answers")
    path = write(place / "train.json", unanswerable=True)
    options = given(train=path, output_dir=place / "out", task="answer")
    vars(options).update({"learning_rate": 5e-3, "epochs": 8, "seeds": 1, "sequence_length": 32})
    keras.utils.set_random_seed(0)
    model = folder.pretrained()
    return path, place / "out", finetune(options, read(options), lambda path: model)


@pytest.mark.any_backend
def test_answers_are_learned_and_told(unanswerable):
    path, directory, result = unanswerable
    entry = result["tasks"]["answer"]
    assert entry["metrics"]["answer_f1"]["n"] == 1
    assert entry["metrics"]["answer_f1"]["median"] > 0.9
    assert entry["dev"]["metrics"]["unanswerable_accuracy"] > 0.6
    assert set(entry["baselines"]) == {"sentence", "none"}
    page = (directory / "metrics.html").read_text()
    for told in ("F1 of the answers", "never an answer", "Calibration", "surest mistakes", "whole contexts drawn"):
        assert told in page
    assert result["notes"][0] == "task answer: the file has SQuAD's form"
    assert "train: 28 of 80 questions have no answer." in result["notes"]
    # The predictions of a seed are judged by the official formula alike.
    (run,) = [run for run in (directory / "runs").iterdir() if run.name.endswith("seed0")]
    predictions = json.loads((run / "predictions.json").read_text())["dev"]
    articles = json.loads(path.read_text())["data"]
    golds = {
        question["id"]: [answer["text"] for answer in question["answers"]]
        for paragraph in articles[0]["paragraphs"]
        for question in paragraph["qas"]
    }
    _, f1 = official.evaluate(list(predictions.values()), [golds[told] for told in predictions])
    assert f1 == pytest.approx(entry["metrics"]["answer_f1"]["values"][0])
    # Both questions of a context are held out, or none.
    held = {told.partition("-")[0] for told in predictions}
    assert len(predictions) == 2 * len(held) == entry["examples"]


@pytest.mark.any_backend
def test_each_question_of_a_file_gets_its_answer_with_its_place(unanswerable, tmp_path):
    _, directory, _ = unanswerable
    model = load_trained(directory / "model.keras")
    assert isinstance(model, BertBudgetQuestionAnswering)
    assert model.no_answer_threshold is not None
    contexts = ["a mat, the Cat sat on a mat", "on the mat " * 30 + "the \u00addog sat", "on a mat", "Straße: Cat sat"]
    rows = [("sat", context) for context in contexts]
    with open(tmp_path / "new.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "context"), *rows, ("", "no question")])
    options = types.SimpleNamespace(
        **{"model": str(directory / "model.keras"), "input": str(tmp_path / "new.csv"), "batch_size": 2},
        **{"output": str(tmp_path / "out.jsonl"), "text": None, "text_pair": None, "columns": None},
    )
    totals = predict.predict(options, labeller_of)
    assert (totals.rows, totals.unreadable) == (5, 1)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    expected = model.predict((["sat"] * 4, contexts), verbose=0)
    for row, context, answer in zip(found[:4], contexts, expected, strict=True):
        assert (row["answer"], row["start"], row["end"]) == (answer["text"], answer["start"], answer["end"])
        assert row["score"] == pytest.approx(answer["score"], abs=1e-4)
        assert row["start"] == -1 or context[row["start"] : row["end"]] == row["answer"]
    assert [row["answer"].lower() for row in found[:2]] == ["cat", "dog"]
    assert found[4]["answer"] is None and "no text in the column 'question'" in found[4]["problem"]


@pytest.mark.without_backend
def test_a_batch_has_the_labels_of_its_rows_and_padding_that_does_not_count():
    contexts, spans = ["the cat sat. " * 30, "a dog"], [(4, 7), None]
    encoded = EncodedQuestions(["sat", "cat"], contexts, spans, tokenizer(), 80)
    assert encoded.rows.examples.tolist() == [0, 0, 0, 1]
    batch = encoded.batch(np.array([3, 0]), 4)
    assert batch["token_ids"].shape == (4, 80)
    assert encoded.batch(np.array([3]), 1)["token_ids"].shape == (1, 64)
    assert batch["weights"].tolist() == [1, 1, 0, 0]
    assert batch["labels"][:2].argmax(axis=1).tolist() == [[0, 0], [4, 4]]
    assert batch["segment_ids"][0, :8].tolist() == [0, 0, 0, 1, 1, 1, 0, 0]
    model = BertBudgetQuestionAnswering(encoder())
    total, weight, _ = AnswerMarking()(model, batch, training=False)
    single, _, _ = AnswerMarking()(model, encoded.batch(np.array([3, 0]), 2), training=False)
    assert float(weight) == 2
    np.testing.assert_allclose(to_numpy(total), to_numpy(single), rtol=1e-4)


@pytest.mark.without_backend
def test_what_costs_nothing_answers_with_a_name_or_a_number_of_the_most_similar_sentence():
    context = "Anna Lee moved to New York in May 1998. Bob stayed in 12 towns of old Rome."
    answer = SimilarSentence([context])
    assert answer("Where did Anna Lee move to?", context) == "New York"
    assert answer("When did Anna move?", context) == "May 1998"
    assert answer("In how many towns did Bob stay?", context) == "12"
    assert answer("what is it?", "no names here") == "no names here"


@pytest.mark.without_backend
def test_broken_questions_are_counted_and_parts_are_held_apart(tmp_path):
    path = write(tmp_path / "train.json", contexts=20)
    data = json.loads(path.read_text())
    data["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["text"] = "bird"
    data["data"][0]["paragraphs"][1]["qas"][0]["answers"][0]["answer_start"] += 1
    path.write_text(json.dumps(data))
    found = read(given(train=path, output_dir="out"))
    told = "\n".join(found.told)
    assert f"train: 1 question of {path} cannot be used (0-0; the first, because its answer 'bird' is not in" in told
    assert "have an answer that is not where the file says (1-0)" in told
    assert found.counts["unusable_rows"] == {"train": 1}
    assert found.task.metrics == ("answer_f1", "answer_exact_match")
    train, dev = found.examples["train"].questions, found.examples["dev"].questions
    assert not set(train.contexts) & set(dev.contexts)
    assert (len(train) + len(dev), len(set(dev.contexts))) == (39, 2)
    beside = read(given(train=path, dev=write(tmp_path / "dev.json", 3), task="answer", output_dir="out"))
    assert "dev: 6 of 6 questions have a context of the training examples" in "\n".join(beside.told)
    vars(options := given(train=path, task="answer", output_dir="out"))["max_train_examples"] = 7
    assert len(read(options).examples["train"]) == 7
    with pytest.raises(InputError, match="--train has 2 questions of one context, and none can be held out"):
        read(given(train=write(tmp_path / "one.json", 1), task="answer", output_dir="out"))
