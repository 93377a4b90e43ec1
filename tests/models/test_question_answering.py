import keras
import numpy as np
import pytest

from budgetbert.models import BertBudgetQuestionAnswering, BertBudgetQuestionAnsweringPreprocessor
from budgetbert.models.answer_spans import best_spans, target_columns

from .examples import encoder, masked_lm, to_numpy, tokenizer

CONTEXTS = ["The cat sat on the mat.", "On \u00adthe Straße (🎉) sat a dog.", "Paris"]
QUESTIONS = ["on mat", "on strasse", "the dog"]
ANSWERS = [{"text": "cat", "start": 4}, {"text": "dog", "start": 25}, None]
ASKED = QUESTIONS, CONTEXTS
X = QUESTIONS * 16, CONTEXTS * 16


def answerer(family="tiny_frontier", sequence_length=48, **kwargs):
    preprocessor = BertBudgetQuestionAnsweringPreprocessor(tokenizer(), sequence_length=sequence_length)
    return BertBudgetQuestionAnswering(encoder(family, dropout=0.0), preprocessor, **kwargs)


def test_it_learns_answers_and_where_there_is_none_and_is_the_same_when_loaded(tmp_path):
    model = answerer()
    model.fit(X, ANSWERS * 16, epochs=5, batch_size=8, verbose=0)
    assert model.no_answer_threshold == 0.0
    found = model.predict(ASKED, verbose=0)
    assert [answer["text"] for answer in found] == ["cat", "dog", ""]
    assert [(answer["start"], answer["end"]) for answer in found] == [(4, 7), (25, 28), (-1, -1)]
    assert all(0.2 < answer["score"] <= 1 for answer in found)
    assert model.evaluate(ASKED, ANSWERS, verbose=0, return_dict=True)["exact_span"] == 1
    # What it predicts can be learned from.
    assert (model.encode(ASKED, found)[1] == model.encode(ASKED, ANSWERS)[1]).all()
    model.no_answer_threshold = 0.75
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.no_answer_threshold == 0.75
    again = loaded.predict(ASKED, verbose=0)
    assert [answer["text"] for answer in again] == [answer["text"] for answer in found]
    np.testing.assert_allclose([a["score"] for a in again], [a["score"] for a in found], rtol=1e-4)
    model.no_answer_threshold = None
    always = model.predict(ASKED, verbose=0)[2]
    assert CONTEXTS[2][always["start"] : always["end"]] == always["text"] != ""


def test_the_loss_is_that_of_the_formula_over_the_tokens_that_can_be_an_answer():
    model = answerer()
    inputs, labels, weights = model.encode(ASKED, ANSWERS)
    logits = to_numpy(model(inputs))
    losses = []
    for row in range(3):
        for kind in range(2):
            can_be = [column for column in range(logits.shape[1]) if labels[row, column, kind] >= 0]
            values = np.exp([logits[row, column, kind] for column in can_be])
            right = can_be.index(int(labels[row, :, kind].argmax()))
            losses.append(-np.log(values[right] / values.sum()))
    found = model.evaluate(ASKED, ANSWERS, verbose=0, return_dict=True)
    np.testing.assert_allclose(found["loss"], np.mean(losses), rtol=1e-4)
    # The first context's 7 pieces and [CLS].
    assert (labels[0, :, 0] >= 0).sum() == 8
    assert weights.tolist() == [1, 1, 1]
    assert model.encode(ASKED, ANSWERS, sample_weight=[2, 1, 1])[2].tolist() == [2, 1, 1]


def test_a_long_context_is_read_in_rows_that_overlap_and_its_answer_is_found_in_each_that_holds_it():
    model = answerer(sequence_length=16)
    context = " ".join(["mat", "paris", "cat"] * 10)
    rows = model.preprocessor.rows_of(["the dog", "on " * 40], [context, "cat"])
    # 13 pieces of 16 are left, of which "the dog" takes two; "paris" has two pieces.
    assert (len(rows.starts[0]), rows.cut.tolist()) == (40, [0, 40 - 6])
    count = rows.bounds[1]
    assert {len(row) for row in rows.ids[: count - 1]} == {16}
    whole = tokenizer().tokenize_with_offsets(context).ids
    for row, column, first in zip(rows.ids[:count], rows.columns, rows.firsts, strict=False):
        assert (row[column:-1] == whole[first : first + len(row) - column - 1]).all()
    # Each piece is owned by one row, and inner ones have a quarter of a row's room on both sides in it.
    owned = [place for start, end in rows.owned[:count] for place in range(start, end)]
    assert owned == list(range(40))
    assert (rows.owned[1:count, 0] - rows.firsts[1:count] >= 2).all()
    assert ((rows.firsts + rows.counts)[: count - 1] - rows.owned[: count - 1, 1] >= 2).all()
    start = context.index("cat", 50)
    targets = target_columns(rows, [(start, start + 3), None])
    with_it = targets[:, 0] > 0
    assert with_it.sum() == 2
    assert {int(rows.ids[row][targets[row, 0]]) for row in np.flatnonzero(with_it)} == {int(tokenizer()("cat")[0])}
    assert (targets[~with_it] == 0).all()


@pytest.mark.without_backend
def test_the_best_answer_is_that_of_all_spans_of_all_rows():
    model = answerer(sequence_length=16)
    rng = np.random.default_rng(0)
    contexts = [" ".join(rng.choice(["mat", "paris", "cat", "xyz", "½"], size)) for size in (0, 1, 5, 12, 30, 40)]
    questions = ["the dog", "", "a", "on on on on on on on on", "cat", "a mat"]
    rows = model.preprocessor.rows_of(questions, contexts)
    logits = rng.normal(0, 2, (len(rows.ids), 16, 2)).astype(np.float32)
    for longest in (1, 4, 99):
        found = best_spans(rows, logits, longest)
        for example in range(len(contexts)):
            spans, none = [], []
            for row in np.flatnonzero(rows.examples == example):
                column, first, count = rows.columns[row], rows.firsts[row], rows.counts[row]
                used = [0, *range(column, column + count)]
                total = np.log(np.exp(logits[row, used].astype(float)).sum(0)).sum()
                none.append((logits[row, 0].sum(), np.exp(logits[row, 0].sum() - total)))
                for start in range(*rows.owned[row]):
                    for end in range(start, min(first + count, start + longest)):
                        score = logits[row, start - first + column, 0] + logits[row, end - first + column, 1]
                        place = rows.starts[example][start], rows.ends[example][end]
                        spans.append((score, np.exp(score - total), *place))
            least, of_none = min(none)
            np.testing.assert_allclose(found.no_answer_scores[example], of_none, rtol=1e-4)
            if not spans:
                assert (found.starts[example], found.differences[example]) == (-1, np.inf)
                continue
            score, probability, *place = max(spans)
            assert [found.starts[example], found.ends[example]] == place
            np.testing.assert_allclose(found.scores[example], probability, rtol=1e-4)
            np.testing.assert_allclose(found.differences[example], least - score, rtol=1e-4, atol=1e-5)


@pytest.mark.without_backend
def test_a_question_has_no_answer_above_the_threshold_and_none_in_a_context_without_pieces():
    model = answerer()
    rows = model.preprocessor.rows_of(["a", "cat", "", "dog"], ["", "\u200d", "Paris", "a dog"])
    logits = np.zeros((4, 8, 2), np.float32)
    logits[3, 4] = 2.0  # "dog", behind [CLS] dog [SEP] a
    found = best_spans(rows, logits, 30)
    assert found.differences.tolist() == [np.inf, np.inf, 0.0, -4.0]
    contexts = ["", "\u200d", "Paris", "a dog"]
    for threshold, third in ((None, "par"), (0.0, "par"), (-1.0, "")):
        model.no_answer_threshold = threshold
        answers = model.answers(contexts, found)
        assert [answer["text"].lower() for answer in answers] == ["", "", third, "dog"]
        assert answers[0] == {"text": "", "start": -1, "end": -1, "score": 1.0}
    assert answers[3]["score"] == pytest.approx(np.exp(4) / (2 + np.exp(2)) ** 2)


def test_it_starts_from_a_pretrained_directory_and_goes_into_one(tmp_path):
    pretrained = masked_lm("tiny_24h")
    pretrained.save_to_preset(tmp_path / "preset")
    with pytest.warns(UserWarning, match="holds no head of a BertBudgetQuestionAnswering: span_logits/kernel"):
        model = BertBudgetQuestionAnswering.from_preset(str(tmp_path / "preset"), no_answer_threshold=1.5)
    np.testing.assert_array_equal(
        to_numpy(model.backbone.token_embedding.embeddings), to_numpy(pretrained.backbone.token_embedding.embeddings)
    )
    model.save_to_preset(tmp_path / "answerer")
    loaded = BertBudgetQuestionAnswering.from_preset(str(tmp_path / "answerer"))
    assert loaded.no_answer_threshold == 1.5
    np.testing.assert_array_equal(to_numpy(loaded.logits.kernel), to_numpy(model.logits.kernel))


@pytest.mark.without_backend
@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (ASKED, ANSWERS[:2], "3 questions and 2 answers"),
        (ASKED, None, "3 questions and none answers"),
        (
            ASKED,
            [{"text": "dog", "start": 4}, None, None],
            "Answer 0 .'dog'. is not at 4 to 7 .*'cat'",
        ),
        (ASKED, [None, (29, 40), None], "Answer 1 is not at 29 to 40 of its context of 29"),
        (ASKED, [None, None, "Paris"], "Answer 2 is neither .* Received: 'Paris'"),
        (ASKED, [None, {"text": "dog"}, None], "Answer 1 is neither"),
        (QUESTIONS, ANSWERS, "give a tuple .questions, contexts."),
        ({"question": QUESTIONS, "context": CONTEXTS}, ANSWERS, "a tuple .*, and not a dict of 'question', 'context'"),
        ((QUESTIONS, CONTEXTS[:2]), ANSWERS, "equally many, not 3, 2"),
        ((QUESTIONS, [1, 2, 3]), ANSWERS, "Text 0 is 1: give strings"),
    ],
)
def test_answers_that_are_not_in_their_contexts_are_one_sentence(x, y, words):
    with pytest.raises(ValueError, match=words):
        answerer().fit(x, y, verbose=0)


@pytest.mark.without_backend
def test_answers_are_taken_as_the_data_sets_of_the_hub_have_them():
    model = answerer()
    of_hub = [{"text": ["cat", "mat"], "answer_start": [4, 19]}, {"text": ["dog"], "answer_start": [25]}]
    labels = model.encode(ASKED, [*of_hub, {"text": [], "answer_start": []}])[1]
    assert (labels == model.encode(ASKED, ANSWERS)[1]).all()
    assert (labels == model.encode(ASKED, [(4, 7), {"start": 25, "end": 28}, {"text": "", "start": -1}])[1]).all()
