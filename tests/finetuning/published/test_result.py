import json

import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.published.result import read_result
from tests.finetuning.results import make_result, write

pytestmark = pytest.mark.without_backend


def damaged(**changes):
    return {**make_result(rte={"accuracy": [0.5]}), **changes}


def with_metric(**found):
    return {"rte": {"metrics": {"accuracy": found}, "main_metric": "accuracy", "examples": 277}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"glue\.json does not exist: give the --output_dir of recipes/finetune_glue\.py\.$"),
        ("{", "is not readable as JSON"),
        ([], r"is no result of recipes/finetune_glue\.py \(it is a list\)"),
        ({}, r"\(protocol is missing\)"),
        (damaged(protocol_settings=None), r"\(protocol_settings is missing\)"),
        (damaged(tasks=[]), r"\(tasks is a list\)"),
        (damaged(tasks={"squad": {}}), "holds the task 'squad', which is none of GLUE's"),
        (damaged(tasks={"rte": 3}), r"\(tasks\.rte is 3\)"),
        (damaged(tasks={"rte": {}}), r"\(tasks\.rte\.metrics is missing\)"),
        (damaged(tasks=with_metric(values=[0.5], n=1)), r"\(tasks\.rte\.metrics\.accuracy\.median is missing\)"),
        (damaged(tasks=with_metric(values=[], median=0.5, n=0)), "a score that is no number"),
        (damaged(tasks=with_metric(values=[float("nan")], median=0.5, n=1)), "a score that is no number"),
        (
            damaged(tasks={"rte": {"metrics": {"rouge": {}}, "main_metric": "rouge", "examples": 1}}),
            "a metric that no table knows",
        ),
        (
            damaged(tasks={"rte": {"metrics": {}, "main_metric": "accuracy", "examples": 277}}),
            r"no value of the main metric of rte \(accuracy\)",
        ),
    ],
)
def test_what_is_no_result_is_one_sentence(content, message, tmp_path):
    if content is not None:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "glue.json").write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        read_result(str(tmp_path / "glue.json"))
    assert "\n" not in str(raised.value)


def test_a_result_is_read_from_its_file_or_directory(tmp_path):
    result = make_result(rte={"accuracy": [0.5]})
    path = write(tmp_path, result)
    assert read_result(path) == read_result(str(tmp_path)) == result
