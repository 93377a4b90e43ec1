import lzma

import pytest

from budgetbert.finetuning.data import Folder
from budgetbert.finetuning.tasks import TASKS
from tests.finetuning import folder
from tests.programs import call

pytestmark = pytest.mark.without_backend

TOOL = "tools/lay_out_glue.py"


def test_samples_take_the_places_of_missing_files(tmp_path):
    source, made = tmp_path / "source", tmp_path / "made"
    folder.write(source, train=9, dev=6, tasks=("CoLA", "RTE"))
    train = source / "RTE" / "train.tsv"
    (source / "RTE" / "train_sample.tsv.xz").write_bytes(lzma.compress(train.read_bytes()))
    train.unlink()
    (source / "RTE" / "dev.tsv").rename(source / "RTE" / "heldout_from_train.tsv")
    (source / "CoLA" / "train_sample.tsv").write_text("not to be read")
    done = call(TOOL, source, made)
    assert done.returncode == 0, done.stderr
    assert "6 files of 2 tasks" in done.stdout
    read = Folder(str(made)).read
    assert len(read(TASKS["cola"], TASKS["cola"].train)) == 9
    assert read(TASKS["rte"], TASKS["rte"].train).notes == ("train is a sample of 9 rows, officially 2,490",)
    assert read(TASKS["rte"], TASKS["rte"].dev[0]).notes == ("dev is a sample of 6 rows, officially 277",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "0 folders are given"),
        (("there", "there"), "is there already"),
        (("there", "new"), "holds no file of GLUE"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(tmp_path, names, message):
    (tmp_path / "there").mkdir()
    done = call(TOOL, *(tmp_path / name for name in names))
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
