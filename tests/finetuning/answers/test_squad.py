import json
import lzma
import os

import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.answers.squad import Answer, read_questions

pytestmark = pytest.mark.without_backend

CONTEXT = "🎉 Anna went to Paris in May. Paris is old."


def question(number, answers, **more):
    answers = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f"Where {number}?", "answers": answers, **more}


def squad(*questions, context=CONTEXT):
    paragraphs = [{"context": context, "qas": list(questions)}]
    return {"version": "v2.0", "data": [{"title": "Anna", "paragraphs": paragraphs}]}


def written(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_squads_json_is_read_with_what_it_says_of_no_answer(tmp_path):
    found = read_questions(
        written(
            tmp_path / "train.json",
            squad(
                question(1, [("Paris", 15), ("Paris in May", 15)], is_impossible=False),
                question(2, [], is_impossible=True, plausible_answers=[{"text": "Paris", "answer_start": 15}]),
                question(3, []),
            ),
        ),
        "train",
    )
    assert (found.ids, found.unanswerable, found.left_out, found.moved) == (["q1", "q2", "q3"], 2, {}, [])
    assert found.answers == [[Answer("Paris", 15), Answer("Paris in May", 15)], [], []]
    assert found.contexts == [CONTEXT] * 3
    assert CONTEXT[15:20] == "Paris"


def test_compressed_and_indented_files_are_the_same(tmp_path):
    content = squad(question(1, [("Paris", 15)]))
    plain = read_questions(written(tmp_path / "a.json", content), "train")
    indented = read_questions(written(tmp_path / "b.json", json.dumps(content, indent=2)), "train")
    (tmp_path / "c.json.xz").write_bytes(lzma.compress(json.dumps(content).encode()))
    assert plain == indented == read_questions(str(tmp_path / "c.json.xz"), "train")


def test_an_answer_that_is_elsewhere_is_found_and_told_and_one_that_is_nowhere_is_left_out(tmp_path):
    path = written(
        tmp_path / "train.json",
        squad(
            # As bytes count, and nearer to the second of two.
            question(1, [("Anna", 5)]),
            question(2, [("Paris", 27)]),
            question(3, [("Berlin", 2)]),
            question(4, [("Berlin", 2), ("May", 24)]),
            question(5, [("Paris", 15)], is_impossible=True),
            question(6, [], is_impossible=False),
            {"id": "q7", "answers": []},
            {"question": "Who?", "answers": [{"text": "Anna"}]},
            question(9, [("", 0)]),
        ),
    )
    found = read_questions(path, "train")
    assert found.ids == ["q1", "q2", "q4", "question 8 of paragraph 1 of article 1"]
    assert found.answers[:2] == [[Answer("Anna", 2)], [Answer("Paris", 29)]]
    assert found.moved == ["q1", "q2", "question 8 of paragraph 1 of article 1"]
    assert list(found.left_out) == ["q3", "q5", "q6", "q7", "q9"]
    assert found.left_out["q3"] == "its answer 'Berlin' is not in its context"
    assert found.left_out["q7"] == "its question is no text"


@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_columns_are_read_as_well(tmp_path, ending):
    rows = [
        {"id": "a", "question": "Where?", "context": CONTEXT, "answers": {"text": ["Paris"], "answer_start": [29]}},
        {"id": "b", "question": "When?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if ending == ".csv":
        text = f'id,question,context,answer,answer_start\na,Where?,"{CONTEXT}",Paris,29\nb,When?,"{CONTEXT}",,\n'
    found = read_questions(written(tmp_path / f"train{ending}", text), "train")
    assert (found.ids, found.answers, found.left_out) == (["a", "b"], [[Answer("Paris", 29)], []], {})


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "", "--train .*a.json is empty"),
        ("a.json", '{"version": 1, "data": [', "a.json is not JSON"),
        ("a.json", '{"data": [[]]}', "no question that can be used: the first, article 1, because it is not as SQuAD"),
        ("a.json", '{"data": []}', "holds no question that can be used: give SQuAD's JSON, or columns question"),
        ("a.json", '[{"data": []}]', 'has no list of articles in "data"'),
        ("a.json", '{"text": "Paris", "label": 3}', "has no question and no context .its columns: 'text', 'label'"),
        ("a.csv", "question,context\nWho?,Anna\n", "has no answers .its columns: 'question', 'context'"),
        ("a.json", json.dumps(squad(question(1, [("Rome", 0)]))), "the first, q1, because its answer 'Rome' is not in"),
        ("a.txt", "Who?", "is no file with columns"),
    ],
)
def test_what_holds_no_questions_is_one_sentence(tmp_path, name, content, words):
    with pytest.raises(InputError, match=words):
        read_questions(written(tmp_path / name, content), "train")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_questions(str(tmp_path / "none.json"), "train")


def test_real_files_are_read_whole():
    folder = os.environ.get("BUDGETBERT_DATA")
    if not folder:
        pytest.skip("BUDGETBERT_DATA, the folder of real data, is not set")
    found = read_questions(os.path.join(folder, "finetune", "qa", "xquad", "xquad.en.json.xz"), "dev")
    assert (len(found), len(set(found.contexts)), found.left_out, found.moved) == (1190, 240, {}, [])
    chinese = read_questions(os.path.join(folder, "finetune", "qa", "xquad", "xquad.zh.json.xz"), "dev")
    assert (len(chinese), chinese.left_out) == (1190, {})
