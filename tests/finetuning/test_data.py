"""GLUE's files as they are, and what is said of those that are not."""

import dataclasses
import lzma
import os

import numpy as np
import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning import data
from budgetbert.finetuning.tasks import TASKS
from tests.finetuning import folder
from tests.programs import call

pytestmark = pytest.mark.without_backend

GLUE = os.environ.get("BUDGETBERT_DATA") and os.path.join(os.environ["BUDGETBERT_DATA"], "glue")


def read(directory, name, stem="train"):
    task = TASKS[name]
    split = next(split for split in (task.train, *task.dev, *task.test) if split.stem == stem)
    return data.Folder(str(directory)).read(task, split)


def test_cola_has_no_header_and_its_test_set_has_one(tmp_path):
    folder.write(tmp_path, train=9, dev=6)
    train, test = read(tmp_path, "cola"), read(tmp_path, "cola", "test")
    assert len(train) == 9
    assert train.labels.tolist() == [0, 1, 1] * 3
    assert len(test) == 6
    assert test.labels is None
    assert test.texts[0][0].startswith("the ")


def test_quotes_are_text(tmp_path):
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "train.tsv").write_text('sentence\tlabel\n"a film\t1\nbad " one\t0\n', encoding="utf-8")
    examples = read(tmp_path, "sst2")
    assert examples.texts == (['"a film', 'bad " one'],)
    assert examples.labels.tolist() == [1, 0]


def test_compressed_files_are_read_alike(tmp_path):
    folder.write(tmp_path, tasks=("RTE",))
    plain = read(tmp_path, "rte")
    path = tmp_path / "RTE" / "train.tsv"
    (tmp_path / "RTE" / "train.tsv.xz").write_bytes(lzma.compress(path.read_bytes()))
    path.unlink()
    packed = read(tmp_path, "rte")
    assert packed.texts == plain.texts
    np.testing.assert_array_equal(packed.labels, plain.labels)


def test_an_unofficial_count_is_reported_and_fewer_rows_are_a_sample(tmp_path):
    folder.write(tmp_path, train=9, dev=278, tasks=("RTE",))
    assert read(tmp_path, "rte").notes == ("train is a sample of 9 rows, officially 2,490",)
    assert read(tmp_path, "rte", "dev").notes == ("dev has 278 rows, officially 277",)


def test_rows_of_qqp_without_all_columns_are_left_out_and_counted(tmp_path):
    (tmp_path / "QQP").mkdir()
    rows = [f"{i}\t1\t2\twho\twhy\t{i % 2}\n" for i in range(2000)]
    rows[7] = "7\t1\t2\twho\n"
    (tmp_path / "QQP" / "train.tsv").write_text(
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n" + "".join(rows), encoding="utf-8"
    )
    examples = read(tmp_path, "qqp")
    assert len(examples) == 1999
    assert "1 rows with a missing column" in examples.notes[0]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"index\tsentence1\tsentence2\tlabel\n0\ta\tb\n", "line 2 has 3 columns"),
        (b"index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n", "line 2: the label 'maybe' is none of RTE's"),
        (b"index\tsentence1\tlabel\n0\ta\tentailment\n", "no column 'sentence2'"),
        (b"index\tsentence1\tsentence2\tlabel\n0\t\xff\tb\tentailment\n", "it is not UTF-8"),
        (b"index\tsentence1\tsentence2\tlabel\n", "holds no examples"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, sentence):
    (tmp_path / "RTE").mkdir()
    (tmp_path / "RTE" / "train.tsv").write_bytes(content)
    with pytest.raises(InputError, match=sentence) as told:
        read(tmp_path, "rte")
    assert "train.tsv" in str(told.value)


def test_a_damaged_archive_is_named(tmp_path):
    (tmp_path / "RTE").mkdir()
    whole = lzma.compress(b"index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n" * 1000)
    flipped = bytes([whole[0] ^ 1]) + whole[1:]
    for damaged in (whole[:-20], whole + flipped, whole + b"<html>503</html>"):
        (tmp_path / "RTE" / "train.tsv.xz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"train\.tsv\.xz is damaged"):
            read(tmp_path, "rte")


@pytest.mark.parametrize("score", ["6.1", "-1", "nan"])
def test_a_score_outside_0_to_5_is_named(tmp_path, score):
    (tmp_path / "STS-B").mkdir()
    (tmp_path / "STS-B" / "train.tsv").write_text(f"sentence1\tsentence2\tscore\na\tb\t{score}\n", encoding="utf-8")
    with pytest.raises(InputError, match="a score from 0 to 5"):
        read(tmp_path, "stsb")


def test_all_means_those_found_and_the_others_are_listed(tmp_path):
    source = data.open_source(folder.write(tmp_path, tasks=("CoLA", "RTE")))
    tasks, missing = data.choose_tasks("all", source)
    assert [task.name for task in tasks] == ["cola", "rte"]
    assert missing == ["sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "wnli", "ax"]


@pytest.mark.parametrize(
    ("tasks", "sentence"),
    [
        ("qnli", "--tasks qnli needs QNLI/"),
        ("rte", r"--tasks rte needs .*dev\.tsv"),
        ("glue", "--tasks 'glue' is no task of GLUE"),
    ],
)
def test_a_task_asked_for_by_name_has_to_be_there(tmp_path, tasks, sentence):
    source = data.open_source(folder.write(tmp_path, tasks=("CoLA", "RTE")))
    (tmp_path / "RTE" / "dev.tsv").unlink()
    with pytest.raises(InputError, match=sentence):
        data.choose_tasks(tasks, source)


def test_a_folder_without_tasks_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds none of GLUE's tasks"):
        data.open_source(str(tmp_path))
    with pytest.raises(InputError, match="is no folder"):
        data.open_source(str(tmp_path / "none"))


def test_a_sample_has_each_label_in_its_share(tmp_path):
    folder.write(tmp_path, train=900, tasks=("CoLA",))
    examples = read(tmp_path, "cola")
    taken = data.sample(examples, 90, TASKS["cola"])
    assert np.bincount(taken.labels).tolist() == [30, 60]
    assert taken.notes[-1] == "trained on 90 of 900 examples"
    assert data.sample(examples, 90, TASKS["cola"]).texts == taken.texts
    assert data.sample(examples, 900, TASKS["cola"]) is examples


def test_the_hub_is_asked_for_the_official_splits(monkeypatch):
    import datasets

    asked = []

    def load_dataset(*names, split):
        asked.append((*names, split))
        return {"premise": ["a"], "hypothesis": ["b"], "label": [2]}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    task = TASKS["mnli"]
    examples = data.Hub().read(task, task.dev[1])
    assert asked == [("nyu-mll/glue", "mnli", "validation_mismatched")]
    assert task.labels[examples.labels[0]] == "contradiction"
    assert examples.suffix == "_mismatched"


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    import datasets

    def load_dataset(*names, split):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match="check the network, or give a folder"):
        data.Hub().read(TASKS["cola"], TASKS["cola"].train)


@pytest.mark.skipif(not GLUE, reason="BUDGETBERT_DATA is not set")
def test_the_real_files_have_the_official_counts(tmp_path):
    assert call("tools/lay_out_glue.py", GLUE, tmp_path / "glue").returncode == 0
    source = data.Folder(str(tmp_path / "glue"))
    tasks = data.choose_tasks("all", source)[0]
    assert len(tasks) == 7
    for task in tasks:
        for split in (task.train, *task.dev, *task.test):
            examples = source.read(task, split)
            if examples is not None and (task.name, split.stem) == ("qnli", "train"):
                assert examples.notes == ("train is a sample of 9,999 rows, officially 104,743",)
            elif examples is not None:
                assert examples.notes == ()


def test_splits_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TASKS["rte"].train.rows = 0
