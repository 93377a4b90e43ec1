import zipfile

import pytest

from budgetbert.errors import InputError
from budgetbert.finetuning.published.submission import check_submission, write_submission

pytestmark = pytest.mark.without_backend

# What gluebenchmark.com wants: rows of its test sets and a label of each.
OFFICIAL = {
    "CoLA": (1063, "1"),
    "SST-2": (1821, "0"),
    "MRPC": (1725, "1"),
    "STS-B": (1379, 2.5),
    "QQP": (390965, "0"),
    "MNLI-m": (9796, "neutral"),
    "MNLI-mm": (9847, "contradiction"),
    "QNLI": (5463, "not_entailment"),
    "RTE": (3000, "entailment"),
    "WNLI": (146, "0"),
    "AX": (1104, "contradiction"),
}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    directory = tmp_path_factory.mktemp("submission")
    return write_submission({name: [label] * rows for name, (rows, label) in OFFICIAL.items()}, directory)


def contents(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def changed(complete, directory, **files):
    """A copy of the complete submission with some files' texts replaced; `None` leaves one out."""
    path = directory / "changed.zip"
    texts = {**contents(complete), **{f"{name.replace('_', '-')}.tsv": text for name, text in files.items()}}
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in texts.items():
            if text is not None:
                archive.writestr(name, text)
    return str(path)


def test_a_complete_submission_is_as_the_site_wants_it(complete):
    assert check_submission(complete) == []
    found = contents(complete)
    assert sorted(found) == sorted(f"{name}.tsv" for name in OFFICIAL)
    for name, (rows, label) in OFFICIAL.items():
        lines = found[f"{name}.tsv"].splitlines()
        written = "2.500" if name == "STS-B" else label
        assert lines[:2] == ["index\tprediction", f"0\t{written}"]
        assert lines[-1] == f"{rows - 1}\t{written}"
        assert len(lines) == rows + 1


def test_the_order_of_predictions_is_that_of_the_rows_and_scores_stay_in_their_range(tmp_path):
    path = write_submission({"STS-B": [3.14159, -0.2, 5.01, 4], "CoLA": [1, "0"]}, tmp_path)
    assert contents(path) == {
        "CoLA.tsv": "index\tprediction\n0\t1\n1\t0\n",
        "STS-B.tsv": "index\tprediction\n0\t3.142\n1\t0.000\n2\t5.000\n3\t4.000\n",
    }


def test_equal_predictions_give_equal_bytes(tmp_path):
    given = {"RTE": ["entailment"] * 9, "CoLA": ["1"] * 9}
    first = write_submission(given, tmp_path / "a")
    second = write_submission(dict(reversed(given.items())), tmp_path / "b")
    with open(first, "rb") as one, open(second, "rb") as two:
        assert one.read() == two.read()


def test_some_tasks_are_written_and_the_missing_ones_told(tmp_path):
    path = write_submission({"WNLI": ["0"] * 146, "RTE": ["entailment"] * 3000}, tmp_path)
    found = check_submission(path)
    assert len(found) == len(OFFICIAL) - 2
    assert "QQP.tsv is missing: the site wants all 11 files." in found
    assert not any(text.startswith(("WNLI", "RTE")) for text in found)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ({"MNLI": ["neutral"]}, "'MNLI' is no file of a GLUE submission"),
        ({"RTE": ["entailment", "neutral"]}, "RTE predicts 'neutral' at index 1: its labels are entailment, not_"),
        ({"CoLA": ["acceptable"]}, "CoLA predicts 'acceptable' at index 0"),
        ({"STS-B": ["high"]}, "STS-B predicts 'high' at index 0"),
        ({"STS-B": [1.0, float("nan")]}, "STS-B predicts nan at index 1"),
    ],
)
def test_wrong_predictions_are_refused_in_one_sentence(predictions, message, tmp_path):
    with pytest.raises(InputError, match="(?s)^" + message):
        write_submission(predictions, tmp_path)
    assert not (tmp_path / "submission.zip").exists()


HEAD = "index\tprediction\n"


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"WNLI": None}, "WNLI.tsv is missing"),
        ({"WNLI": "0\t1\n" * 146}, "WNLI.tsv: its header is '0\\t1'"),
        ({"WNLI": HEAD.replace("\n", "\r\n")}, "WNLI.tsv: its header is 'index\\tprediction\\r'"),
        ({"WNLI": HEAD + "0\t1\n"}, "WNLI.tsv: it has 1 rows, the test set 146"),
        ({"WNLI": HEAD + "1\t1\n"}, "WNLI.tsv: row 0 has the index '1'"),
        ({"WNLI": HEAD + "0\tentailment\n"}, "WNLI.tsv: row 0 has the label 'entailment'"),
        ({"WNLI": HEAD + "0\n"}, "WNLI.tsv: row 0 has 1 columns, not 2"),
        ({"WNLI": HEAD + "0\t1"}, "WNLI.tsv: its last line does not end"),
        ({"WNLI": HEAD + "0\té\n"}, "WNLI.tsv: it is not plain text"),
        ({"STS_B": HEAD + "0\t2.5\n"}, "STS-B.tsv: row 0 has the label '2.5'"),
        ({"STS_B": HEAD + "0\t5.001\n"}, "STS-B.tsv: row 0 has the label '5.001'"),
        ({"STS_B": HEAD + "0\tnan\n"}, "STS-B.tsv: row 0 has the label 'nan'"),
        ({"MNLI": HEAD}, "MNLI.tsv is none of the site's files"),
    ],
)
def test_the_validator_names_what_is_wrong(complete, tmp_path, files, fault):
    (found,) = check_submission(changed(complete, tmp_path, **files))
    assert found.startswith(fault)


def test_files_in_a_folder_are_none_of_the_sites(complete, tmp_path):
    path = tmp_path / "folder.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents(complete).items():
            archive.writestr(f"mine/{name}", text)
    found = check_submission(str(path))
    assert "mine/AX.tsv is none of the site's files." in found
    assert "AX.tsv is missing: the site wants all 11 files." in found


def test_what_is_no_zip_is_told(tmp_path):
    (tmp_path / "submission.zip").write_text("index")
    assert check_submission(str(tmp_path / "submission.zip")) == ["submission.zip is no whole zip file."]
    with pytest.raises(InputError, match=r"none\.zip cannot be read"):
        check_submission(str(tmp_path / "none.zip"))
