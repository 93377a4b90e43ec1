import numpy as np
import pytest

from budgetbert.finetuning.answers.metrics import best_threshold, normalized, scores_by_question, squad_scores

from . import official

pytestmark = pytest.mark.without_backend

WORDS = ["the", "The", "a", "an", "Cat", "cat's", "U.S.", "-", "50%", "Zürich", "１２", "“mat”", "theatre", "\u00a0"]


def made(count, unanswerable):
    """Answers, and predictions that share words with them, some of nothing but articles and punctuation."""
    rng = np.random.default_rng(0)

    def text(most):
        return " ".join(rng.choice(WORDS, rng.integers(1, most)))

    answers = [[text(4) for _ in range(rng.integers(1, 4))] for _ in range(count)]
    predictions = [
        golds[0] if rng.random() < 0.3 else f"{golds[0]} {text(3)}" if rng.random() < 0.5 else text(4)
        for golds in answers
    ]
    none = rng.random(count) < unanswerable
    return predictions, [[] if without else golds for golds, without in zip(answers, none, strict=True)]


@pytest.mark.parametrize("unanswerable", [0.0, 0.4])
def test_500_made_answers_are_judged_as_the_official_formula_says(unanswerable):
    predictions, answers = made(500, unanswerable)
    if unanswerable:
        predictions[::5] = [""] * 100
    found = squad_scores(predictions, answers)
    np.testing.assert_allclose(
        (found["answer_exact_match"], found["answer_f1"]), official.evaluate(predictions, answers), rtol=1e-12
    )
    assert 0.2 < found["answer_exact_match"] < found["answer_f1"] < 0.8
    if unanswerable:
        parts = [[place for place in range(500) if bool(answers[place]) is kind] for kind in (True, False)]
        columns = predictions, answers
        with_answer, without = ([[column[place] for place in part] for column in columns] for part in parts)
        # Of those with an answer the formula is still that of v2.0.
        expected = official.evaluate([*with_answer[0], "x"], [*with_answer[1], []])
        of_all = np.array(expected) * (len(parts[0]) + 1) / len(parts[0])
        np.testing.assert_allclose((found["answerable_exact_match"], found["answerable_f1"]), of_all, rtol=1e-12)
        np.testing.assert_allclose(found["unanswerable_accuracy"], official.evaluate(*without)[0], rtol=1e-12)


def test_the_threshold_is_the_one_of_the_highest_f1():
    for seed in range(5):
        predictions, answers = made(60, 0.4)
        # Without articles and punctuation alone, which the official search takes for answers.
        predictions, answers = [f"{text} cat" for text in predictions], [[f"{t} cat" for t in g] for g in answers]
        differences = np.random.default_rng(seed).normal(0, 3, 60) + 2 * np.array([not golds for golds in answers])
        threshold = best_threshold(predictions, differences, answers)
        kept = [guess if d <= threshold else "" for guess, d in zip(predictions, differences, strict=True)]
        np.testing.assert_allclose(
            squad_scores(kept, answers)["answer_f1"],
            official.best_f1(predictions, list(differences), answers),
            rtol=1e-12,
        )


@pytest.mark.parametrize(
    ("prediction", "answers", "exact", "f1"),
    [
        ("The Cat!", ["cat"], 1, 1),
        ("cat sat", ["the cat", "a mat"], 0, 2 / 3),
        ("the the cat cat", ["cat dog"], 0, 0.5),
        ("", ["cat"], 0, 0),
        ("theatre", ["atre"], 0, 0),
        # v1.1 finds nothing in common where nothing is left.
        ("a", ["The"], 1, 0),
    ],
)
def test_an_answer_of_version_1_is_judged_by_hand_made_cases(prediction, answers, exact, f1):
    found = squad_scores([prediction], [answers])
    assert (found["answer_exact_match"], found["answer_f1"]) == (exact, pytest.approx(f1))
    assert set(found) == {"answer_exact_match", "answer_f1"}


def test_version_2_judges_no_answer_by_hand_made_cases():
    predictions = ["", "cat", "a", "", "Cat."]
    answers = [[], [], ["The"], ["dog"], ["the", "cat"]]
    exact, f1 = scores_by_question(predictions, answers)
    # "The" alone is no answer; of "the" and "cat" only "cat" is one.
    assert exact.tolist() == f1.tolist() == [1, 0, 1, 0, 1]
    found = squad_scores(predictions, answers)
    assert found["unanswerable_accuracy"] == 0.5
    assert found["answerable_f1"] == pytest.approx(2 / 3)
    assert squad_scores(["cat"], [[]])["answerable_f1"] == 0.0
    assert best_threshold(["cat", "dog"], np.array([1.0, 2.0]), [[], []]) == 0.0
    assert best_threshold(["cat", "dog"], np.array([1.0, 2.0]), [["cat"], []]) == 1.5
    assert best_threshold(["cat", ""], np.array([2.0, np.inf]), [["cat"], ["dog"]]) == 3.0
    assert normalized("A  The-Cat's") == "thecats"


def test_as_many_answers_are_needed():
    with pytest.raises(ValueError, match="argument"):
        squad_scores(["cat"], [])
